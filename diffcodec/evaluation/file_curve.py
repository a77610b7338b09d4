"""Rate and distortion of the codec's files on a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.speed import SPEEDS
from diffcodec.evaluation.datasets import Dataset
from diffcodec.evaluation.points import Measured, ModelSource, Point, measure_points
from diffcodec.evaluation.provenance import conditions, machine
from diffcodec.evaluation.records import Results


def measure_curve(
    codec: DiffusionCodec,
    dataset: Dataset,
    timesteps: Sequence[int],
    *,
    channel: str,
    speed: int,
    effort: int | None,
    seed: int,
    source: ModelSource,
    processes: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Results:
    """Compress all pictures at every timestep, restore them from the files, and compare.

    Args:
        codec: with its model.
        dataset: the pictures.
        timesteps: at which files end; 0 is lossless.
        channel, speed, effort, seed: see `CompressionSettings`.
        source: of the codec's model, for the processes.
        processes: number of processes of one thread each; affects only the seconds.
        progress: called after every batch with its share of the work; the shares sum to 1.

    Raises:
        DiffCodecError: if a process dies.
    """
    name = f"diffcodec-{channel}"
    measured = Measured(dataset.pictures, source, seed)
    points = [measured.file_point(codec, name, timestep, channel, effort, speed) for timestep in timesteps]
    results = Results(
        conditions(
            name,
            f"diffcodec ({channel})",
            "lossy",
            dataset,
            seed=seed,
            model=codec.model,
            channel=channel,
            speed=speed,
            effort=SPEEDS[speed].effort if effort is None else effort,
        ),
        {"machine": machine(source.device, processes)},
    )
    whole = sum(job.cost for point in points for job in point.jobs)

    def report(point: Point, cost: float) -> None:
        progress(cost / whole)

    for point, parts in measure_points(points, processes, report):
        results.put(point.setting, point.parameter, point.rows(parts))
    return results
