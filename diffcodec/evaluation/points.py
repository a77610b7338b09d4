"""Points of rate-distortion curves as jobs for several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.speed import DEFAULT_SPEED
from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.baselines import Baseline, measure_baseline
from diffcodec.evaluation.bound import evaluation_levels
from diffcodec.evaluation.bound_measurement import BoundMeasurement
from diffcodec.evaluation.codec_rows import measure_files, measure_true_sampling
from diffcodec.evaluation.datasets import same_size_batches
from diffcodec.evaluation.jobs import Job, run_jobs
from diffcodec.evaluation.nll import BATCH_PIXELS, BOUND_BATCH, bound_of_batch, check_pictures, derived_seed
from diffcodec.evaluation.records import Row
from diffcodec.images import Picture

BATCH = 20
"""Number of pictures that are compressed together."""

DECODER_COST, POISSON_COST, PEER_COST = 2.5, 5.0, 3.0
"""Times relative to a picture's share of a batch's step: of a single picture's step in the decoder, of a step's search
in the slow channel, and of another codec."""


@dataclass(frozen=True)
class Point:
    """A setting of a codec, measured on some pictures by several jobs.

    Args:
        codec: its name in results.
        setting: as text.
        parameter: as a number.
        indices: of the pictures of each job.
        jobs: each returns the rows of its pictures, in order.
    """

    codec: str
    setting: str
    parameter: float
    indices: tuple[tuple[int, ...], ...]
    jobs: tuple[Job, ...]

    def rows(self, results: Sequence[Sequence[Row]]) -> list[Row]:
        """The rows of all pictures, from the results of all jobs."""
        rows = {
            index: {**row, "image": index}
            for indices, part in zip(self.indices, results, strict=True)
            for index, row in zip(indices, part, strict=True)
        }
        return [rows[index] for index in sorted(rows)]


@dataclass(frozen=True)
class ModelSource:
    """Arguments with which processes load a codec's model.

    Args:
        name: as for `load_checkpoint`; None for the bundled model.
        device: of the network.
        allow_pickle: see `load_checkpoint`.
    """

    name: str | None = None
    device: str = "cpu"
    allow_pickle: bool = False

    def load(self) -> DiffusionCodec:
        """The codec with this model."""
        return DiffusionCodec.from_pretrained(self.name, device=self.device, allow_pickle=self.allow_pickle)


@dataclass(frozen=True)
class Measured:
    """Pictures to measure, with model and seed.

    Args:
        pictures: all of them.
        source: of the model.
        seed: of all noise; for files, of the shared randomness.
    """

    pictures: tuple[Picture, ...]
    source: ModelSource
    seed: int

    def bound_point(self, codec: DiffusionCodec) -> Point:
        """The paper's procedure; each job returns a `BoundMeasurement`, for `bound_results.join`.

        Raises:
            ConfigError: if the network cannot evaluate some pictures as a whole.
        """
        check_pictures(self.pictures, codec.model.config.network.stride)
        evaluations = len(evaluation_levels(codec.denoiser.schedule))
        return self._point("ddpm-bound", "bound", 0.0, _bound, {}, evaluations, batch=BOUND_BATCH)

    def file_point(
        self,
        codec: DiffusionCodec,
        name: str,
        timestep: int,
        channel: str,
        effort: int | None,
        speed: int = DEFAULT_SPEED,
    ) -> Point:
        """Files that end at one timestep; 0 is lossless."""
        arguments = {"timestep": timestep, "channel": channel, "effort": effort, "speed": speed}
        poisson = channel == "poisson"
        cost = _steps(codec, self.pictures[0], timestep) * (1 + DECODER_COST + (POISSON_COST if poisson else 0))
        batch = 2 if poisson else BATCH  # the network takes little of its time, so more processes help more
        return self._point(name, f"t={timestep}", float(timestep), _files, arguments, cost, batch=batch)

    def true_sampling_point(self, codec: DiffusionCodec, timestep: int) -> Point:
        """The codec's levels with exact samples."""
        cost = _steps(codec, self.pictures[0], timestep)
        return self._point(
            "diffcodec-true-sampling", f"t={timestep}", float(timestep), _true_sampling, {"timestep": timestep}, cost
        )

    def peer_point(self, baseline: Baseline, parameter: float) -> Point:
        """Another codec at one of its settings; if it fails, its job returns a sentence instead of rows."""
        everything = tuple(range(len(self.pictures)))
        arguments = {"baseline": baseline, "parameter": parameter, "pictures": self.pictures}
        job = Job(_peer, arguments, cost=PEER_COST * self._area(everything))
        return Point(baseline.name, baseline.setting(parameter), float(parameter), (everything,), (job,))

    def _point(
        self,
        name: str,
        setting: str,
        parameter: float,
        function: Callable[..., Any],
        arguments: dict[str, Any],
        cost: float,
        *,
        batch: int = BATCH,
    ) -> Point:
        """A point with a job for every batch of pictures; the batches do not depend on the machine."""
        batches = [tuple(indices) for indices in same_size_batches(self.pictures, batch, BATCH_PIXELS)]
        shared = {"source": self.source, "seed": self.seed, **arguments}
        jobs = [
            Job(
                function,
                {"pictures": [self.pictures[index] for index in indices], "first": indices[0], **shared},
                cost=cost * self._area(indices),
            )
            for indices in batches
        ]
        return Point(name, setting, parameter, tuple(batches), tuple(jobs))

    def _area(self, indices: Sequence[int]) -> float:
        """Area of pictures, in units of 32 x 32 pixels."""
        return sum(self.pictures[index].width * self.pictures[index].height for index in indices) / 1024


def measure_points(
    points: Sequence[Point], processes: int, progress: Callable[[Point, float], None] = lambda point, cost: None
) -> Iterator[tuple[Point, list[Any]]]:
    """Every point with the results of its jobs, as soon as all of them are done.

    Args:
        points: to measure.
        processes: number of jobs at a time.
        progress: called after every job with its point and its cost.

    Raises:
        DiffCodecError: if a process dies.
    """
    owners = [(point, place) for point in points for place in range(len(point.jobs))]
    # The longest first, so that no process starts a long one at the end.
    owners.sort(key=lambda owner: -owner[0].jobs[owner[1]].cost)
    parts: dict[tuple[str, str], dict[int, Any]] = {}
    for number, result in run_jobs([point.jobs[place] for point, place in owners], processes):
        point, place = owners[number]
        done = parts.setdefault((point.codec, point.setting), {})
        done[place] = result
        progress(point, point.jobs[place].cost)
        if len(done) == len(point.jobs):
            yield point, [done[index] for index in range(len(done))]
            del parts[point.codec, point.setting]


def timesteps_from(text: str, codec: DiffusionCodec, *, lossless: bool = False) -> list[int]:
    """Parse timesteps separated by commas; returns them from coarse to fine.

    Args:
        text: such as `500,300`.
        codec: with the timesteps.
        lossless: whether to allow 0, if the model has tables for it.

    Raises:
        ConfigError: if the text is invalid, or there are no such timesteps.
    """
    try:
        timesteps = sorted({int(part) for part in text.split(",")}, reverse=True)
    except ValueError as error:
        raise ConfigError(f"timesteps: expected integers separated by commas, found {text!r}") from error
    first, last = 0 if lossless and codec.tables.lossless is not None else 1, len(codec.tables.timesteps)
    if wrong := [str(t) for t in timesteps if not first <= t <= last]:
        raise ConfigError(f"timesteps: expected {first} to {last}, found {', '.join(wrong)}")
    return timesteps


def _steps(codec: DiffusionCodec, picture: Picture, timestep: int) -> int:
    """Approximate number of network evaluations for a file."""
    levels = codec.tables.lists[codec.tables.list_for(picture.width * picture.height)]
    return 1 + len(levels.steps_to(codec.tables.level(max(1, timestep))))


# ------------------------------------------------------------------------------ functions that the processes run


@lru_cache(maxsize=1)
def _codec(source: ModelSource) -> DiffusionCodec:
    return source.load()


@lru_cache(maxsize=4)
def warm_codec(source: ModelSource, channel: str, effort: int) -> DiffusionCodec:
    """The codec after a first use, so that its one-time costs count towards no picture."""
    codec = _codec(source)
    picture = Picture(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    timestep = len(codec.tables.timesteps) // 3
    codec.decompress(codec.compress(picture, timestep=timestep, channel=channel, effort=effort))
    return codec


def _files(
    source: ModelSource,
    pictures: Sequence[Picture],
    seed: int,
    first: int,
    timestep: int,
    channel: str,
    effort: int | None,
    speed: int,
) -> list[Row]:
    codec = warm_codec(source, channel, effort)
    return measure_files(codec, pictures, timestep=timestep, channel=channel, speed=speed, effort=effort, seed=seed)


def _true_sampling(source: ModelSource, pictures: Sequence[Picture], seed: int, first: int, timestep: int) -> list[Row]:
    own_seed = derived_seed(seed, 1, first, timestep)
    return measure_true_sampling(_codec(source), pictures, timestep=timestep, seed=own_seed)


def _bound(source: ModelSource, pictures: Sequence[Picture], seed: int, first: int) -> BoundMeasurement:
    batch_size = 24 if source.device == "cpu" else 256
    return bound_of_batch(_codec(source).denoiser, pictures, first=first, seed=seed, batch_size=batch_size)


def _peer(baseline: Baseline, parameter: float, pictures: Sequence[Picture]) -> list[Row] | str:
    try:
        return measure_baseline(baseline, parameter, pictures)
    except ImageError as error:  # some codecs do not support pictures of a few pixels
        return f"{baseline.name} at {baseline.setting(parameter)} is left out: {error}"
