"""Noise schedules, the network, and the Gaussian diffusion process. Knows nothing of bits."""
