"""Jobs in several processes."""

from __future__ import annotations

import os

import pytest
import torch

from diffcodec.errors import DiffCodecError, ImageError
from diffcodec.evaluation.jobs import Job, run_jobs


def square(value: int) -> tuple[int, int, str | None]:
    return value * value, torch.get_num_threads(), os.environ.get("OPENBLAS_NUM_THREADS")


def fail() -> None:
    raise ImageError("no picture")


def die() -> None:
    os._exit(9)


def test_every_result_comes_with_its_place_from_a_process_of_one_thread() -> None:
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    results = dict(run_jobs([Job(square, {"value": value}) for value in range(5)], 2))
    assert results == {value: (value * value, 1, "1") for value in range(5)}
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before
    assert list(run_jobs([], 2)) == []


def test_errors_come_through_and_a_dead_process_is_one() -> None:
    with pytest.raises(ImageError, match="no picture"):
        list(run_jobs([Job(fail, {})], 1))
    with pytest.raises(DiffCodecError, match="fewer processes") as error:
        list(run_jobs([Job(die, {})], 1))
    assert error.value.parameters == ("jobs",)
