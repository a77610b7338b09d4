"""The search of one lane, compiled by numba: the same additions and comparisons as `viterbi`, in the same order.

Importing this module imports numba; `viterbi.search` does so when that saves time. The machine code is cached beside
this file, or in the user's cache, so it is compiled once per machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffcodec.channel.labels import Task, positions_at_once
from diffcodec.channel.split_labels import GROUP, Arithmetic, HalfSums, labels_of

_INNER = GROUP**2


def search_lane(task: Task) -> NDArray[np.uint8]:
    """The likeliest path of a lane as message bits, oldest first, shape (bits,). Releases the GIL."""
    labels, lane = labels_of(task, Arithmetic(_add_pieces, _add_halves)), task.lane
    score = labels.first_scores()
    survivors = np.empty((lane.positions - 1, len(score) // 16), np.uint8)
    if lane.positions > 1:
        even, odd = score[::2].copy(), score[1::2].copy()
        step = min(positions_at_once(lane.rows), lane.positions - 1)
        metrics = np.empty((2, step, lane.rows), np.float32)
        for start in range(1, lane.positions, step):
            stop = min(start + step, lane.positions)
            labels.write(start, metrics[:, : stop - start])
            _advance(even, odd, metrics, lane.pieces.shift[start:stop], survivors[start - 1 : stop - 1])
        score[::2], score[1::2] = even, odd
    path = np.empty(lane.bits, np.uint8)
    _trace(int(score.argmax()), lane.memory, survivors, path)
    return path


def _add_halves(halves: HalfSums, start: int, metrics: NDArray[np.float32]) -> None:
    """As `split_labels.add_halves`."""
    low, high = halves.halves.low, halves.halves.high
    stop = start + metrics.shape[1]
    for kind, out in enumerate(metrics):
        first, second = (sums[kind, start:stop] for sums in halves.sums)
        _add(first, second, low[0], low[1], high[0], high[1], out)


@njit(nogil=True, cache=True)
def _add_pieces(products, turns, first, sums):  # type: ignore[no-untyped-def]
    """As `split_labels.add_pieces`."""
    size = products.shape[1]
    for j in range(sums.shape[0]):
        total = sums[j]
        for piece in range(first[j], first[j + 1]):
            turn, own = turns[piece], products[piece]
            for to, source, count in ((0, turn, size - turn), (size - turn, 0, turn)):
                if piece == first[j]:
                    total[to : to + count] = own[source : source + count]
                else:
                    for i in range(count):
                        total[to + i] += own[source + i]


@njit(nogil=True, cache=True)
def _add(first, second, low_first, low_second, high_first, high_second, out):  # type: ignore[no-untyped-def]
    """The sums of both halves, expanded to all rows."""
    a = np.empty((first.shape[1] // GROUP, _INNER), np.float32)
    b = np.empty((second.shape[1] // GROUP, _INNER), np.float32)
    for j in range(out.shape[0]):
        for k in range(a.shape[0]):
            for i in range(_INNER):
                a[k, i] = first[j, GROUP * k + low_first[i]]
        for k in range(b.shape[0]):
            for i in range(_INNER):
                b[k, i] = second[j, GROUP * k + low_second[i]]
        for k in range(high_first.size):
            m, n, start = high_first[k], high_second[k], k * _INNER
            for i in range(_INNER):
                out[j, start + i] = a[m, i] + b[n, i]


@njit(nogil=True, cache=True)
def _advance(even, odd, metrics, shifts, survivors):  # type: ignore[no-untyped-def]
    """Advance over some positions; `even` and `odd` are the scores of even and odd states, shape (half,) each."""
    rows, eighth = even.size // 2, even.size // 8
    best = np.empty_like(even)
    for j in range(shifts.size):
        survivors[j] = 0
        for k in range(8):  # bit k of all bytes together, so that the compiler can vectorise
            for i in range(eighth):
                pair = k * eighth + i
                odd_wins = odd[pair] > even[pair]
                best[pair] = odd[pair] if odd_wins else even[pair]
                survivors[j, i] |= np.uint8(odd_wins) << k
        turn = shifts[j]
        for to, source, count in ((0, turn, rows - turn), (rows - turn, 0, turn)):
            low_even, low_odd = even[to : to + count], odd[to : to + count]
            high_even, high_odd = even[rows + to : rows + to + count], odd[rows + to : rows + to + count]
            add, add_both = metrics[0, j, source : source + count], metrics[1, j, source : source + count]
            pairs = best[2 * to : 2 * (to + count)]
            for r in range(count):
                a, b = pairs[2 * r] + add_both[r], pairs[2 * r + 1] + add_both[r]
                low_even[r], low_odd[r] = a + add[r], b - add[r]
                high_even[r], high_odd[r] = a - add[r], b + add[r]


@njit(nogil=True, cache=True)
def _trace(state, memory, survivors, path):  # type: ignore[no-untyped-def]
    """Trace back from the best last state, and write the path."""
    eighth = survivors.shape[1]
    for j in range(survivors.shape[0] - 1, -1, -1):
        path[memory + j] = state >> (memory - 1)
        pair = state & (8 * eighth - 1)
        state = 2 * pair + ((survivors[j, pair % eighth] >> (pair // eighth)) & 1)
    for j in range(memory):
        path[j] = (state >> j) & 1
