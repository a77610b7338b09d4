"""Configuration of the latent space in which a model works."""

from __future__ import annotations

import dataclasses
import math

from diffcodec.json_config import JsonConfig, require


@dataclasses.dataclass(frozen=True)
class LatentConfig(JsonConfig):
    """The signal of a latent diffusion model: x_0 = (mode of the encoder's posterior - shift) * scale.

    Args:
        channels: of a latent.
        downscale: pixels per latent, in both directions.
        scale, shift: of the latents, so that x_0 has about unit variance.
    """

    channels: int = 4
    downscale: int = 8
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        require(1 <= self.channels <= 64, f"channels: expected 1 to 64, found {self.channels}")
        require(1 <= self.downscale <= 64, f"downscale: expected 1 to 64, found {self.downscale}")
        require(0 < self.scale < math.inf, f"scale: expected a positive number, found {self.scale}")
        require(math.isfinite(self.shift), f"shift: expected a finite number, found {self.shift}")
