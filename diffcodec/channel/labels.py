"""Branch metrics: the contributions of the shared table's rows to the log-likelihood ratio, position by position.

A label is a row of the table times a sign. Over the dims of a position's block it adds

    even + sign * odd,    odd = sum of linear * t,    even = -sum of quadratic * t^2.

All searches use these sums, computed in the same blocks whatever the batch. So all searches on the CPU find the same
path, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.layout import Lane
from diffcodec.channel.randomness import label_table

_METRICS_AT_ONCE = 1 << 16  # of either kind: 256 KiB
_FEWEST_POSITIONS, _MOST_POSITIONS = 16, 64  # products of fewer rows are slow, of more rows no faster
_EXTRAS_AT_ONCE = 1 << 18  # metrics of extra pieces: 1 MiB


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


@dataclass(frozen=True)
class _Part:
    """Factors of the odd or the even metrics of a lane.

    Args:
        leads: coefficients of the first piece of each position, zero where there is no dim, (positions, width).
        extras: coefficients of the other pieces, (extra pieces, width).
        table: second factor of the products, (COLUMNS, 2 rows).
    """

    leads: NDArray[np.float32]
    extras: NDArray[np.float32]
    table: NDArray[np.float32]


class Labels:
    """The branch metrics of one lane, computed for many positions at a time.

    Args:
        task: the lane and its coefficients.
    """

    def __init__(self, task: Task) -> None:
        self.lane, pieces = task.lane, task.lane.pieces
        values, squares = _columns(self.lane.rows)
        self._odd = self._part(task.linear, values)
        self._even = None if task.quadratic is None else self._part(-task.quadratic, squares)
        owner = pieces.position[pieces.extra]
        self._extra_position, self._extra_roll = owner.tolist(), pieces.roll[pieces.extra].tolist()
        self._first_extra = np.searchsorted(owner, np.arange(self.lane.positions + 1)).tolist()

    def _part(self, coefficients: NDArray[np.float32], table: NDArray[np.float32]) -> _Part:
        pieces = self.lane.pieces
        spread = pieces.spread(coefficients)
        return _Part(spread[pieces.first[:-1]], spread[pieces.extra], table)

    def first_scores(self) -> NDArray[np.float32]:
        """Scores of the states at position 0, shape (states,)."""
        odd, even = metrics = np.empty((2, 1, self.lane.first_rows), np.float32)
        self.write(0, metrics)
        return np.concatenate([even[0] + odd[0], even[0] - odd[0]])

    def write(self, start: int, metrics: NDArray[np.float32]) -> None:
        """Compute the metrics of consecutive positions.

        Args:
            start: the first of them.
            metrics: output, shape (2, positions, rows): odd and even. Rows are those of the table; the caller applies
                a position's shift.
        """
        self._sum(self._odd, start, metrics[0])
        if self._even is None:
            metrics[1] = 0.0
        else:
            self._sum(self._even, start, metrics[1])

    def _sum(self, part: _Part, start: int, out: NDArray[np.float32]) -> None:
        """Sums over the pieces of each position; pieces after the first use the table rolled."""
        width, slabs = self.lane.pieces.width, self.lane.pieces.slabs
        count, rows = out.shape
        table = part.table[:, :rows]
        for i in range(min(slabs, count)):
            column = (start + i) % slabs * width
            np.matmul(part.leads[start + i : start + count : slabs], table[column : column + width], out=out[i::slabs])
        end, step = self._first_extra[start + count], max(1, _EXTRAS_AT_ONCE // rows)
        for a in range(self._first_extra[start], end, step):
            b = min(a + step, end)
            products = part.extras[a:b] @ table[:width]
            for product, j, roll in zip(products, self._extra_position[a:b], self._extra_roll[a:b], strict=True):
                total = out[j - start]
                total[: rows - roll] += product[roll:]
                total[rows - roll :] += product[:roll]


def positions_at_once(rows: int) -> int:
    """Number of positions to compute together. It depends on nothing else, or rounding would depend on the batch."""
    return max(_FEWEST_POSITIONS, min(_MOST_POSITIONS, _METRICS_AT_ONCE // rows))


@lru_cache(maxsize=8)
def _columns(rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The shared table by columns, for matrix products, and its squares; shape (COLUMNS, 2 rows) each."""
    values = np.ascontiguousarray(label_table(rows).T)
    return values, values**2
