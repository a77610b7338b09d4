"""The last step, to t = 0: codes exact pixels, given the network's estimate. Integers only, no networks."""
