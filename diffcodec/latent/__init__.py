"""Latent diffusion models, run by diffusers: autoencoders, conditioned networks, and what a codec needs of them."""
