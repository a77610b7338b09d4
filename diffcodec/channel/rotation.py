"""A shared random rotation that makes every coefficient alike.

Prediction errors are heavy-tailed: a few edges hold most of the information, and a trellis position that
meets one is short of bits while its neighbours have too many. After an orthonormal rotation each coefficient
is a random mix of all of them, and the law of y is unchanged as long as only coefficients of equal std are
mixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from diffcodec.channel.base import StreamKey
from diffcodec.channel.randomness import shared_order, shared_signs


class Rotation:
    """Random signs, an orthonormal DCT within each group of equal std, random signs, then a shuffle between
    groups.

    Args:
        std: shape () or (D,), float64. Grouped by exact equality.
        dims: D.
        key: names the shared randomness.
        weights: expected information per coefficient, positive integers of shape (D,), or None.
    """

    def __init__(self, std: NDArray[np.float64], dims: int, key: StreamKey, weights: NDArray[np.int64] | None) -> None:
        signs = shared_signs(key, 0, 2 * dims)
        self._signs_in, self._signs_out = signs[:dims], signs[dims:]
        # Index arrays of shape (groups, size), one for each size of group; None stands for all dims.
        self._groups: list[NDArray[np.int64]] | None = None
        self._order: NDArray[np.int64] | None = None
        self.weights: NDArray[np.int64] | None = None
        """Expected information per rotated coefficient, in its new place, (D,); None if all are equal."""
        if std.ndim == 0 or bool(np.all(std == std[0])):
            return  # one group: the rotation alone makes all coefficients alike
        groups = _groups_of_equal(std)
        self._groups = [group for group in groups if group.shape[1] > 1]
        self._order = shared_order(key, dims)
        if weights is not None:
            self.weights = _group_means(weights, groups)[self._order]

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rotate one vector, shape (D,)."""
        z = x * self._signs_in
        if self._groups is None:
            z = dct(z, norm="ortho")
        else:
            for group in self._groups:
                z[group] = dct(z[group], norm="ortho", axis=-1)
        z *= self._signs_out
        return z if self._order is None else z[self._order]

    def place(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move a table that is constant within each group, shape () or (D,), to the rotated coefficients."""
        return table if table.ndim == 0 or self._order is None else table[self._order]

    def inverse(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo `forward`. One vector at a time, so that no last digit depends on the batch."""
        if self._order is None:
            x = z * self._signs_out
        else:
            x = np.empty_like(z)
            x[self._order] = z
            x *= self._signs_out
        if self._groups is None:
            x = idct(x, norm="ortho")
        else:
            for group in self._groups:
                x[group] = idct(x[group], norm="ortho", axis=-1)
        x *= self._signs_in
        return x


def _groups_of_equal(std: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Indices of equal entries, one array (groups, size) for each size that occurs, sizes ascending."""
    _, group_of, counts = np.unique(std, return_inverse=True, return_counts=True)
    order = np.argsort(group_of.reshape(-1), kind="stable")
    starts = np.cumsum(counts) - counts
    return [order[starts[counts == size][:, None] + np.arange(size)].astype(np.int64) for size in np.unique(counts)]


def _group_means(weights: NDArray[np.int64], groups: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Weights averaged within each group, times 256, (D,); in integers, with a total of at most 2**49."""
    total = sum(weights.astype(object)) if int(weights.max()) > 2**32 else int(weights.sum(dtype=np.int64))
    shift = max(0, int(total).bit_length() - 40)
    scaled = np.maximum(weights.astype(np.int64) >> shift, 1)
    means = np.empty(len(weights), np.int64)
    for group in groups:
        size = group.shape[1]
        means[group] = np.maximum((scaled[group].sum(axis=1, keepdims=True) << 8) // size, 1)
    return means
