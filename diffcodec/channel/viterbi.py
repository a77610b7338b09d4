"""Search of the bitshift trellis, and its replay.

A state is the last L bits of the path, the newest on top: bit b takes state s to (s >> 1) | (b << (L - 1)).
A state's
label is a row of the shared table, times a sign. At position 0, a row of 2**(L - 1), and the top bit is the
sign. Later, the middle L - 2 bits choose the row and the sign is the newest bit xor the oldest: so two paths
that part take opposite labels, and so do two paths that meet, as in Ungerboeck's set partitioning. That is
worth as much as four times the states, and only a quarter of the labels need computing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.layout import Lane
from diffcodec.channel.randomness import label_table

_STATES_AT_ONCE = 1 << 16  # scores of one group of lanes; 256 KiB, so that they stay in the cache
_LABELS_AT_ONCE = 1 << 18  # labels computed ahead, 1 MiB
_SURVIVOR_BYTES = 1 << 27


@dataclass(frozen=True)
class Task:
    """One lane to search.

    Args:
        lane: its layout.
        linear: coefficient of y in the log-likelihood ratio, m / s^2, shape (lane dims,).
        quadratic: coefficient of -y^2, (1 / s^2 - 1) / 2, shape (lane dims,); None if s = 1.
    """

    lane: Lane
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32] | None


def search(tasks: Sequence[Task]) -> list[NDArray[np.uint8]]:
    """The likeliest path of each lane as message bits, oldest first, shape (bits,) each."""
    found: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(tasks)
    # Lanes of equal L run side by side, the longest first: then the active ones are always the first ones.
    order = sorted(range(len(tasks)), key=lambda i: (tasks[i].lane.memory, -tasks[i].lane.positions))
    while order:
        lane = tasks[order[0]].lane
        bytes_each = max(1, lane.positions << max(lane.memory - 4, 0))
        size = max(1, min(_STATES_AT_ONCE >> lane.memory, _SURVIVOR_BYTES // bytes_each))
        group = [i for i in order[:size] if tasks[i].lane.memory == lane.memory]
        order = order[len(group) :]
        for i, bits in zip(group, _search_group([tasks[i] for i in group]), strict=True):
            found[i] = bits
    return found


def replay(lane: Lane, bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The rotated sample of a path, shape (lane dims,)."""
    memory, pieces = lane.memory, lane.pieces
    windows = np.lib.stride_tricks.sliding_window_view(bits, memory)
    states = windows.astype(np.int64) @ (1 << np.arange(memory, dtype=np.int64))
    newest = states >> (memory - 1)
    rows, signs = (states >> 1) & (lane.rows - 1), newest ^ (states & 1)
    rows[0], signs[0] = states[0] & (lane.first_rows - 1), newest[0]
    of_piece = (rows + pieces.shift)[pieces.position] + pieces.roll
    split = pieces.first[1]
    of_piece[:split] &= lane.first_rows - 1
    of_piece[split:] &= lane.rows - 1
    values = lane.table[of_piece[:, None], pieces.column[:, None] + np.arange(pieces.width)]
    values *= (1 - 2 * signs[pieces.position]).astype(np.float32)[:, None]
    rotated: NDArray[np.float32] = values[pieces.filled]
    return rotated


@dataclass(frozen=True)
class _Columns:
    """A shared table by columns, for matrix products; each array has shape (COLUMNS, 2 rows).

    Args:
        plain: all rows, for position 0.
        pairs: the first half, every row followed by its negative, for the other positions.
        plain_squares: squares of `plain`.
        pair_squares: squares of `pairs`.
    """

    plain: NDArray[np.float32]
    pairs: NDArray[np.float32]
    plain_squares: NDArray[np.float32]
    pair_squares: NDArray[np.float32]


@lru_cache(maxsize=8)
def _columns(rows: int) -> _Columns:
    plain = np.ascontiguousarray(label_table(rows).T)
    pairs = np.repeat(plain[:, :rows], 2, axis=1)
    pairs[:, 1::2] *= -1.0
    return _Columns(plain, pairs, plain**2, pairs**2)


class _Labels:
    """Branch metrics of one lane, computed for many positions at a time."""

    def __init__(self, task: Task) -> None:
        self.lane, self.pieces = task.lane, task.lane.pieces
        self._columns = _columns(self.lane.rows)
        self._leads, self._extras = self._spread(task.linear)
        self._flat = task.quadratic is None
        if task.quadratic is not None:
            self._lead_curves, self._extra_curves = self._spread(-task.quadratic)
        extra = self.pieces.extra
        self._extra_position = self.pieces.position[extra].tolist()
        self._extra_roll = self.pieces.roll[extra].tolist()
        self._first_extra = np.searchsorted(self.pieces.position[extra], np.arange(self.lane.positions + 1)).tolist()

    def _spread(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One row per piece, zero where no dim is: the leading pieces of all positions, and the others."""
        spread = np.zeros(self.pieces.filled.shape, np.float32)
        spread[self.pieces.filled] = values
        return spread[self.pieces.first[:-1]], spread[self.pieces.extra]

    def first(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Odd and even part of the metric at position 0, shape (first_rows,) each."""
        rows = self.lane.first_rows
        odd, even = np.empty((1, rows), np.float32), np.zeros((1, rows), np.float32)
        self._sum(self._leads, self._extras, self._columns.plain[:, :rows], 1, 0, odd)
        if not self._flat:
            curves = self._columns.plain_squares[:, :rows]
            self._sum(self._lead_curves, self._extra_curves, curves, 1, 0, even)
        return odd[0], even[0]

    def later(self, start: int, odd: NDArray[np.float32], even: NDArray[np.float32] | None) -> None:
        """Write the metrics of positions from `start` on, odd and even part, shape (positions, 2 rows) each.

        The entries of a row and of its negative alternate.
        """
        self._sum(self._leads, self._extras, self._columns.pairs, 2, start, odd)
        if even is None:
            return
        if self._flat:
            even[:] = 0.0
        else:
            self._sum(self._lead_curves, self._extra_curves, self._columns.pair_squares, 2, start, even)

    def _sum(
        self,
        leads: NDArray[np.float32],
        extras: NDArray[np.float32],
        table: NDArray[np.float32],
        per_row: int,
        start: int,
        out: NDArray[np.float32],
    ) -> None:
        """Sums over the pieces of each position of piece @ table, rolled by `per_row` times the piece's roll."""
        width, slabs = self.pieces.width, self.pieces.slabs
        stop, rows = start + len(out), table.shape[1]
        for slab in range(min(slabs, len(out))):
            own = slice(start + slab, stop, slabs)
            column = (start + slab) % slabs * width
            np.matmul(leads[own], table[column : column + width], out=out[slab::slabs])
        end, step = self._first_extra[stop], max(1, _LABELS_AT_ONCE // rows)
        for a in range(self._first_extra[start], end, step):
            b = min(a + step, end)
            for product, j, roll in zip(
                extras[a:b] @ table[:width], self._extra_position[a:b], self._extra_roll[a:b], strict=True
            ):
                total, turn = out[j - start], per_row * roll
                total[: rows - turn] += product[turn:]
                total[rows - turn :] += product[:turn]


def _search_group(tasks: Sequence[Task]) -> list[NDArray[np.uint8]]:
    """Viterbi over lanes of equal L, the longest first."""
    lanes = [task.lane for task in tasks]
    count, memory, positions = len(lanes), lanes[0].memory, lanes[0].positions
    states, half = 1 << memory, 1 << (memory - 1)
    labels = [_Labels(task) for task in tasks]
    flat = all(task.quadratic is None for task in tasks)
    score = np.empty((count, states), np.float32)
    for g, label in enumerate(labels):
        odd, even = label.first()
        np.add(even, odd, out=score[g, :half])
        np.subtract(even, odd, out=score[g, half:])
    survivors = np.empty((positions - 1, count, max(1, half // 8)), np.uint8)
    if positions > 1:
        _recursion(labels, score, survivors, flat)
    best = score.argmax(axis=1)
    return [_trace(lane, int(best[g]), survivors[: lane.positions - 1, g]) for g, lane in enumerate(lanes)]


def _recursion(labels: list[_Labels], score: NDArray[np.float32], survivors: NDArray[np.uint8], flat: bool) -> None:
    """Run all positions after the first, in place."""
    count, states = score.shape
    half = states // 2
    ends = [label.lane.positions for label in labels]
    step = max(1, min(_LABELS_AT_ONCE // (count * half), ends[0] - 1))
    odd = np.empty((count, step, half), np.float32)
    even = None if flat else np.empty_like(odd)
    best, choice = np.empty((count, half), np.float32), np.empty((count, half), np.bool_)
    shifts = labels[0].pieces.shift.tolist()
    active = count
    for start in range(1, ends[0], step):
        for g, label in enumerate(labels[:active]):
            stop = min(start + step, ends[g])
            if stop > start:
                part = slice(0, stop - start)
                label.later(start, odd[g, part], None if even is None else even[g, part])
        for j in range(start, min(start + step, ends[0])):
            while ends[active - 1] <= j:
                active -= 1
            old, new, pick, add = score[:active], best[:active], choice[:active], odd[:active, j - start]
            np.greater(old[:, 1::2], old[:, ::2], out=pick)
            np.maximum(old[:, 1::2], old[:, ::2], out=new)
            survivors[j - 1, :active] = np.packbits(pick, axis=1, bitorder="little")
            turn = 2 * shifts[j]
            low, high = old[:, :half], old[:, half:]
            # The position's shift of the row number, without moving the labels: add them in two stretches.
            for to, source in (
                (slice(0, half - turn), slice(turn, half)),
                (slice(half - turn, half), slice(0, turn)),
            ):
                if even is not None:
                    new[:, to] += even[:active, j - start, source]
                np.add(new[:, to], add[:, source], out=low[:, to])
                np.subtract(new[:, to], add[:, source], out=high[:, to])


def _trace(lane: Lane, state: int, survivors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Walk back from the best last state, in plain integers: numpy calls per step would cost far more."""
    mask, top = (1 << lane.memory) - 1, lane.memory - 1
    half_mask = mask >> 1
    width = survivors.shape[1]
    chosen = survivors.tobytes()
    newest = bytearray(lane.positions - 1)
    for j in range(lane.positions - 2, -1, -1):
        newest[j] = state >> top
        low = state & half_mask
        state = ((state << 1) & mask) | ((chosen[j * width + (low >> 3)] >> (low & 7)) & 1)
    first = (state >> np.arange(lane.memory)) & 1
    return np.concatenate([first.astype(np.uint8), np.frombuffer(bytes(newest), np.uint8)])
