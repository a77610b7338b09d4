"""Autoencoders of diffusers, as the codec uses them: pictures to latents x_0 and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from diffcodec.config import LatentConfig

MOST_PIXELS_AT_ONCE = 1 << 20
"""Larger pictures go through the autoencoder in overlapping tiles: its layers need 2 KB and more for each pixel."""


class Autoencoder:
    """An `AutoencoderKL` of diffusers, or anything with its `encode` and `decode`. Each half is loaded on first use.

    Args:
        config: of the latents.
        encoder, decoder: return a module with at least that half.
    """

    def __init__(
        self, config: LatentConfig, encoder: Callable[[], nn.Module], decoder: Callable[[], nn.Module]
    ) -> None:
        self.config, self._load_encoder, self._load_decoder = config, encoder, decoder

    @cached_property
    def _encoder(self) -> nn.Module:
        return self._load_encoder().eval()

    @cached_property
    def _decoder(self) -> nn.Module:
        return self._load_decoder().eval()

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """x_0 of pictures (B, 3, H, W) in [-1, 1], sides multiples of `downscale`: (B, channels, h, w), float32."""
        module = self._encoder
        _tile(module, pictures.shape[2] * pictures.shape[3])
        posterior = module.encode(_moved(pictures, module)).latent_dist  # type: ignore[operator]
        mode: Tensor = posterior.mode().to(pictures.device, torch.float32)
        return (mode - self.config.shift) * self.config.scale

    @torch.no_grad()
    def decode(self, x_0: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about in [-1, 1], of latents (B, channels, h, w)."""
        module = self._decoder
        _tile(module, x_0.shape[2] * x_0.shape[3] * self.config.downscale**2)
        latents = _moved(x_0 / self.config.scale + self.config.shift, module)
        pictures: Tensor = module.decode(latents, return_dict=False)[0]  # type: ignore[operator]
        return pictures.to(x_0.device, torch.float32)


def _tile(module: nn.Module, pixels: int) -> None:
    """Let an autoencoder work in tiles on large pictures."""
    if hasattr(module, "use_tiling"):
        setattr(module, "use_tiling", pixels > MOST_PIXELS_AT_ONCE)  # noqa: B010 - nn.Module hides its type


def _moved(values: Tensor, module: nn.Module) -> Tensor:
    like = next(module.parameters())
    return values.to(like.device, like.dtype)
