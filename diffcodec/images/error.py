"""Distortion of restored pictures: mean squared error and PSNR."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ImageError

PEAK = 255
"""The largest value of a sample."""

_SAMPLES_AT_ONCE = 1 << 20


def squared_error(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float:
    """Mean squared error in squared grey levels, summed in integers, so that the order does not matter."""
    rows_at_once = max(1, _SAMPLES_AT_ONCE // original[0].size)
    total = 0
    for start in range(0, len(original), rows_at_once):
        rows = slice(start, start + rows_at_once)
        total += int(np.square(original[rows].astype(np.int64) - restored[rows]).sum())
    return total / original.size


def psnr_db(squared_error: float) -> float:
    """10 log10(PEAK^2 / squared error) for an error in squared grey levels; infinite if there is none."""
    return 10 * math.log10(PEAK**2 / squared_error) if squared_error else math.inf


def check_pair(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> None:
    """Check that two pictures can be compared.

    Raises:
        ImageError: unless both are uint8, (H, W, 3) or (H, W), of one shape and not empty.
    """
    for name, pixels in (("original", original), ("restored", restored)):
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
            raise ImageError(f"{name}: expected uint8 (H, W, 3) or (H, W), found {pixels.dtype} {pixels.shape}")
        if 0 in pixels.shape:
            raise ImageError(f"{name}: expected at least one pixel, found {pixels.shape}")
    if original.shape != restored.shape:
        raise ImageError(f"expected two pictures of the same shape, found {original.shape} and {restored.shape}")
