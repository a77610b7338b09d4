"""Pictures a second of Ray's workers, what they do beside compressing, and their memory."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from diffcodec.dataset.engine import Workers
from diffcodec.dataset.manifest import Manifest
from diffcodec.dataset.runs import open_run
from diffcodec.dataset.work import DatasetJob


def measure_workers(source: Path, out: Path, workers: int, timestep: int) -> dict[str, Any]:
    """Figures of a run, from the first shard of every worker on: before, they start and load the network.

    `overhead` is the workers' time beside compressing (reading, writing, manifests, waiting for Ray) over that of
    compressing. `memory_mb` are those of the workers after their first shards and after the last ones.
    """
    job = partial(DatasetJob, "compress", str(out), arguments={"timestep": timestep, "threads": 1})
    run = open_run(str(source), job, Workers(workers))
    run.start(force=True)
    begin, arrivals = time.perf_counter(), list[tuple[float, Manifest]]()
    for outcome in run.outcomes():
        assert outcome.manifest is not None, outcome.error
        arrivals.append((time.perf_counter(), outcome.manifest))
    started = arrivals[workers - 1][0]
    seconds, measured = arrivals[-1][0] - started, [manifest for _, manifest in arrivals[workers:]]
    codec_s = sum(manifest.codec_seconds for manifest in measured)
    memory = [round(manifest.memory_bytes / 1e6) for _, manifest in arrivals]
    return {
        "workers": workers,
        "pictures_per_s": round(sum(manifest.members for manifest in measured) / seconds, 3),
        "overhead": round(workers * seconds / codec_s - 1, 4),
        "overhead_in_worker": round(sum(manifest.seconds for manifest in measured) / codec_s - 1, 4),
        "start_s": round(started - begin, 1),
        "memory_mb": {"first": memory[:workers], "last": memory[-workers:], "most": max(memory)},
    }


def time_command(*arguments: str) -> float:
    """Seconds of a command of diffcodec."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "diffcodec", *arguments], check=True)
    return time.perf_counter() - begin
