"""Assigns the bits of a message to dims: lanes, positions, pieces. Integers only, so both sides agree.

An image's message of B bits is cut into lanes, independent trellises. Within a lane, position 0 holds the
state's first L bits and every later position one more bit; each position owns a block of consecutive
(rotated) dims. A block wider than the shared table is cut into pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.randomness import COLUMNS, label_table, piece_rolls
from diffcodec.config import MAX_EFFORT

LANE_BITS = 2048
"""Most bits in a lane. Its start costs about two bits, 0.1 %; its survivors take 2**L / 16 bytes per bit."""

WIDE = 32
"""Dims per bit from which labels are split, see `split_labels`, and the states are four times as many."""

_SPLIT_MEMORY = 10
_TAPER = (3, 4, 5, 6)
_MOST_SLABS = 8


@dataclass(frozen=True)
class Lane:
    """One trellis: a slice of the message and a slice of the dims.

    Args:
        bits: message bits of the lane, at least 1.
        start, stop: its slice of the rotated dims.
        memory: L, the bits in a state; at most `bits`.
        borders: position j owns the lane's dims borders[j] to borders[j + 1]; shape (positions + 1,).
        split: whether labels are split, see `split_labels`; L is at least 10 then.
    """

    bits: int
    start: int
    stop: int
    memory: int
    borders: NDArray[np.int64]
    split: bool = False

    @property
    def kind(self) -> tuple[int, bool]:
        """L, and whether labels are split: lanes of one kind can be searched together."""
        return self.memory, self.split

    @property
    def positions(self) -> int:
        """Number of positions: one for the first state and one for each bit after it."""
        return self.bits - self.memory + 1

    @cached_property
    def pieces(self) -> Pieces:
        """The blocks, cut to the width of the table."""
        if self.split:
            return _split_pieces(self.borders, self.rows)
        return _pieces(self.borders, self.first_rows, self.rows)

    @property
    def first_rows(self) -> int:
        """Table rows in use at position 0: one for each pair of opposite first states."""
        return 1 << (self.memory - 1)

    @property
    def rows(self) -> int:
        """Table rows in use at later positions, where four states share a row up to its sign."""
        return max(1, 1 << (self.memory - 2)) if self.memory > 1 else 1

    @property
    def table(self) -> NDArray[np.float32]:
        """The lane's shared table, shape (2 * rows, COLUMNS)."""
        return label_table(self.rows)


@dataclass(frozen=True)
class Pieces:
    """The pieces of a lane's blocks in order of dims; every position has at least one, which may be empty.

    Args:
        position: the position of each piece, shape (pieces,), ascending.
        first: the first piece of each position, shape (positions + 1,).
        shift: offset added to the row numbers of a position, shape (positions,); zero for position 0.
        roll: offset added on top for each piece, shape (pieces,); zero for the first piece of a position.
        slabs: number of slabs of `width` columns of the table, which the positions use in turn. Without shifts and
            slabs all positions would use the same few table values, with their random deviations.
        filled: shape (pieces, width); which table columns are used by a dim. Its true entries are the lane's dims
            in order.
    """

    position: NDArray[np.int64]
    first: NDArray[np.int64]
    shift: NDArray[np.int64]
    roll: NDArray[np.int64]
    slabs: int
    filled: NDArray[np.bool_]

    @property
    def width(self) -> int:
        """Most dims in a piece."""
        return int(self.filled.shape[1])

    @cached_property
    def extra(self) -> NDArray[np.int64]:
        """The pieces that are not the first of their position, ascending."""
        return np.flatnonzero(self.first[self.position] != np.arange(len(self.position)))

    def spread(self, coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients of the lane's dims by piece and column, zero where there is no dim, (pieces, width)."""
        spread = np.zeros(self.filled.shape, np.float32)
        spread[self.filled] = coefficients
        return spread

    @cached_property
    def column(self) -> NDArray[np.int64]:
        """The first table column of each piece, shape (pieces,)."""
        column = self.position % self.slabs * self.width
        column[self.extra] = 0
        return column


def state_bits(effort: int, bits: int, dims: int) -> int:
    """L for an image's message of `bits` bits: effort is a budget, so short messages get more states.

    The search takes about (bits + dims / 64) * 2**L operations. L rises above `effort`, up to 16, while that
    stays below 2**(effort + 9): under ten milliseconds at effort 12. Wide blocks, whose labels are cheap, get two bits
    more.
    """
    memory = min(effort + 2, MAX_EFFORT) if is_wide(bits, dims) else effort
    while memory < MAX_EFFORT and (bits + (dims >> 6)) << (memory + 1) <= 1 << (effort + 9):
        memory += 1
    return memory


def is_wide(bits: int, dims: int) -> bool:
    """Whether a message has so few bits for its dims that its labels are split."""
    return dims >= WIDE * bits


def lane_count(bits: int, dims: int) -> int:
    """Number of lanes for an image's message: the fewest that hold it, at most one per dim."""
    return max(1, min(-(-bits // LANE_BITS), dims))


def lanes_of(bits: int, dims: int, effort: int, weights: NDArray[np.int64] | None) -> list[Lane]:
    """Cut a message into lanes.

    Args:
        bits: length of the image's message, at least 1.
        dims: number of rotated coefficients.
        effort: the channel's effort.
        weights: expected information of each rotated coefficient, total below 2**49, or None if all are
            equal.
    """
    count = lane_count(bits, dims)
    memory = state_bits(effort, bits, dims)
    bit_borders = [bits * lane // count for lane in range(count + 1)]
    if weights is None:
        dim_borders = [dims * border // bits for border in bit_borders]
    else:
        upto = np.cumsum(weights)
        total = int(upto[-1])
        dim_borders = [0, *np.searchsorted(upto, [total * border // bits for border in bit_borders[1:-1]]), dims]
    lanes = []
    for lane in range(count):
        lane_bits, start, stop = bit_borders[lane + 1] - bit_borders[lane], *dim_borders[lane : lane + 2]
        lane_memory = min(memory, lane_bits)
        if weights is None:
            borders = _equal_borders(stop - start, lane_bits, lane_memory)
        else:
            borders = _weighted_borders(weights[start:stop], lane_bits, lane_memory)
        split = is_wide(bits, dims) and lane_memory >= _SPLIT_MEMORY
        lanes.append(Lane(lane_bits, int(start), int(stop), lane_memory, borders, split))
    return lanes


@lru_cache(maxsize=256)
def _shares(bits: int, memory: int) -> NDArray[np.int64]:
    """Cumulative shares of the lane's information that the positions should hold, shape (positions + 1,).

    In units of half a bit. An ordinary position holds one bit. Measured best, for every L: the first position holds
    only half of its L bits, because later positions still choose among its states; the last four hold more, because
    no later position chooses among theirs.
    """
    positions = bits - memory + 1
    shares = np.full(positions, 2, np.int64)
    shares[0] = max(memory, 2)
    tail = min(len(_TAPER), positions - 1)
    if tail:
        shares[-tail:] = _TAPER[-tail:]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(shares)])


@lru_cache(maxsize=256)
def _equal_borders(dims: int, bits: int, memory: int) -> NDArray[np.int64]:
    """Block borders for equal weights: a dim belongs to the block that contains its middle."""
    shares = _shares(bits, memory)
    # Twice the middle of dim i is 2 i + 1; the first i with (2 i + 1) / (2 dims) >= share / total.
    borders: NDArray[np.int64] = -(-2 * dims * shares // shares[-1]) // 2
    borders.setflags(write=False)
    return borders


def _weighted_borders(weights: NDArray[np.int64], bits: int, memory: int) -> NDArray[np.int64]:
    """Block borders for given weights."""
    shares = _shares(bits, memory)
    if len(weights) == 0:
        return np.zeros_like(shares)
    upto = np.cumsum(weights)
    middle_twice = 2 * upto - weights
    total, units = int(upto[-1]), int(shares[-1])
    # total < 2**49 and shares <= 2 * LANE_BITS + 30 < 2**13: the product stays below 2**63. Lanes with more
    # bits (only where there are a thousand times as many bits as dims) use Python integers.
    wide: NDArray[Any] = shares.astype(object) if 2 * total * units >= 2**63 else shares
    targets = (-(-2 * total * wide // units)).astype(np.int64)
    borders = np.searchsorted(middle_twice, targets).astype(np.int64)
    borders[-1] = len(weights)
    return borders


def _split_pieces(borders: NDArray[np.int64], rows: int) -> Pieces:
    """As `_pieces`, with all columns, the shared numbers themselves as rolls, and one slab: even columns stay even."""
    pieces = _cut(borders, COLUMNS, 1)
    return replace(pieces, shift=pieces.shift % rows)


def _pieces(borders: NDArray[np.int64], first_rows: int, rows: int) -> Pieces:
    widths = np.diff(borders)
    # The first and the last positions are wider, and may be cut into pieces so that the others need no padding.
    ordinary = widths[1 : -len(_TAPER)]
    width = min(COLUMNS, max(1, int(ordinary.max()))) if len(ordinary) else COLUMNS
    pieces = _cut(borders, width, min(_MOST_SLABS, COLUMNS // width))
    roll = pieces.roll % np.where(pieces.position == 0, first_rows, rows)
    return replace(pieces, shift=pieces.shift % rows, roll=roll)


def _cut(borders: NDArray[np.int64], width: int, slabs: int) -> Pieces:
    """Blocks cut to a width."""
    widths = np.diff(borders)
    counts = np.maximum(-(-widths // width), 1)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    position = np.repeat(np.arange(len(widths)), counts)
    number = np.arange(first[-1]) - first[position]
    filled = np.arange(width) < (widths[position] - number * width)[:, None]
    rolls = piece_rolls()
    shift = rolls[np.arange(len(widths)) % len(rolls)]
    shift[0] = 0
    roll = np.where(number > 0, rolls[(7 + number + 31 * position) % len(rolls)], 0)
    return Pieces(position, first, shift, roll, slabs, filled)
