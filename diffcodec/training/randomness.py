"""Random numbers of training, as a function of the position in the run.

So a resumed run draws the same numbers as an uninterrupted one, and the noise of an image does not depend on the number
of processes that share its batch.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor


class Purpose(IntEnum):
    """Purpose of a seed; dropout has one per part of a batch, starting at `DROPOUT`."""

    LEVELS = 0
    NOISE = 1
    DROPOUT = 2


def place_seed(seed: int, image: int, purpose: int) -> int:
    """The seed for a purpose at a position in the run.

    Args:
        seed: of the run.
        image: number in the run of the image, or of a batch's first image.
        purpose: below 1009.
    """
    return ((seed * 1_000_003 + image) * 1009 + purpose) % (1 << 63)


def noise_like(x_0: Tensor, images: Tensor, seed: int) -> Tensor:
    """Standard normals in the shape of a batch, drawn image by image.

    Args:
        x_0: (B, C, H, W).
        images: (B,), the numbers of the images in the run.
        seed: of the run.
    """
    eps, generator = torch.empty_like(x_0), torch.Generator(x_0.device)
    for noise, image in zip(eps, images.tolist(), strict=True):
        noise.normal_(generator=generator.manual_seed(place_seed(seed, image, Purpose.NOISE)))
    return eps
