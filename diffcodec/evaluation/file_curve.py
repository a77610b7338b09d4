"""Rate against distortion of the codec's real files on a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffcodec.codec import DiffusionCodec
from diffcodec.evaluation.datasets import Dataset
from diffcodec.evaluation.points import Measured, Point, measure_points
from diffcodec.evaluation.provenance import conditions, machine
from diffcodec.evaluation.records import Results


def measure_curve(
    codec: DiffusionCodec, dataset: Dataset, timesteps: Sequence[int], *, model: str | None, channel: str, effort: int,
    seed: int, device: str, processes: int, progress: Callable[[float], None] = lambda share: None,
) -> Results:  # fmt: skip
    """Compress all pictures to every timestep, restore them from the files, and compare.

    Args:
        codec: with its model.
        dataset: the pictures.
        timesteps: where files end; 0 is lossless.
        model: how the processes find the codec's model: by name or file, None for the bundled one.
        channel, effort, seed: of the codec.
        device: where the network runs.
        processes: how many at a time, of one thread each; results but for seconds do not depend on it.
        progress: told after every batch which share of the work it was; together they make 1.

    Raises:
        DiffCodecError: if a process dies.
    """
    name = f"diffcodec-{channel}"
    measured = Measured(dataset.pictures, model, device, seed)
    points = [measured.file_point(codec, name, timestep, channel, effort) for timestep in timesteps]
    results = Results(
        conditions(
            name, f"diffcodec ({channel})", "lossy", dataset, seed=seed, checkpoint=codec.checkpoint, channel=channel,
            effort=effort,
        ),
        {"machine": machine(device, processes)},
    )  # fmt: skip
    whole = sum(job.cost for point in points for job in point.jobs)

    def tell(point: Point, cost: float) -> None:
        progress(cost / whole)

    for point, parts in measure_points(points, processes, tell):
        results.put(point.setting, point.parameter, point.rows(parts))
    return results
