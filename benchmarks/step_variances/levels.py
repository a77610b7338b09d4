"""Level lists with the least expected bits for a given number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from step_variances.models import StepModel


def step_costs(model: StepModel, snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean bits of the step between any two nodes, (nodes, nodes); infinite where it would not lead forward."""
    costs = np.full((len(snr), len(snr)), np.inf)
    for start in range(len(snr)):
        for stop in range(start + 1, len(snr)):
            costs[start, stop] = model.bits(start, float(snr[stop] - snr[start])).mean()
    return costs


def best_paths(costs: NDArray[np.float64], steps: Sequence[int]) -> dict[int, list[int]]:
    """The cheapest path from the first to the last node for each number of steps (Watson et al. 2021).

    Args:
        costs: (nodes, nodes), see `step_costs`.
        steps: each at least 1 and less than the number of nodes.

    Returns:
        For each number of steps the nodes visited, one more than steps.
    """
    last = len(costs) - 1
    best = np.full(len(costs), np.inf)
    best[0] = 0
    previous = []
    for _ in range(max(steps)):
        totals = best[:, None] + costs
        previous.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    paths = {}
    for count in steps:
        path = [last]
        for step in reversed(range(count)):
            path.append(int(previous[step][path[-1]]))
        paths[count] = path[::-1]
    return paths


def path_bits(model: StepModel, snr: NDArray[np.float64], path: Sequence[int]) -> NDArray[np.float64]:
    """Bits of every picture along a path, (N,)."""
    return np.asarray(sum(model.bits(a, float(snr[b] - snr[a])) for a, b in pairwise(path)))
