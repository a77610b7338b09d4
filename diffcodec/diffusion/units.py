"""Conversion between 8-bit images and the range [-1, 1] of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcodec.config import GREY_LEVELS_PER_UNIT


def to_unit(images: Tensor) -> Tensor:
    """uint8 pixels -> float32 in [-1, 1], same shape."""
    return images.float() / GREY_LEVELS_PER_UNIT - 1


def to_grey_levels(x: Tensor) -> Tensor:
    """[-1, 1] -> grey levels 0 to 255, neither rounded nor clipped."""
    return (x + 1) * GREY_LEVELS_PER_UNIT


def to_pixels(x: Tensor) -> Tensor:
    """[-1, 1] -> uint8 pixels, clipped and rounded, on the CPU."""
    return to_grey_levels(x).round().clamp(0, 255).to("cpu", torch.uint8)
