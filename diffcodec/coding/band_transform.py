"""The orthonormal transform in which p has one variance per band.

Isotropic noise is the same in every orthonormal basis, so the diffusion process does not change. The error of the x_0
estimate is not isotropic: under a DCT over colours and over blocks of the picture its variance falls with frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Largest side of a block in pixels: a whole CIFAR-10 picture."""

CLASS_OF_FREQUENCY = (0, 1, 2, 3, 4, 4, 5, 5, *(6,) * 4, *(7,) * 4, *(8,) * 8, *(9,) * 8)
"""Frequencies 0 to 31 along one side that share a band: half octaves, which lose nothing (docs/benchmarks.md)."""

CLASSES = CLASS_OF_FREQUENCY[-1] + 1

BANDS_OF_CHANNEL = CLASSES * CLASSES
"""Bands of one channel: a class of the vertical frequency with one of the horizontal."""


@dataclass(frozen=True)
class BandTransform:
    """DCT over the colours and over blocks, for coded coordinates of one picture size.

    Each side is cut into the fewest blocks of at most 32 pixels, as equal as possible, longer ones first. The
    coefficient of frequency k in a block of length n counts as frequency 32 k // n.

    Args:
        channels: of the coordinates.
        width, height: of the signal, in grid points (for pictures: pixels).
        mixes_channels: whether there is also a DCT over the channels; a grey picture is its first coefficient.
    """

    channels: int
    width: int
    height: int
    mixes_channels: bool

    @cached_property
    def band(self) -> NDArray[np.uint16]:
        """The band of every coefficient, (dims,): 100 * channel + 10 * vertical class + horizontal class."""
        of_block = np.uint16(CLASSES) * _classes(self.height)[:, None] + _classes(self.width)
        bands = CLASSES * CLASSES * np.arange(self.channels, dtype=np.uint16)[:, None, None] + of_block
        return bands.reshape(-1)

    def counts(self, bands: int) -> NDArray[np.int64]:
        """Number of coefficients in each band, (bands,); without `band`, which takes memory for every coefficient."""
        down, across = _class_counts(self.height), _class_counts(self.width)
        counts = np.zeros(bands, np.int64)
        counts[: self.channels * BANDS_OF_CHANNEL] = np.tile(np.outer(down, across).ravel(), self.channels)
        return counts

    def forward(self, coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients (N, dims) of coded coordinates (N, dims)."""
        planes = coordinates.reshape(len(coordinates), self.channels, self.height, self.width)
        if self.mixes_channels:
            planes = np.einsum("kc,nchw->nkhw", _channel_dct(self.channels), planes)
        return self._blockwise(planes, inverse=False).reshape(coordinates.shape)

    def inverse(self, coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo `forward`."""
        planes = coefficients.reshape(len(coefficients), self.channels, self.height, self.width)
        planes = self._blockwise(planes, inverse=True)
        if self.mixes_channels:
            planes = np.einsum("kc,nkhw->nchw", _channel_dct(self.channels), planes)
        return planes.reshape(coefficients.shape)

    def _blockwise(self, planes: NDArray[np.float32], *, inverse: bool) -> NDArray[np.float32]:
        from scipy.fft import dctn, idctn  # late: files are described and cut without it, and it takes 0.15 s

        transform = idctn if inverse else dctn
        result = np.empty_like(planes)
        for rows, block_height in _stretches(self.height):
            for columns, block_width in _stretches(self.width):
                part = planes[:, :, rows, columns]
                across, down = part.shape[3] // block_width, part.shape[2] // block_height
                blocks = part.reshape(*part.shape[:2], down, block_height, across, block_width)
                result[:, :, rows, columns] = transform(blocks, axes=(3, 5), norm="ortho").reshape(part.shape)
        return result


def _channel_dct(channels: int) -> NDArray[np.float32]:
    """DCT over channels, (coefficients, channels).

    For RGB: the normalised sum, red minus blue, green minus both. A Karhunen-Loeve transform measured at every level
    saves nothing more (docs/benchmarks.md).
    """
    from scipy.fft import dct

    matrix: NDArray[np.float32] = dct(np.eye(channels), norm="ortho", axis=0).astype(np.float32)
    return matrix


def _stretches(side: int) -> list[tuple[slice, int]]:
    """The run of longer blocks along a side and that of shorter ones, each with its block length."""
    blocks = -(-side // BLOCK)
    short = side // blocks
    border = side % blocks * (short + 1)
    stretches = [(slice(0, border), short + 1), (slice(border, side), short)]
    return [(part, length) for part, length in stretches if part.stop > part.start]


def _class_counts(side: int) -> NDArray[np.int64]:
    """Number of coefficients of every class along a side, (CLASSES,)."""
    counts = np.zeros(CLASSES, np.int64)
    for part, length in _stretches(side):
        of_block = [CLASS_OF_FREQUENCY[k * BLOCK // length] for k in range(length)]
        counts += (part.stop - part.start) // length * np.bincount(of_block, minlength=CLASSES)
    return counts


def _classes(side: int) -> NDArray[np.uint16]:
    """Frequency class of every coefficient along a side."""
    within = [np.arange(part.stop - part.start) % length * BLOCK // length for part, length in _stretches(side)]
    classes: NDArray[np.uint16] = np.array(CLASS_OF_FREQUENCY, np.uint16)[np.concatenate(within)]
    return classes
