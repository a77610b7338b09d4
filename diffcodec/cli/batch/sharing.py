"""How a run shares the machine: processes for many pictures, threads for one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from diffcodec.channel.threads import cores
from diffcodec.cli.batch.work import Task

BASE_BYTES = 900 << 20
"""Memory of a process with a model that codes a small picture."""

BYTES_PER_PIXEL = 200
"""More memory for each pixel of a picture. `benchmarks/speed.py` measures both."""

LEAST_PIXELS = 1 << 18
"""Pixels a process should have to do: it takes seconds to start."""


def processes_for(batches: Sequence[Sequence[Task]], most: int, free_bytes: int | None) -> int:
    """Number of processes for batches of pictures: one per core, as far as work and memory reach.

    Args:
        batches: of tasks.
        most: number of cores.
        free_bytes: of memory; None if it is unknown.
    """
    pixels = [sum(task.pixels for task in batch) for batch in batches]
    count = min(most, len(batches), sum(pixels) // LEAST_PIXELS)
    if free_bytes is not None:
        count = min(count, free_bytes // (BASE_BYTES + BYTES_PER_PIXEL * max(pixels, default=0)))
    return max(1, count)


class CoreWatch:
    """Counts the cores that other programs use, from its construction on.

    Where the system does not report it, none are counted; nor are programs with a lower priority, which make way.
    """

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds: on the clock, busy at normal priority on all cores, busy with this process."""
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
            user, _, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[1:4])
        except (OSError, ValueError, IndexError):
            return None
        return time.monotonic(), user + system, time.process_time()

    def free(self) -> int:
        """Cores that no other program has used since, at least 1."""
        now = self._now()
        if self._start is None or now is None or now[0] - self._start[0] < 0.1:
            return cores()
        elapsed, busy, own = (b - a for a, b in zip(self._start, now, strict=True))
        return max(1, cores() - round(max(0.0, busy - own) / elapsed))
