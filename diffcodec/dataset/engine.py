"""Runs work on shards: in this process, or with Ray Data on this machine or a cluster. Torch-free."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from diffcodec.channel.threads import cores
from diffcodec.dataset.extras import needed_for
from diffcodec.dataset.shards import Shard
from diffcodec.dataset.work import Outcome
from diffcodec.errors import DatasetError

Work = Callable[[Shard], Outcome]

STARTS = 5
"""How often Ray is started if it takes too long."""

OBJECT_STORE_BYTES = 80 << 20
"""Shared memory of a Ray that is started here. Only names and manifests go through it; Ray takes no less."""


LOCAL_SETTINGS = {"RAY_agent_register_timeout_ms": "100000", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Of a Ray that is started here: more patience on busy machines, and no messages about its own insides."""


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Args:
        count: number of workers; 0: this process, without Ray; None: one per core and thread, of the machine or of the
            cluster.
        threads: of a worker.
        gpus: of a worker; may be a fraction.
    """

    count: int | None = None
    threads: int = 1
    gpus: float = 0.0


def run_shards(load: Callable[[], Work], shards: Sequence[Shard], workers: Workers) -> Iterator[Outcome]:
    """The outcomes of shards, as they come. Ray restarts workers that are killed, and gives their shards to others.

    Args:
        load: makes the work in a worker; picklable.
        shards: to work on.
        workers: who does it.

    Raises:
        ConfigError: if Ray is not installed.
        DatasetError: if the cluster cannot be reached, or fails.
    """
    if workers.count == 0 or not shards:
        work = load()
        yield from map(work, shards)
        return
    with running_ray(workers):
        missing = {shard.stem for shard in shards}
        for outcome in _outcomes(load, shards, workers):
            missing.discard(outcome.stem)
            yield outcome
        for stem in sorted(missing):
            yield Outcome(stem, error=f"{stem}: Ray lost it; its logs say why")


@contextmanager
def running_ray(workers: Workers) -> Iterator[None]:
    """Ray on this machine, or the cluster of RAY_ADDRESS; left as it was found."""
    with needed_for("several workers"):
        import ray
        import ray.data
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" not in os.environ:
        for name, value in LOCAL_SETTINGS.items():
            os.environ.setdefault(name, value)
        count = max(1, cores() // workers.threads) if workers.count is None else workers.count
        options |= {
            "num_cpus": count * workers.threads,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    _start(ray, options)
    try:
        yield
    finally:
        ray.shutdown()


def _start(ray: Any, options: dict[str, Any]) -> None:
    """Start Ray, or join a cluster.

    Raises:
        DatasetError: if that fails several times.
    """
    import psutil  # comes with Ray

    before = set(psutil.Process().children(recursive=True))
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises almost anything
            ray.shutdown()
            for process in set(psutil.Process().children(recursive=True)) - before:  # Ray leaves them to themselves
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            # Ray gives its processes 30 s to start, which is too little on a busy machine.
            if attempt == STARTS or "timed out" not in str(error):
                raise DatasetError(f"Ray cannot be started, or its cluster not reached: {error}") from error


def _outcomes(load: Callable[[], Work], shards: Sequence[Shard], workers: Workers) -> Iterator[Outcome]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    count = workers.count or int(resources.get("CPU", 1)) // workers.threads
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a shard that cannot be done does not end the job
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    rows = [{"shard": json.dumps(shard.to_dict())} for shard in shards]
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        RayWork,
        fn_constructor_args=(load,),
        batch_size=None,  # a block, which is a shard
        compute=ActorPoolStrategy(size=max(1, min(count, len(shards))), max_tasks_in_flight_per_actor=1),
        num_cpus=workers.threads,
        num_gpus=workers.gpus or None,
    )
    try:
        for row in data.iter_rows():
            yield Outcome.from_dict(json.loads(row["outcome"]))
    except ray.exceptions.RayError as error:
        raise DatasetError(f"Ray failed: {str(error).strip().splitlines()[-1]}") from error


class RayWork:
    """Does the shards of a block, for `map_batches`."""

    def __init__(self, load: Callable[[], Work]) -> None:
        self.work = load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """The outcomes of shards, as JSON."""
        shards = [Shard.from_dict(json.loads(str(text))) for text in batch["shard"]]
        return {"outcome": [json.dumps(self.work(shard).to_dict()) for shard in shards]}
