"""Runs measurements in processes of one thread each; results do not depend on the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from diffcodec.errors import DiffCodecError


@dataclass(frozen=True)
class Job:
    """A call for another process.

    Args:
        function: picklable, so at the top of a module.
        arguments: by name; picklable.
        cost: expected time, in any unit shared by all jobs.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any] = field(repr=False)
    cost: float = 1.0

    def __call__(self) -> Any:
        """Make the call."""
        return self.function(**self.arguments)


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, Any]]:
    """Index and result of every job, in the order in which they finish.

    Jobs start in order. Every process has one thread, which is faster for many small operations on few cores.

    Args:
        jobs: to run.
        processes: number of processes.

    Raises:
        DiffCodecError: if a process dies, for example for lack of memory.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
    with _one_thread_each(), ProcessPoolExecutor(min(processes, len(jobs)), context, _prepare) as pool:
        places: dict[Future[Any], int] = {}
        try:
            places = {pool.submit(job): place for place, job in enumerate(jobs)}
            for future in as_completed(list(places)):
                yield places[future], future.result()
        except BrokenProcessPool as error:
            raise DiffCodecError(
                "a process was killed, perhaps because memory ran out: use fewer processes; finished points are kept",
                parameters=["jobs"],
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside have one thread; libraries read these variables only when they are loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the process without a traceback
    torch.set_num_threads(1)
