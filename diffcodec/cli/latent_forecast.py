"""`diffcodec compress --dry-run` with a latent model: what it would take, before gigabytes are loaded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch.compressor import CompressJob, Compressor
from diffcodec.cli.batch.inputs import Inputs
from diffcodec.cli.batch.work import Task
from diffcodec.cli.failures import printable
from diffcodec.coding.targets import DEFAULT_TIMESTEP

if TYPE_CHECKING:
    from diffcodec.model.latent import LatentModel


@dataclass(frozen=True)
class LatentForecast:
    """What compressing a picture with a latent model would take.

    Args:
        model: its name.
        width, height: of the picture, in pixels.
        timestep: at which the file would end, or where a search would begin.
        steps: that it would take.
        parameters: of the network.
        weight_bytes: of network and autoencoder in memory.
        flops: of one evaluation of the network.
        evaluation_s: seconds of one evaluation, if it ran at the speed of matrix products.
    """

    model: str
    width: int
    height: int
    timestep: int
    steps: int
    parameters: int
    weight_bytes: int
    flops: int
    evaluation_s: float

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"{self.width} x {self.height}, {self.model}, t = {self.timestep}, {self.steps} steps; "
            f"{self.parameters / 1e6:.0f} million weights, {self.weight_bytes / 1e9:.1f} GB with the autoencoder; "
            f"{self.flops / 1e12:.2f} TFLOP an evaluation, at least {self.evaluation_s:.1f} s"
        )


def latent_folder(job: CompressJob) -> LatentModel | None:
    """The model of a job if it is a latent one in a folder; nothing is loaded."""
    from diffcodec.model.latent import LatentModel
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.locations import find_model

    if job.model is None or find_model(job.model, allow_pickle=job.allow_pickle, with_text=False).is_file():
        return None
    model = load_checkpoint(job.model, allow_pickle=job.allow_pickle, tables=job.tables)
    return model if isinstance(model, LatentModel) else None


def show_latent_forecasts(job: CompressJob, model: LatentModel, inputs: Inputs, *, as_json: bool) -> None:
    """Print a forecast of every input.

    Raises:
        click.exceptions.Exit: with code 1 if any input failed.
    """
    from diffcodec.devices import check_device
    from diffcodec.model.default_tables import default_tables
    from diffcodec.model.latent_cost import flops_per_second, latent_cost
    from diffcodec.model.latent_folder import FolderParts

    device, parts, worker = check_device(job.device), model.parts, Compressor(job)
    assert isinstance(parts, FolderParts)
    speed = flops_per_second(device, parts.weight_type(job.precision, device))
    tables = model.tables or default_tables(model.config.schedule)

    def show(source: str) -> None:
        picture = worker.read(Task(0, source, "")).content
        cost = latent_cost(parts, picture.width, picture.height, precision=job.precision, device=device)
        timestep = DEFAULT_TIMESTEP if job.timestep is None else job.timestep
        levels = tables.lists[tables.list_for(picture.width * picture.height, job.steps)]
        found = LatentForecast(
            model=model.card.name,
            width=picture.width,
            height=picture.height,
            timestep=timestep,
            steps=len(levels.steps_to(tables.level(max(1, timestep)))),
            parameters=cost.parameters,
            weight_bytes=cost.weight_bytes,
            flops=cost.flops,
            evaluation_s=cost.flops / speed,
        )
        click.echo(json.dumps({"input": source, **asdict(found)}) if as_json else printable(f"{source}: {found.line}"))

    inputs.show_each(show, as_json=as_json)
