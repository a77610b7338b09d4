"""Labels of wide blocks: half of a block's dims see one half of the state's bits, and half the other.

A block of many dims costs a product of its coefficients with every row of the label table: 2^(L - 2) rows. If even
columns depend on the even bits of the row number only, and odd columns on the odd ones, two tables of about 2^(L / 2)
rows do: the metric of a row is the sum of one entry of each. Different rows then share labels, which costs 0.4 % of the
bits; four times as many states, which the time saved pays for, gain 2 %. Each half also sees the other's two newest
bits, which halves the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.labels import Labels, Task
from diffcodec.channel.layout import Lane
from diffcodec.channel.randomness import label_table

GROUP = 4
"""Rows that a half sees come in groups that differ in their two lowest bits: GROUP^2 rows are consecutive sums."""

_SHARED = 2


@dataclass(frozen=True)
class RowHalves:
    """How the two halves of the columns see the rows of a position.

    Args:
        sizes: number of different rows that each half sees.
        low: entry of each half within a group of GROUP, for the low bits of a row, (2, GROUP^2).
        high: number of each half's group, for the high bits of a row, (2, rows / GROUP^2).
    """

    sizes: tuple[int, int]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def of(self, half: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What a half sees of some rows."""
        high, low = np.divmod(rows, GROUP**2)
        seen: NDArray[np.int64] = GROUP * self.high[half, high] + self.low[half, low]
        return seen


@lru_cache(maxsize=16)
def row_halves(bits: int) -> RowHalves:
    """The halves of rows of so many bits, at least 8.

    Half k sees bits k, k + 2, k + 4, ..., lowest first, and above them the two highest bits of the other half.
    """
    rows = np.arange(1 << bits)
    sizes, low, high = [], [], []
    for half in range(2):
        seen = [*range(half, bits, 2), *range(1 - half, bits, 2)[-_SHARED:]]
        index = np.sum([((rows >> bit) & 1) << place for place, bit in enumerate(seen)], axis=0)
        sizes.append(1 << len(seen))
        low.append(index[: GROUP**2] % GROUP)
        high.append(index[:: GROUP**2] // GROUP)
    return RowHalves((sizes[0], sizes[1]), np.stack(low), np.stack(high))


def table_of(lane: Lane, half: int) -> NDArray[np.float32]:
    """The table whose columns of a half are in use, twice as many rows as the half sees after position 0."""
    return label_table(row_halves(lane.memory - 2).sizes[half])


@dataclass(frozen=True)
class HalfSums:
    """The metrics of some positions, by what each half of the columns sees.

    Args:
        halves: of the rows of these positions.
        sums: of each half, (2 kinds: odd and even, positions, rows that it sees).
    """

    halves: RowHalves
    sums: tuple[NDArray[np.float32], NDArray[np.float32]]


def add_pieces(
    products: NDArray[np.float32], turns: NDArray[np.int64], first: NDArray[np.int64], sums: NDArray[np.float32]
) -> None:
    """Turn the products (pieces, rows) of each piece, and add up those of a position: (positions, rows).

    Pieces are added in their order, so that other forms find the same sums.
    """
    size = products.shape[1]
    turned = np.take_along_axis(products, (np.arange(size) + turns[:, None]) & (size - 1), 1)
    if len(first) > 1:
        np.add.reduceat(turned, first[:-1], axis=0, out=sums)


def add_halves(halves: HalfSums, start: int, metrics: NDArray[np.float32]) -> None:
    """Write the metrics of all rows of consecutive positions, (2, positions, rows)."""
    stop = start + metrics.shape[1]
    first, second = (
        sums[:, start:stop].reshape(2, stop - start, sums.shape[2] // GROUP, GROUP)[..., low][:, :, high]
        for sums, low, high in zip(halves.sums, halves.halves.low, halves.halves.high, strict=True)
    )
    metrics[:] = (first + second).reshape(metrics.shape)


class Arithmetic(NamedTuple):
    """The two additions of split labels; every form of them finds the same sums, bit for bit."""

    add_pieces: Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], None]
    add_halves: Callable[[HalfSums, int, NDArray[np.float32]], None]


NUMPY = Arithmetic(add_pieces, add_halves)
"""The reference."""


class SplitLabels:
    """The branch metrics of a lane with split labels; see `labels.Labels`, whose interface it has.

    Args:
        task: the lane and its coefficients.
        arithmetic: adds up their products with the table.
    """

    def __init__(self, task: Task, arithmetic: Arithmetic = NUMPY) -> None:
        self.lane = lane = task.lane
        self._arithmetic, pieces = arithmetic, lane.pieces
        later = int(pieces.first[1])
        spread = [pieces.spread(task.linear)]
        if task.quadratic is not None:
            spread.append(pieces.spread(-task.quadratic))
        first_halves, halves = row_halves(lane.memory - 1), row_halves(lane.memory - 2)
        self.first = HalfSums(first_halves, self._sums(spread, first_halves, slice(0, later), pieces.first[:2]))
        self.later = HalfSums(halves, self._sums(spread, halves, slice(later, None), pieces.first[1:] - later))

    def _sums(
        self, spread: Sequence[NDArray[np.float32]], halves: RowHalves, own: slice, first: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Sums over the pieces of each position.

        Args:
            spread: coefficients by column of the odd and, unless they are zero, of the even part, (pieces, width).
            halves: of the rows.
            own: the pieces.
            first: each position's first piece among these, and their number, (positions + 1,).
        """
        found = []
        for half, size in enumerate(halves.sizes):
            table = np.ascontiguousarray(table_of(self.lane, half)[:size, half::2].T)
            own_offsets = offsets(self.lane, half)[own] & (size - 1)
            sums = np.zeros((2, len(first) - 1, size), np.float32)
            for coefficients, values, total in zip(spread, (table, np.square(table)), sums, strict=False):
                products = np.ascontiguousarray(coefficients[own, half::2]) @ values
                self._arithmetic.add_pieces(products, own_offsets, first, total)
            found.append(sums)
        return found[0], found[1]

    def first_scores(self) -> NDArray[np.float32]:
        """Scores of the states at position 0, shape (states,)."""
        metrics = np.empty((2, 1, self.lane.first_rows), np.float32)
        self._arithmetic.add_halves(self.first, 0, metrics)
        odd, even = metrics[:, 0]
        return np.concatenate([even + odd, even - odd])

    def write(self, start: int, metrics: NDArray[np.float32]) -> None:
        """Compute the metrics of consecutive positions from `start` >= 1 on, as `Labels.write`."""
        self._arithmetic.add_halves(self.later, start - 1, metrics)


def labels_of(task: Task, arithmetic: Arithmetic = NUMPY) -> Labels | SplitLabels:
    """The branch metrics of a lane; the arithmetic is that of split labels."""
    return SplitLabels(task, arithmetic) if task.lane.split else Labels(task)


def offsets(lane: Lane, half: int) -> NDArray[np.int64]:
    """What is added to the rows that a half sees, for each piece: the low or the high byte of its roll."""
    return lane.pieces.roll >> (8 * half)


def split_values(lane: Lane, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The labels of all pieces, (pieces, width), for rows by position."""
    pieces = lane.pieces
    split = int(pieces.first[1])
    shifted = rows + pieces.shift
    shifted[1:] &= lane.rows - 1
    values = np.empty(pieces.filled.shape, np.float32)
    for own, bits in ((slice(0, split), lane.memory - 1), (slice(split, None), lane.memory - 2)):
        halves = row_halves(bits)
        for half, size in enumerate(halves.sizes):
            seen = (halves.of(half, shifted[pieces.position[own]]) + offsets(lane, half)[own]) & (size - 1)
            values[own, half::2] = table_of(lane, half)[:, half::2][seen]
    return values
