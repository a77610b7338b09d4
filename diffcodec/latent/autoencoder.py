"""Autoencoders of diffusers, as the codec uses them: pictures to latents x_0 and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffcodec.config import LatentConfig
from diffcodec.errors import CheckpointError


class Autoencoder:
    """An `AutoencoderKL` of diffusers, or anything with its `encode`, `decode` and `config`.

    Args:
        module: the autoencoder.
        config: of the latents.
    """

    def __init__(self, module: nn.Module, config: LatentConfig) -> None:
        self.module, self.config = module, config

    @classmethod
    def of(cls, module: Any) -> Autoencoder:
        """The autoencoder with the scaling that its configuration states.

        Raises:
            CheckpointError: if its configuration lacks something.
        """
        settings = module.config
        try:
            config = LatentConfig(
                channels=int(settings["latent_channels"]),
                downscale=1 << (len(settings["block_out_channels"]) - 1),
                scale=float(settings["scaling_factor"]),
                shift=float(settings.get("shift_factor") or 0.0),
            )
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{type(module).__name__}: its configuration has no {error.args[0]}") from error
        return cls(module, config)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """x_0 of pictures (B, 3, H, W) in [-1, 1], sides multiples of `downscale`: (B, channels, h, w), float32."""
        posterior = self.module.encode(self._to_module(pictures)).latent_dist  # type: ignore[operator]
        mode: Tensor = posterior.mode().to(pictures.device, torch.float32)
        return (mode - self.config.shift) * self.config.scale

    @torch.no_grad()
    def decode(self, x_0: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about in [-1, 1], of latents (B, channels, h, w)."""
        latents = self._to_module(x_0 / self.config.scale + self.config.shift)
        pictures: Tensor = self.module.decode(latents, return_dict=False)[0]  # type: ignore[operator]
        return pictures.to(x_0.device, torch.float32)

    def weights(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {f"autoencoder.{name}": value for name, value in self.module.state_dict(keep_vars=True).items()}

    def _to_module(self, values: Tensor) -> Tensor:
        like = next(self.module.parameters())
        return values.to(like.device, like.dtype)
