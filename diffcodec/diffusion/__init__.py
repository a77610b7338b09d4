"""Noise schedules, the network, and the Gaussian diffusion process. Independent of the bitstream."""
