"""The trellis search on a GPU: all states of all lanes at once.

The recursion of `channel.viterbi`, in torch. A device may sum metrics in another order, so its path can differ from the
CPU's, but is as good up to rounding; a decoder replays any path.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.channel.labels import Task
from diffcodec.channel.randomness import COLUMNS, label_table
from diffcodec.channel.split_labels import GROUP, HalfSums, SplitLabels
from diffcodec.channel.viterbi import search, trace

_SURVIVOR_BYTES = 1 << 30
_METRICS_AT_ONCE = 1 << 24


class DeviceSearch:
    """A search for `TrellisChannel`. A position takes a dozen kernel launches, so it is fast only with many lanes.

    Args:
        device: runs the search.
        least_lanes: with fewer lanes than this the CPU searches.
    """

    def __init__(self, device: torch.device, *, least_lanes: int = 16) -> None:
        self._device, self._least_lanes = device, least_lanes

    def __call__(self, tasks: Sequence[Task]) -> list[NDArray[np.uint8]]:
        """The likeliest path of each lane as message bits, oldest first, shape (bits,) each."""
        if len(tasks) < self._least_lanes:
            return search(tasks)
        found: dict[int, NDArray[np.uint8]] = {}
        order = sorted(range(len(tasks)), key=lambda i: (tasks[i].lane.kind, -tasks[i].lane.positions))
        for (memory, _), equal in groupby(order, key=lambda i: tasks[i].lane.kind):
            rest = list(equal)
            while rest:
                size = max(1, _SURVIVOR_BYTES // (tasks[rest[0]].lane.positions << memory))
                group, rest = rest[:size], rest[size:]
                found.update(zip(group, _search([tasks[i] for i in group], self._device), strict=True))
        return [found[i] for i in range(len(tasks))]


def _search(tasks: Sequence[Task], device: torch.device) -> list[NDArray[np.uint8]]:
    """Viterbi over lanes of one kind, the longest first."""
    lanes = [task.lane for task in tasks]
    labels = _DeviceHalves(tasks, device) if lanes[0].split else _DeviceLabels(tasks, device)
    positions, rows, shifts = lanes[0].positions, lanes[0].rows, lanes[0].pieces.shift.tolist()
    odd_part, even_part = labels.metrics(0, 1, lanes[0].first_rows)[:, 0]
    score = torch.cat([even_part + odd_part, even_part - odd_part], 1)
    even, odd = score[:, ::2].clone(), score[:, 1::2].clone()  # scores of the even and of the odd states
    survivors = torch.zeros((positions - 1, *even.shape), dtype=torch.bool, device=device)
    step = max(1, _METRICS_AT_ONCE // (len(lanes) * rows))
    for start in range(1, positions, step):
        metrics = labels.metrics(start, min(start + step, positions), rows)
        for j in range(start, min(start + step, positions)):
            active = sum(lane.positions > j for lane in lanes)
            add, add_both = metrics[:, j - start, :active].roll(-shifts[j], 2)
            from_even, from_odd = even[:active], odd[:active]
            torch.gt(from_odd, from_even, out=survivors[j - 1, :active])
            best = torch.maximum(from_odd, from_even)
            a, b = best[:, ::2] + add_both, best[:, 1::2] + add_both
            even[:active] = torch.cat([a + add, a - add], 1)
            odd[:active] = torch.cat([b - add, b + add], 1)
    score[:, ::2], score[:, 1::2] = even, odd
    packed = np.packbits(survivors.cpu().numpy(), axis=2, bitorder="little")
    last = score.argmax(1).tolist()
    return [trace(lane, last[g], packed[: lane.positions - 1, g]) for g, lane in enumerate(lanes)]


class _DeviceLabels:
    """The branch metrics of several lanes, as `channel.labels` defines them.

    Args:
        tasks: with their lanes, the longest first.
        device: computes the metrics.
    """

    def __init__(self, tasks: Sequence[Task], device: torch.device) -> None:
        self._lanes, lane = len(tasks), tasks[0].lane
        values = label_table(lane.rows).T
        leads = np.zeros((2, lane.positions, len(tasks), COLUMNS), np.float32)
        extras, owners = [], []
        for g, task in enumerate(tasks):
            pieces, spread = task.lane.pieces, _spread(task)
            leads[:, : task.lane.positions, g] = spread[:, pieces.first[:-1]]
            extras.append(spread[:, pieces.extra])
            position = pieces.position[pieces.extra]
            owners.append(np.stack([position, np.full_like(position, g), pieces.roll[pieces.extra]]))
        owner = np.concatenate(owners, 1)
        order = np.argsort(owner[0], kind="stable")
        self._first_extra = np.searchsorted(owner[0, order], np.arange(lane.positions + 1)).tolist()
        self._tables = torch.from_numpy(np.stack([values, values**2])).to(device)
        self._leads = torch.from_numpy(leads).to(device)
        self._extras = torch.from_numpy(np.concatenate(extras, 1)[:, order]).to(device)
        self._owner = torch.from_numpy(owner[:, order]).to(device)

    def metrics(self, start: int, stop: int, rows: int) -> Tensor:
        """Odd and even part at some positions, shape (2, positions, lanes, rows)."""
        tables, own = self._tables[:, :, :rows], slice(self._first_extra[start], self._first_extra[stop])
        total = self._leads[:, start:stop].flatten(1, 2) @ tables
        position, lane, roll = self._owner[:, own]
        turned = (torch.arange(rows, device=roll.device) + roll[:, None]) % rows
        products = (self._extras[:, own] @ tables).gather(2, turned.expand(2, -1, -1))
        total.index_add_(1, (position - start) * self._lanes + lane, products)
        return total.reshape(2, stop - start, self._lanes, rows)


class _DeviceHalves:
    """The branch metrics of several lanes with split labels: sums of the halves from the CPU, expanded on the device.

    Args:
        tasks: with their lanes, the longest first.
        device: computes the metrics.
    """

    def __init__(self, tasks: Sequence[Task], device: torch.device) -> None:
        positions, labels = tasks[0].lane.positions, [SplitLabels(task) for task in tasks]
        self._first = _Expanded([each.first for each in labels], 1, device)
        self._later = _Expanded([each.later for each in labels], positions - 1, device)

    def metrics(self, start: int, stop: int, rows: int) -> Tensor:
        """As `_DeviceLabels.metrics`."""
        return self._later.metrics(start - 1, stop - 1) if start else self._first.metrics(0, 1)


class _Expanded:
    """Sums of the halves of several lanes' positions.

    Args:
        parts: of each lane.
        positions: of the longest.
        device: of the metrics.
    """

    def __init__(self, parts: Sequence[HalfSums], positions: int, device: torch.device) -> None:
        halves = parts[0].halves
        self._low, self._high = (torch.from_numpy(index).to(device) for index in (halves.low, halves.high))
        self._sums: list[Tensor] = []
        for half, size in enumerate(halves.sizes):
            sums = np.zeros((2, positions, len(parts), size), np.float32)
            for g, part in enumerate(parts):
                sums[:, : part.sums[half].shape[1], g] = part.sums[half]
            self._sums.append(torch.from_numpy(sums).to(device))

    def metrics(self, start: int, stop: int) -> Tensor:
        """Odd and even part at some positions, shape (2, positions, lanes, rows)."""
        shape = 2, stop - start, self._sums[0].shape[2], -1
        first, second = (
            sums[:, start:stop].reshape(*shape, GROUP)[..., low][..., high, :].reshape(shape)
            for sums, low, high in zip(self._sums, self._low, self._high, strict=True)
        )
        return first + second


def _spread(task: Task) -> NDArray[np.float32]:
    """Coefficients of a lane's pieces at their table columns, zero elsewhere, odd and even: (2, pieces, COLUMNS)."""
    pieces = task.lane.pieces
    piece, place = np.nonzero(pieces.filled)
    spread = np.zeros((2, len(pieces.position), COLUMNS), np.float32)
    spread[0, piece, pieces.column[piece] + place] = task.linear
    if task.quadratic is not None:
        spread[1, piece, pieces.column[piece] + place] = -task.quadratic
    return spread
