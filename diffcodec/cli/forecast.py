"""`diffcodec compress --dry-run`: what compressing would take, from samples of each picture."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from diffcodec.cli.batch.compressor import CompressJob
from diffcodec.cli.batch.inputs import Inputs
from diffcodec.cli.batch.work import Task
from diffcodec.cli.failures import printable
from diffcodec.cli.latent_forecast import latent_folder, show_latent_forecasts
from diffcodec.errors import TargetError
from diffcodec.images import Picture

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec

SAMPLE_SIDE = 128
"""Of the two squares of a picture that are compressed to estimate its bytes and seconds, in pixels."""


@dataclass(frozen=True)
class Forecast:
    """What compressing a picture would take, extrapolated from samples.

    Args:
        model: its name.
        width, height: of the picture, in pixels.
        timestep: at which the file would end.
        steps: that it would take.
        seconds: on this machine, without loading the model.
        file_bytes: of the file, without alpha plane and metadata.
    """

    model: str
    width: int
    height: int
    timestep: int
    steps: int
    seconds: float
    file_bytes: int

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"{self.width} x {self.height}, {self.model}, t = {self.timestep}, {self.steps} steps, about "
            f"{self.file_bytes} bytes, {self.seconds:.1f} s"
        )


def show_forecasts(job: CompressJob, inputs: Inputs, *, as_json: bool) -> None:
    """Print a forecast of every input.

    Raises:
        click.exceptions.Exit: with code 1 if any input failed.
    """
    if latent := latent_folder(job):
        show_latent_forecasts(job, latent, inputs, as_json=as_json)
        return
    worker = job.load()

    def show(source: str) -> None:
        picture = worker.read(Task(0, source, "")).content
        codec = worker.codec_for(picture.width, picture.height)
        try:
            found = forecast(codec, picture, job)
        except TargetError as error:
            raise TargetError(f"{source}: samples of the picture miss the target: {error}") from error
        click.echo(json.dumps({"input": source, **asdict(found)}) if as_json else printable(f"{source}: {found.line}"))

    inputs.show_each(show, as_json=as_json)


def forecast(codec: DiffusionCodec, picture: Picture, job: CompressJob) -> Forecast:
    """Compresses samples of a picture, or all of a small one."""
    pixels, options = picture.width * picture.height, job.options
    if job.goal is not None:
        options["target"] = job.goal.per_pixel(pixels)
    reports, seconds = [], 0.0
    for sample in samples(picture):
        codec.compress(sample, timestep=len(codec.tables.timesteps), measure=False)  # warms up
        start = time.perf_counter()
        reports.append(codec.compress(sample, **options).report)
        seconds += time.perf_counter() - start
    factor = pixels / sum(each.width * each.height for each in reports)
    payload_bytes = factor * sum(each.file_bytes - each.header_bytes for each in reports)
    return Forecast(
        model=codec.model.card.name,
        width=picture.width,
        height=picture.height,
        timestep=round(sum(each.timestep for each in reports) / len(reports)),
        steps=max(len(each.steps) for each in reports),
        seconds=factor * seconds,
        file_bytes=round(payload_bytes) + reports[0].header_bytes,
    )


def samples(picture: Picture) -> Iterator[Picture]:
    """Two squares, at a third and at two thirds of a picture's sides, or the whole of one that is not much larger."""
    if picture.width * picture.height <= 4 * SAMPLE_SIDE**2:
        yield Picture(picture.pixels)
        return
    for third in (1, 2):
        spans = []
        for side in picture.pixels.shape[:2]:
            length = min(side, SAMPLE_SIDE)
            start = min(max(0, side * third // 3 - length // 2), side - length)
            spans.append(slice(start, start + length))
        yield Picture(np.ascontiguousarray(picture.pixels[spans[0], spans[1]]))
