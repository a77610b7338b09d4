"""The last step, t = 0: pixels coded exactly, given the network's estimate of them. Integers only, no networks."""
