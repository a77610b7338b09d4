"""Threads for numpy and machine code, which release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import current_thread
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = "OMP_NUM_THREADS"
"""The environment variable that sets numbers of threads."""

_WORKER = "diffcodec-worker"


@lru_cache(maxsize=1)
def _math_libraries() -> ThreadpoolController:
    """The libraries in this process that have threads of their own; finding them takes some milliseconds."""
    return ThreadpoolController()


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count() -> int:
    """Number of threads: OMP_NUM_THREADS, as for other libraries, else one per core that this process may use."""
    wanted = os.environ.get(THREADS, "").split(",")[0]
    return max(1, int(wanted)) if wanted.isdecimal() else cores()


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None) -> list[Result]:
    """The function's results for all items, in their order.

    Within a call of the function, further calls of `in_threads` start no threads.

    Args:
        function: called once per item, in any order.
        items: arguments.
        threads: number of threads; None for `thread_count()`.
    """
    count = min(thread_count() if threads is None else max(1, threads), len(items))
    if count < 2 or current_thread().name.startswith(_WORKER):
        return [function(item) for item in items]
    # Matrix products with threads of their own, in each of these threads, would take twice as long.
    limit = _math_libraries().limit(limits=1, user_api="blas")
    with limit, ThreadPoolExecutor(count, thread_name_prefix=_WORKER) as pool:
        return list(pool.map(function, items))
