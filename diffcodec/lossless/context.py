"""The context of a pixel: the order of the passes, neighbours, gradients.

Pixels are coded in passes, channel by channel (green, red, blue) and within a channel on four interleaved
lattices, so that a pass is one operation on arrays. The network's estimate is available everywhere from the start; its
error (the residual) is available where pixels have been coded, and neighbouring residuals are similar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcodec.lossless.rounding import UNIT

LATTICES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""First row and column of each lattice; rows and columns have stride 2."""

_ORDER = {1: (0,), 3: (1, 0, 2)}
_OWN = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 5]
_OTHER = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
_SIDES = ((0, -1), (-1, 0), (0, 1), (1, 0))
_PAD = 2
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Pass:
    """One pass.

    Args:
        channel: that it codes.
        lattice: index into LATTICES.
        neighbours: (channel, rows down, columns right) of the residuals that are already available.
    """

    channel: int
    lattice: int
    neighbours: tuple[tuple[int, int, int], ...]

    @property
    def grid(self) -> tuple[slice, slice]:
        """Rows and columns of the pass's pixels."""
        row, column = LATTICES[self.lattice]
        return slice(row, None, 2), slice(column, None, 2)

    @property
    def spread_features(self) -> int:
        """Length of a row of `Contexts.spread_features`."""
        return 1 + len(self.neighbours) + 2 * len(_SIDES)


def passes_for(channels: int) -> list[Pass]:
    """The passes of a picture of 1 or 3 channels, in order."""
    passes = []
    for place, channel in enumerate(_ORDER[channels]):
        for lattice, (row, column) in enumerate(LATTICES):
            known = LATTICES[:lattice]
            own = [(channel, y, x) for y, x in _OWN if ((row + y) % 2, (column + x) % 2) in known]
            other = [(earlier, y, x) for earlier in _ORDER[channels][:place] for y, x in _OTHER]
            passes.append(Pass(channel, lattice, (*own, *other)))
    return passes


class Contexts:
    """Residuals and gradients around the pixels of a picture, while it is coded.

    Args:
        means: the rounded estimate, units of 1 / UNIT grey level, (C, H, W), int64.
    """

    def __init__(self, means: NDArray[np.int64]) -> None:
        self.means = means
        # 32 bits are enough, and save memory with large pictures.
        self._residuals = np.pad(np.zeros(means.shape, np.int32), ((0, 0), (_PAD, _PAD), (_PAD, _PAD)))
        self._edges = np.pad(means.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")

    def centres(self, step: Pass, rows: slice = ALL_ROWS) -> NDArray[np.int64]:
        """The estimates of a pass's n pixels, (n,).

        Args:
            step: the pass.
            rows: of its lattice; all by default.
        """
        centres: NDArray[np.int64] = self.means[step.channel][step.grid][rows].reshape(-1)
        return centres

    def residuals(self, step: Pass, rows: slice = ALL_ROWS) -> NDArray[np.int64]:
        """Residuals of the neighbours of a pass's n pixels, (n, neighbours); zero outside of the picture."""
        known = [
            _shifted(self._residuals[channel], _PAD, y, x)[step.grid][rows].reshape(-1)
            for channel, y, x in step.neighbours
        ]
        if not known:
            return np.zeros((len(self.centres(step, rows)), 0), np.int64)
        return np.stack(known, axis=1).astype(np.int64)

    def spread_features(self, step: Pass, residuals: NDArray[np.int64], rows: slice = ALL_ROWS) -> NDArray[np.int64]:
        """Features that predict the size of a pass's residuals, (n, spread_features).

        A constant of one grey level, the absolute residuals of the neighbours, and the four gradients of the
        estimate: its own channel's, then the sum of the others'.
        """
        gradients = []
        for y, x in _SIDES:
            by_channel = [
                np.abs(means[step.grid][rows] - _shifted(edges, 1, y, x)[step.grid][rows]).reshape(-1)
                for means, edges in zip(self.means, self._edges, strict=True)
            ]
            gradients.append((by_channel[step.channel], sum(by_channel) - by_channel[step.channel]))
        own, others = zip(*gradients, strict=True)
        constant = np.full(len(residuals), UNIT)
        features: NDArray[np.int64] = np.stack([constant, *np.abs(residuals).T, *own, *others], axis=1)
        return features

    def learn(self, step: Pass, pixels: NDArray[np.int64]) -> None:
        """Store the residuals of a pass's coded pixels, shape (n,)."""
        own = self._residuals[step.channel, _PAD:-_PAD, _PAD:-_PAD]
        estimate = self.means[step.channel][step.grid]
        own[step.grid] = pixels.reshape(estimate.shape) * UNIT - estimate


def _shifted(padded: NDArray[np.int32], pad: int, y: int, x: int) -> NDArray[np.int32]:
    """A padded array, shifted so that each element is its neighbour y rows down and x columns right."""
    height, width = padded.shape
    return padded[pad + y : height - pad + y, pad + x : width - pad + x]
