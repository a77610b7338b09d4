"""Signals of pictures on which a model is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffcodec.bitstream.container import ColourMode
from diffcodec.coding.canvas import PLANE, RGB, SignalKind, kinds_of
from diffcodec.config import GREY_LEVELS_PER_UNIT, ModelConfig
from diffcodec.diffusion.units import to_unit
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.lossless.rounding import UNIT
from diffcodec.model.tables import LATENT_UNIT


@dataclass(frozen=True)
class Samples:
    """Signals of pictures.

    Args:
        x_0: (N, C, H, W), float32.
        kind: of signal.
        start: their mean by channel, as stored in tables: in 1 / UNIT grey level, or 1 / LATENT_UNIT of latents.
        constant: the same in the signal's own units, (C, 1, 1).
    """

    x_0: Tensor
    kind: SignalKind
    start: tuple[int, ...]
    constant: Tensor

    @classmethod
    def of_pixels(cls, images: Tensor) -> Self:
        """Signals of a model of pixels.

        Args:
            images: (N, 3, H, W) or (N, 1, H, W), uint8.
        """
        kind, start = RGB if images.shape[1] == RGB.channels else PLANE, mean_colour(images)
        constant = torch.tensor(start)[: images.shape[1], None, None] / (UNIT * GREY_LEVELS_PER_UNIT) - 1
        return cls(to_unit(images), kind, start, constant)

    @classmethod
    def of_latents(cls, images: Tensor, autoencoder: Autoencoder, config: ModelConfig) -> Self:
        """Signals of a latent model.

        Args:
            images: (N, 3, H, W), uint8, sides multiples of the autoencoder's stride.
            autoencoder: makes latents of them.
            config: of the model.
        """
        x_0 = torch.cat([autoencoder.encode(to_unit(image[None])) for image in images])
        start = tuple(round(value) for value in (x_0.double().mean(dim=(0, 2, 3)) * LATENT_UNIT).tolist())
        constant = torch.tensor(start, dtype=torch.float32)[:, None, None] / LATENT_UNIT
        return cls(x_0, kinds_of(config)[ColourMode.RGB], start, constant)


def mean_colour(images: Tensor) -> tuple[int, ...]:
    """Mean of images (N, 3, H, W) or (N, 1, H, W), uint8, in 1 / UNIT grey level: red, green and blue."""
    mean = (images.double().mean(dim=(0, 2, 3)) * UNIT).expand(RGB.channels)
    return tuple(round(value) for value in mean.tolist())
