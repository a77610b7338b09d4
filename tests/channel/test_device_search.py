"""The search on a device finds paths as good as the reference's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.channel.device_search import DeviceSearch
from diffcodec.channel.layout import lanes_of
from diffcodec.channel.viterbi import Task, replay, search

DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def gain(task: Task, bits: NDArray[np.uint8]) -> float:
    """What a search maximises."""
    y = replay(task.lane, bits).astype(np.float64)
    return float(task.linear @ y - (0.0 if task.quadratic is None else task.quadratic @ y**2))


@settings(max_examples=40, deadline=None)
@given(
    effort=st.integers(8, 12),
    flat=st.booleans(),
    weighted=st.booleans(),
    lengths=st.lists(st.one_of(st.integers(1, 30), st.integers(31, 300)), min_size=1, max_size=4),
    dims=st.one_of(st.integers(1, 50), st.integers(51, 9000)),
    seed=st.integers(0, 1000),
)
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_paths_are_as_good(
    device: torch.device, effort: int, flat: bool, weighted: bool, lengths: list[int], dims: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.uniform(1, 30, dims) ** 3).astype(np.int64) if weighted else None
    linear = rng.standard_normal(dims).astype(np.float32)
    quadratic = None if flat else rng.uniform(0, 2, dims).astype(np.float32)
    tasks = []
    for bits in lengths:
        for lane in lanes_of(bits, dims, effort, weights):
            own = slice(lane.start, lane.stop)
            tasks.append(Task(lane, linear[own], None if quadratic is None else quadratic[own]))
    for task, path, other in zip(
        tasks, search(tasks, 1, False), DeviceSearch(device, least_lanes=1)(tasks), strict=True
    ):
        assert other.dtype == np.uint8
        assert gain(task, other) == pytest.approx(gain(task, path), rel=1e-5, abs=1e-4)


def test_many_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fit into one group, and more positions than are computed together."""
    monkeypatch.setattr("diffcodec.channel.device_search._SURVIVOR_BYTES", 1 << 20)
    monkeypatch.setattr("diffcodec.channel.device_search._METRICS_AT_ONCE", 1 << 12)
    rng = np.random.default_rng(0)
    tasks = [
        Task(lane, rng.standard_normal(lane.stop - lane.start).astype(np.float32), None)
        for bits in (9000, 400)
        for lane in lanes_of(bits, 6000, 8, None)
    ]
    for task, path, other in zip(
        tasks, search(tasks, 1, False), DeviceSearch(DEVICES[-1], least_lanes=1)(tasks), strict=True
    ):
        assert gain(task, other) == pytest.approx(gain(task, path), rel=1e-5)


def test_nothing_to_search() -> None:
    assert DeviceSearch(DEVICES[0])([]) == []
