"""A shared random rotation that gives all coefficients the same distribution.

Prediction errors are heavy-tailed: a few edges hold most of the information, so a trellis position at an edge has too
few bits while its neighbours have too many. After an orthonormal rotation each coefficient is a random mix of all of
them. The law of y is unchanged as long as only coefficients of equal std are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.base import StreamKey
from diffcodec.channel.randomness import shared_order, shared_signs
from diffcodec.channel.threads import in_threads


class Rotation:
    """Random signs, an orthonormal DCT within each group, random signs, then a shuffle between groups.

    Args:
        of: the group of every coefficient, shape (D,); None if there is only one.
        dims: D.
        keys: of the shared randomness: one for all vectors, or one per vector.
    """

    def __init__(self, of: NDArray[np.integer[Any]] | None, dims: int, keys: Sequence[StreamKey]) -> None:
        signs = np.stack([shared_signs(key, 0, 2 * dims) for key in keys])
        self._signs_in, self._signs_out = signs[:, :dims], signs[:, dims:]
        # Index arrays of shape (groups, size), one per group size; None means all dims.
        self._members: list[NDArray[np.int64]] | None = None
        self._order: NDArray[np.int64] | None = None  # (keys, D)
        self._of = of
        self._groups_of: dict[int, NDArray[np.integer[Any]]] = {}
        if of is not None:
            self._members = [members for members in _members(of) if members.shape[1] > 1]
            self._order = np.stack([shared_order(key, dims) for key in keys])

    def groups_of(self, vector: int) -> NDArray[np.integer[Any]]:
        """The group of every rotated coefficient of a vector, in its new place, shape (D,)."""
        assert self._of is not None
        assert self._order is not None
        key = min(vector, len(self._order) - 1)
        if key not in self._groups_of:
            self._groups_of[key] = self._of[self._order[key]]
        return self._groups_of[key]

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rotate vectors, shape (N, D). The result is bit-identical whatever the batch."""
        from scipy.fft import dct  # late: files are described and cut without it, and it takes 0.15 s

        z = x * self._signs_in
        z = self._by_group(z, dct)
        z *= self._signs_out
        return z if self._order is None else np.take_along_axis(z, self._order, axis=1)

    def inverse(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo `forward`."""
        from scipy.fft import idct

        if self._order is None:
            x = z * self._signs_out
        else:
            x = np.empty_like(z)
            np.put_along_axis(x, self._order, z, axis=1)
            x *= self._signs_out
        x = self._by_group(x, idct)
        x *= self._signs_in
        return x

    def _by_group(self, x: NDArray[np.float32], transform: Callable[..., NDArray[np.float32]]) -> NDArray[np.float32]:
        """The transform of each group of vectors (N, D), in place if there are groups."""
        if self._members is None:
            return transform(x, norm="ortho", axis=-1)

        def replace_groups(members: NDArray[np.int64]) -> None:
            x[:, members] = transform(x[:, members], norm="ortho", axis=-1)

        in_threads(replace_groups, self._members)
        return x


def _members(of: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
    """Indices of the coefficients of each group, one array (groups, size) per group size, ascending."""
    counts = np.bincount(of)
    order = np.argsort(of, kind="stable")
    starts = np.cumsum(counts) - counts
    return [order[starts[counts == size][:, None] + np.arange(size)].astype(np.int64) for size in np.unique(counts)]
