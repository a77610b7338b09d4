"""Orthonormal transforms of the network's error: white noise stays white, so each coefficient may have its variance.

All take and return arrays (..., H, W); a coefficient takes the place of the block or quadrant that it describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dctn

from diffcodec.coding.band_transform import BLOCK, BandTransform

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

HAAR = (math.sqrt(1 / 2), math.sqrt(1 / 2))
DAUBECHIES_4 = tuple((a + b * math.sqrt(3)) / math.sqrt(32) for a, b in ((1, 1), (3, 1), (3, -1), (1, -1)))

RGB: Floats = np.eye(3, dtype=np.float32)
COLOUR_DCT: Floats = dct(np.eye(3, dtype=np.float32), norm="ortho", axis=0)
"""Brightness, red against blue, green against both."""


class Transform(Protocol):
    """An orthonormal transform of the plane, whose coefficients fall into bands."""

    def __call__(self, x: Floats) -> Floats:
        """(..., H, W) -> coefficients of the same shape."""

    def bands(self, height: int, width: int) -> Labels:
        """Band of every coefficient, (H, W), counted from 0."""


@dataclass(frozen=True)
class BlockDct:
    """DCT-II of size x size blocks; a band is one place in the block. The sides must be multiples of the size."""

    size: int

    def __call__(self, x: Floats) -> Floats:
        *leading, height, width = x.shape
        blocks = x.reshape(*leading, height // self.size, self.size, width // self.size, self.size)
        coefficients: Floats = dctn(blocks, axes=(-3, -1), norm="ortho")
        return coefficients.reshape(x.shape)

    def bands(self, height: int, width: int) -> Labels:
        places = np.arange(self.size**2).reshape(self.size, self.size)
        return np.tile(places, (height // self.size, width // self.size))


class CodecTransform(BlockDct):
    """The codec's own: blocks of 32 x 32, frequencies shared out among a few bands."""

    def __init__(self) -> None:
        super().__init__(BLOCK)

    def bands(self, height: int, width: int) -> Labels:
        return BandTransform(1, width, height, mixes_channels=False).band.reshape(height, width)


@dataclass(frozen=True)
class Wavelet:
    """Separable orthonormal wavelets, periodic at the borders; a band is a quadrant of one scale.

    Args:
        taps: of the low pass.
        scales: how often the low band is divided. The sides must be multiples of 2^scales.
    """

    taps: tuple[float, ...]
    scales: int

    def __call__(self, x: Floats) -> Floats:
        result = x.copy()
        height, width = x.shape[-2:]
        for scale in range(self.scales):
            low = result[..., : height >> scale, : width >> scale]
            low[...] = self.analysis(height >> scale) @ low @ self.analysis(width >> scale).T
        return result

    def analysis(self, size: int) -> Floats:
        """The orthonormal matrix (size, size) that splits a line into its low and its high band."""
        high = [(-1) ** place * tap for place, tap in enumerate(reversed(self.taps))]
        matrix = np.zeros((size, size), np.float32)
        for row in range(size // 2):
            for place, (low_tap, high_tap) in enumerate(zip(self.taps, high, strict=True)):
                matrix[row, (2 * row + place) % size] += low_tap
                matrix[size // 2 + row, (2 * row + place) % size] += high_tap
        return matrix

    def bands(self, height: int, width: int) -> Labels:
        labels = np.zeros((height, width), int)
        for scale in range(self.scales):
            rows, columns = height >> (scale + 1), width >> (scale + 1)
            first = 3 * (self.scales - 1 - scale)
            labels[:rows, columns : 2 * columns] = first + 1
            labels[rows : 2 * rows, :columns] = first + 2
            labels[rows : 2 * rows, columns : 2 * columns] = first + 3
        return labels


def change_colours(matrix: Floats, x: Floats) -> Floats:
    """Apply a matrix (..., 3, 3) to the channels of x (..., 3, H, W)."""
    return (matrix @ x.reshape(*x.shape[:-2], -1)).reshape(x.shape)


def colour_klt(errors: Floats) -> Floats:
    """For every node the colours in which errors (nodes, N, 3, H, W) are uncorrelated: (nodes, 1, 3, 3)."""
    covariance = np.einsum("tnchw,tndhw->tcd", errors, errors, optimize=True)
    axes: Floats = np.linalg.eigh(covariance).eigenvectors
    return axes.transpose(0, 2, 1)[:, None]
