"""The orthonormal transform in which p has a variance of its own for every band.

Isotropic noise looks the same in every orthonormal basis, so the diffusion process does not notice. The error of the
x_0 estimate does: under a DCT over colours and over blocks of the picture its variance falls with the frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dctn, idctn

BLOCK = 32
"""Largest side of a block in pixels: the whole of a CIFAR-10 picture."""

CLASS_OF_FREQUENCY = (0, 1, 2, 3, 4, 4, 5, 5, *(6,) * 4, *(7,) * 4, *(8,) * 8, *(9,) * 8)
"""Frequencies 0 to 31 along one side that share a band: half octaves, which lose nothing (docs/benchmarks.md)."""

CLASSES = CLASS_OF_FREQUENCY[-1] + 1

BANDS = 3 * CLASSES * CLASSES
"""Bands of a colour picture; a grey one has the first third of them."""

# Rows: the normalised sum of the channels, red against blue, green against both. A Karhunen-Loeve transform measured
# at every level saves nothing beyond this (docs/benchmarks.md).
_COLOUR = dct(np.eye(3), norm="ortho", axis=0).astype(np.float32)


@dataclass(frozen=True)
class BlockTransform:
    """DCT over the colours and over blocks, for coded coordinates of one picture size.

    A side is cut into as few blocks of at most 32 pixels as do, as equal as possible, the longer ones first. The
    coefficient of frequency k in a block of length n counts as frequency 32 k // n.

    Args:
        channels: 3, or 1 if grey (then the coordinates are the normalised sum of the channels already).
        width, height: of the picture, in pixels.
    """

    channels: int
    width: int
    height: int

    @cached_property
    def band(self) -> NDArray[np.uint16]:
        """The band of every coefficient, (dims,): 100 times colour, 10 times class of the vertical frequency, and that
        of the horizontal one."""
        of_block = np.uint16(CLASSES) * _classes(self.height)[:, None] + _classes(self.width)
        bands = CLASSES * CLASSES * np.arange(self.channels, dtype=np.uint16)[:, None, None] + of_block
        return bands.reshape(-1)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of coefficients of every band, BANDS of them."""
        return tuple(np.bincount(self.band, minlength=BANDS).tolist())

    def forward(self, coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients (N, dims) of coded coordinates (N, dims)."""
        planes = coordinates.reshape(len(coordinates), self.channels, self.height, self.width)
        if self.channels == 3:
            planes = np.einsum("kc,nchw->nkhw", _COLOUR, planes)
        return self._blockwise(planes, inverse=False).reshape(coordinates.shape)

    def inverse(self, coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo `forward`."""
        planes = coefficients.reshape(len(coefficients), self.channels, self.height, self.width)
        planes = self._blockwise(planes, inverse=True)
        if self.channels == 3:
            planes = np.einsum("kc,nkhw->nchw", _COLOUR, planes)
        return planes.reshape(coefficients.shape)

    def _blockwise(self, planes: NDArray[np.float32], *, inverse: bool) -> NDArray[np.float32]:
        transform = idctn if inverse else dctn
        result = np.empty_like(planes)
        for rows, block_height in _stretches(self.height):
            for columns, block_width in _stretches(self.width):
                part = planes[:, :, rows, columns]
                across, down = part.shape[3] // block_width, part.shape[2] // block_height
                blocks = part.reshape(*part.shape[:2], down, block_height, across, block_width)
                result[:, :, rows, columns] = transform(blocks, axes=(3, 5), norm="ortho").reshape(part.shape)
        return result


def _stretches(side: int) -> list[tuple[slice, int]]:
    """The longer and the shorter blocks along a side, with their length."""
    blocks = -(-side // BLOCK)
    short = side // blocks
    border = side % blocks * (short + 1)
    stretches = [(slice(0, border), short + 1), (slice(border, side), short)]
    return [(part, length) for part, length in stretches if part.stop > part.start]


def _classes(side: int) -> NDArray[np.uint16]:
    """Class of the frequency of every coefficient along a side."""
    within = [np.arange(part.stop - part.start) % length * BLOCK // length for part, length in _stretches(side)]
    classes: NDArray[np.uint16] = np.array(CLASS_OF_FREQUENCY, np.uint16)[np.concatenate(within)]
    return classes
