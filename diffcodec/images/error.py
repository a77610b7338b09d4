"""Distortion of restored pictures: mean squared error and PSNR."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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
