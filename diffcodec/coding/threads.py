"""Bounds on the threads of everything that the codec computes with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from diffcodec.channel.threads import THREADS


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Inside, so many threads are used for the network and the coder; None: as many as outside."""
    if count is None:
        yield
        return
    before, named = torch.get_num_threads(), os.environ.get(THREADS)
    os.environ[THREADS] = str(count)
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):  # those of numpy's and scipy's matrix products, which read no variable later on
            yield
    finally:
        torch.set_num_threads(before)
        if named is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = named
