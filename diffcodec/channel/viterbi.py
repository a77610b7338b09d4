"""Viterbi search of the bitshift trellis, and replay of its paths.

A state is the last L bits of the path, the newest bit highest: bit b takes state s to (s >> 1) | (b << (L - 1)). A
state's label is a row of the shared table, times a sign. At position 0 it is one of 2**(L - 1) rows, and the top bit is
the sign. Later, the middle L - 2 bits choose the row and the sign is the newest bit xor the oldest: so two paths that
diverge take opposite labels, and so do two paths that merge, as in Ungerboeck's set partitioning. That is as good as
four times the states, and only a quarter of the labels need computing.

The numpy search here is the reference; `accelerated` does the same in machine code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.labels import Labels, Task, positions_at_once
from diffcodec.channel.layout import Lane
from diffcodec.channel.split_labels import SplitLabels, labels_of, split_values
from diffcodec.channel.threads import in_threads

__all__ = ["Search", "Task", "replay", "search", "trace"]

Search = Callable[[Sequence[Task]], list[NDArray[np.uint8]]]
"""Finds the likeliest path of each lane, as message bits, oldest first."""

_STATES_AT_ONCE = 1 << 16  # scores of one group of lanes; 256 KiB, so that they stay in the cache
_SURVIVOR_BYTES = 1 << 27
_LARGE_SEARCH = 1 << 26  # states times positions: a tenth of a second in numpy
_LONG_RUN_S = 5.0
_MANY_DIMS, _MANY_BITS = 1 << 15, 400


def search(
    tasks: Sequence[Task], threads: int | None = None, accelerate: bool | None = None
) -> list[NDArray[np.uint8]]:
    """The likeliest path of each lane as message bits, oldest first, shape (bits,) each.

    A path depends only on its task, not on the other lanes or arguments.

    Args:
        tasks: the lanes.
        threads: number of threads with numba (numpy uses one); None for `thread_count()`.
        accelerate: whether to use numba where it is installed; None: if that saves more than the half second of
            loading it.
    """
    search_lane = _accelerated() if (_pays(tasks) if accelerate is None else accelerate) else None
    # The longest first: balances the threads, and lanes that are still active are the first ones of a group.
    order = sorted(range(len(tasks)), key=lambda i: (tasks[i].lane.kind, -tasks[i].lane.positions))
    if search_lane is None:
        paths = list(_search_in_groups([tasks[i] for i in order]))
    else:
        paths = in_threads(search_lane, [tasks[i] for i in order], threads)
    return [path for _, path in sorted(zip(order, paths, strict=True), key=lambda pair: pair[0])]


def _pays(tasks: Sequence[Task]) -> bool:
    """Whether to use numba: if it is loaded already, for large searches, or if the program has run for seconds.

    A message of many dims and hundreds of bits belongs to a large picture, most of whose searches are to come.
    """
    lanes = [task.lane for task in tasks]
    work = sum(lane.positions << lane.memory for lane in lanes)
    dims, bits = sum(lane.stop - lane.start for lane in lanes), sum(lane.bits for lane in lanes)
    many = dims >= _MANY_DIMS and bits >= _MANY_BITS
    return "numba" in sys.modules or work >= _LARGE_SEARCH or many or time.process_time() >= _LONG_RUN_S


@lru_cache(maxsize=1)
def _accelerated() -> Callable[[Task], NDArray[np.uint8]] | None:
    """The compiled search of a lane; None if numba is missing, does not support this numpy or cannot cache files."""
    try:
        from diffcodec.channel.accelerated import search_lane
    except (ImportError, RuntimeError):
        return None
    return search_lane


def replay(lane: Lane, bits: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The rotated sample of a path, shape (lane dims,)."""
    memory, pieces = lane.memory, lane.pieces
    windows = np.lib.stride_tricks.sliding_window_view(bits, memory)
    states = windows.astype(np.int64) @ (1 << np.arange(memory, dtype=np.int64))
    newest = states >> (memory - 1)
    rows, signs = (states >> 1) & (lane.rows - 1), newest ^ (states & 1)
    rows[0], signs[0] = states[0] & (lane.first_rows - 1), newest[0]
    if lane.split:
        values = split_values(lane, rows)
    else:
        of_piece = (rows + pieces.shift)[pieces.position] + pieces.roll
        later = pieces.first[1]
        of_piece[:later] &= lane.first_rows - 1
        of_piece[later:] &= lane.rows - 1
        values = lane.table[of_piece[:, None], pieces.column[:, None] + np.arange(pieces.width)]
    values *= (1 - 2 * signs[pieces.position]).astype(np.float32)[:, None]
    rotated: NDArray[np.float32] = values[pieces.filled]
    return rotated


def _search_in_groups(tasks: Sequence[Task]) -> Iterator[NDArray[np.uint8]]:
    """Search lanes sorted by kind and then by length, together where they are of one kind."""
    start = 0
    while start < len(tasks):
        longest = tasks[start].lane
        bytes_each = max(1, longest.positions << max(longest.memory - 4, 0))
        stop = start + max(1, min(_STATES_AT_ONCE >> longest.memory, _SURVIVOR_BYTES // bytes_each))
        group = [task for task in tasks[start:stop] if task.lane.kind == longest.kind]
        yield from _search_group(group)
        start += len(group)


def _search_group(tasks: Sequence[Task]) -> list[NDArray[np.uint8]]:
    """Viterbi over lanes of one kind, the longest first."""
    labels, lanes = [labels_of(task) for task in tasks], [task.lane for task in tasks]
    score = np.stack([label.first_scores() for label in labels])
    survivors = np.empty((lanes[0].positions - 1, len(lanes), score.shape[1] // 16), np.uint8)
    if lanes[0].positions > 1:
        _advance(labels, score, survivors)
    best = score.argmax(axis=1).tolist()
    return [trace(lane, best[g], survivors[: lane.positions - 1, g]) for g, lane in enumerate(lanes)]


def _advance(labels: Sequence[Labels | SplitLabels], score: NDArray[np.float32], survivors: NDArray[np.uint8]) -> None:
    """Advance over all positions after the first, in place."""
    lane, ends = labels[0].lane, [label.lane.positions for label in labels]
    rows, shifts = lane.rows, lane.pieces.shift.tolist()
    even, odd = score[:, ::2].copy(), score[:, 1::2].copy()
    best, odd_wins = np.empty_like(even), np.empty(even.shape, np.bool_)
    both = np.empty((len(labels), rows), np.float32)
    step = min(positions_at_once(rows), ends[0] - 1)
    metrics, turned = np.empty((len(labels), 2, step, rows), np.float32), np.empty((len(labels), 2, rows), np.float32)
    active = len(labels)
    for start in range(1, ends[0], step):
        for g, label in enumerate(labels[:active]):
            label.write(start, metrics[g, :, : max(0, min(step, ends[g] - start))])
        for j in range(start, min(start + step, ends[0])):
            while ends[active - 1] <= j:
                active -= 1
            now, turn = metrics[:active, :, j - start], shifts[j]
            np.concatenate([now[..., turn:], now[..., :turn]], axis=2, out=turned[:active])
            from_even, from_odd, to, common = (scores[:active] for scores in (even, odd, best, both))
            add, add_both = turned[:active, 0], turned[:active, 1]
            pick = np.greater(from_odd, from_even, out=odd_wins[:active])
            np.maximum(from_odd, from_even, out=to)
            survivors[j - 1, :active] = np.packbits(pick, axis=1, bitorder="little")
            np.add(to[:, ::2], add_both, out=common)
            np.add(common, add, out=from_even[:, :rows])
            np.subtract(common, add, out=from_even[:, rows:])
            np.add(to[:, 1::2], add_both, out=common)
            np.subtract(common, add, out=from_odd[:, :rows])
            np.add(common, add, out=from_odd[:, rows:])
    score[:, ::2], score[:, 1::2] = even, odd


def trace(lane: Lane, state: int, survivors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The path that ends in a state, as message bits. Uses plain integers: numpy calls per step are far slower.

    Args:
        lane: its layout.
        state: the last one.
        survivors: by position, one bit per pair of states: 1 if the odd one won; lowest bits first.
    """
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
