"""The search finds the best path there is, and so do its faster forms, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.channel import viterbi
from diffcodec.channel.layout import Lane, lanes_of
from diffcodec.channel.threads import cores, thread_count
from diffcodec.channel.viterbi import Task, replay, search


def task_for(lane: Lane, rng: np.random.Generator, flat: bool) -> Task:
    dims = lane.stop - lane.start
    linear = rng.standard_normal(dims).astype(np.float32)
    return Task(lane, linear, None if flat else rng.uniform(0, 2, dims).astype(np.float32))


def tasks_for(effort: int, bits: int, dims: int, rng: np.random.Generator, flat: bool, weighted: bool) -> list[Task]:
    weights = (rng.uniform(1, 30, dims) ** 3).astype(np.int64) if weighted else None
    return [task_for(lane, rng, flat) for lane in lanes_of(bits, dims, effort, weights)]


def gain(task: Task, bits: NDArray[np.uint8]) -> float:
    """What the search maximises."""
    y = replay(task.lane, bits).astype(np.float64)
    return float(task.linear @ y - (0.0 if task.quadratic is None else task.quadratic @ y**2))


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("bits", "memory", "borders"),
    [
        (12, 8, [0, 4, 5, 5, 8, 12]),  # an empty position
        (12, 9, [0, 40, 45, 50, 60]),
        (11, 8, [0, 90, 100, 250, 300]),  # wider than the table
        (5, 5, [0, 70]),
        (1, 1, [0, 3]),
        (10, 8, [0, 0, 0, 0]),  # no dims at all
    ],
)
def test_finds_the_best_of_all_paths(bits: int, memory: int, borders: list[int], flat: bool, accelerate: bool) -> None:
    lane = Lane(bits, 0, borders[-1], memory, np.array(borders, np.int64))
    task = task_for(lane, np.random.default_rng(bits + memory), flat)
    paths = (np.arange(1 << bits)[:, None] >> np.arange(bits) & 1).astype(np.uint8)
    found = search([task], 1, accelerate)[0]
    assert found.dtype == np.uint8
    assert found.shape == (bits,)
    assert gain(task, found) == pytest.approx(max(gain(task, path) for path in paths), abs=1e-4)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("bits", "memory"), [(12, 10), (14, 12), (11, 11)])
def test_finds_the_best_of_all_paths_with_split_labels(bits: int, memory: int, flat: bool, accelerate: bool) -> None:
    borders = [0, 130, *(130 + 40 * j for j in range(1, bits - memory + 1))]
    lane = Lane(bits, 0, borders[-1], memory, np.array(borders, np.int64), split=True)
    task = task_for(lane, np.random.default_rng(bits), flat)
    paths = (np.arange(1 << bits)[:, None] >> np.arange(bits) & 1).astype(np.uint8)
    found = search([task], 1, accelerate)[0]
    assert gain(task, found) == pytest.approx(max(gain(task, path) for path in paths), abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    effort=st.integers(8, 16),
    flat=st.booleans(),
    weighted=st.booleans(),
    lengths=st.lists(st.one_of(st.integers(1, 30), st.integers(31, 300)), min_size=1, max_size=5),
    dims=st.one_of(st.integers(1, 50), st.integers(51, 9000)),
    seed=st.integers(0, 1000),
)
def test_machine_code_finds_the_same_paths(
    effort: int, flat: bool, weighted: bool, lengths: list[int], dims: int, seed: int
) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    lengths = [length if effort < 14 else min(length, 60) for length in lengths]
    tasks = [task for bits in lengths for task in tasks_for(effort, bits, dims, rng, flat, weighted)]
    for path, same in zip(search(tasks, 1, False), search(tasks, 2, True), strict=True):
        np.testing.assert_array_equal(same, path)


def test_machine_code_searches_many_lanes() -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    tasks = tasks_for(8, 50_000, 40_000, rng, False, True) + tasks_for(8, 9_000, 30, rng, True, False)
    assert len(tasks) > 25
    for path, same in zip(search(tasks, 1, False), search(tasks, 3, True), strict=True):
        np.testing.assert_array_equal(same, path)


@pytest.mark.parametrize("accelerate", [False, True])
def test_a_path_does_not_depend_on_the_lanes_beside_it(accelerate: bool) -> None:
    rng = np.random.default_rng(1)
    tasks = [
        task
        for bits, flat in ((300, True), (20, False), (301, False), (700, False), (12, True))
        for task in tasks_for(10, bits, 2000, rng, flat, True)
    ]
    together = search(tasks, 1, accelerate)
    for task, path in zip(tasks, together, strict=True):
        np.testing.assert_array_equal(search([task], 1, accelerate)[0], path)


def test_nothing_to_search() -> None:
    assert search([], 1, False) == search([], 1, True) == []


def test_goes_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "diffcodec.channel.accelerated", raising=False)
    viterbi._accelerated.cache_clear()
    try:
        tasks = tasks_for(8, 100, 300, np.random.default_rng(2), False, False)
        np.testing.assert_array_equal(search(tasks, 2, True)[0], search(tasks, 1, False)[0])
        assert viterbi._accelerated() is None
    finally:
        viterbi._accelerated.cache_clear()


def test_a_small_search_does_not_wait_for_numba() -> None:
    code = (
        "import sys, numpy as np; from diffcodec.channel.viterbi import Task, search\n"
        "from diffcodec.channel.layout import lanes_of\n"
        "search([Task(lane, np.ones(300, np.float32), None) for lane in lanes_of(100, 300, 8, None)])\n"
        "sys.exit('numba' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(("wanted", "count"), [("3", 3), ("", cores()), ("4,2", 4), ("0", 1)])
def test_threads_as_for_other_libraries(monkeypatch: pytest.MonkeyPatch, wanted: str, count: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert thread_count() == count
