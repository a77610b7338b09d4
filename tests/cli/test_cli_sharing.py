"""How a run shares the machine: numbers of processes and of threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffcodec.channel.threads import THREADS, cores
from diffcodec.cli.batch import run as run_module
from diffcodec.cli.batch.run import outcomes
from diffcodec.cli.batch.sharing import BASE_BYTES, BYTES_PER_PIXEL, LEAST_PIXELS, CoreWatch, processes_for
from diffcodec.cli.batch.work import Task
from diffcodec.coding.threads import limited_threads
from tests.fake_worker import Copier, CopyJob


def one_by_one(*pixels: int) -> list[list[Task]]:
    return [[Task(place, str(place), "", None, count)] for place, count in enumerate(pixels)]


def test_many_large_pictures_take_one_process_per_core() -> None:
    assert processes_for(one_by_one(*[1 << 20] * 20), 8, None) == 8
    assert processes_for(one_by_one(*[1 << 20] * 3), 8, None) == 3


def test_little_work_takes_no_further_processes() -> None:
    assert processes_for(one_by_one(*[1024] * 100), 8, None) == 1
    assert processes_for(one_by_one(*[LEAST_PIXELS // 4] * 10), 8, None) == 2
    assert processes_for([], 8, None) == 1


def test_processes_fit_into_the_memory() -> None:
    pictures = one_by_one(*[1 << 22] * 10)
    each = BASE_BYTES + (BYTES_PER_PIXEL << 22)
    assert processes_for(pictures, 8, 3 * each) == 3
    assert processes_for(pictures, 8, each // 2) == 1


def test_the_watch_counts_between_one_and_all_cores() -> None:
    watch = CoreWatch()
    end = os.times().elapsed + 0.3
    while os.times().elapsed < end:
        pass
    assert 1 <= watch.free() <= cores()


def test_cores_that_others_use_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(0.0, 0.0, 0.0), (2.0, 5.0, 1.0)])  # in 2 s, others were busy for 4 s: two cores
    monkeypatch.setattr(CoreWatch, "_now", staticmethod(lambda: next(times)))
    monkeypatch.setattr("diffcodec.cli.batch.sharing.cores", lambda: 4)
    assert CoreWatch().free() == 2


def test_all_cores_are_free_where_the_system_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoreWatch, "_now", staticmethod(lambda: None))
    assert CoreWatch().free() == cores()


def test_threads_hold_inside_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv(THREADS, raising=False)
    before = torch.get_num_threads()
    with limited_threads(1):
        assert (os.environ[THREADS], torch.get_num_threads()) == ("1", 1)
    assert THREADS not in os.environ
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("variable", "expected"), [(None, "3"), ("7", "7")])
def test_a_single_picture_uses_free_cores_unless_the_user_says_otherwise(
    variable: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def finish(*arguments: object) -> list[object]:
        seen.append(os.environ.get(THREADS))
        return []

    monkeypatch.delenv(THREADS, raising=False)
    if variable is not None:
        monkeypatch.setenv(THREADS, variable)
    monkeypatch.setattr(run_module, "finish", finish)
    monkeypatch.setattr(CoreWatch, "free", lambda self: 3)
    task = Task(0, str(tmp_path / "a"), str(tmp_path / "b"), None, 1)
    assert list(outcomes(CopyJob(), Copier(), [task], None, lambda places, fraction: None, CoreWatch())) == []
    assert seen == [expected]
