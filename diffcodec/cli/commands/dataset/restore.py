"""`diffcodec dataset restore`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from diffcodec.cli.commands.dataset.options import (
    DATA,
    DATA_PARAMETERS,
    WORK,
    WORKER_PARAMETERS,
    data_options,
    gpu_option,
    source_argument,
    worker_options,
)
from diffcodec.cli.help import MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    RECONSTRUCTION_PARAMETERS,
    allow_pickle_option,
    max_pixel_evaluations_option,
    max_pixels_option,
    model_option,
    partial_option,
    precision_option,
    reconstruction_options,
)
from diffcodec.coding.reconstruction import Reconstruction, ReconstructionKind
from diffcodec.config import Precision

if TYPE_CHECKING:
    from diffcodec.dataset.shards import ShardFormat


@click.command(
    "restore",
    cls=SectionedCommand,
    sections={
        QUALITY: RECONSTRUCTION_PARAMETERS,
        DATA: (*DATA_PARAMETERS, "picture_format", "partial", "max_pixels", "max_pixel_evaluations"),
        MODEL: ("model", "allow_pickle"),
        SPEED: ("precision",),
        WORK: WORKER_PARAMETERS,
    },
)
@source_argument
@data_options
@click.option(
    "--dfc-column",
    "data_column",
    default="dfc",
    show_default=True,
    metavar="NAME",
    help="Column of .dfc files in Parquet files.",
)
@click.option(
    "--picture-format",
    type=click.Choice(["png", "tiff", "webp", "bmp", "ppm"]),
    default="png",
    show_default=True,
    help="Format of the pictures; all are lossless.",
)
@reconstruction_options
@partial_option
@model_option("the bundled one that made each file")
@allow_pickle_option
@max_pixels_option
@max_pixel_evaluations_option
@precision_option
@gpu_option
@worker_options
def command(
    source: str,
    destination: str,
    format: ShardFormat | None,
    data_column: str,
    name_column: str,
    retry_failed: bool,
    force: bool,
    picture_format: str,
    timestep: int | None,
    decoder: ReconstructionKind,
    decoder_steps: int | None,
    decoder_seed: int,
    partial: bool,
    model: str | None,
    allow_pickle: bool,
    max_pixels: int,
    max_pixel_evaluations: int,
    precision: Precision,
    gpus: float,
    workers: int | None,
    threads: int,
    as_json: bool,
    quiet: bool,
    progress: bool | None,
) -> None:
    """Restore the pictures of a data set of .dfc files, shard by shard.

    \b
      diffcodec dataset restore train-dfc/ -o train-back/

    SOURCE is as for `dataset compress`, with .dfc files in the place of pictures. Complete shards are skipped.
    """
    from diffcodec.cli.commands.dataset.running import run_dataset
    from diffcodec.dataset.engine import Workers
    from diffcodec.dataset.runs import open_run
    from diffcodec.dataset.work import DatasetJob

    arguments = {
        "format": picture_format.upper(),
        "timestep": timestep,
        "reconstruction": Reconstruction(decoder, decoder_steps, decoder_seed),
        "partial": partial,
        "model": model,
        "allow_pickle": allow_pickle,
        "max_pixels": max_pixels,
        "max_pixel_evaluations": max_pixel_evaluations,
        "device": "cuda" if gpus else "cpu",
        "precision": precision,
        "threads": threads,
    }
    job = functools.partial(
        DatasetJob,
        "restore",
        destination,
        arguments=arguments,
        data_column=data_column,
        name_column=name_column,
        retry_failed=retry_failed,
    )
    run = open_run(source, job, Workers(workers, threads, gpus), format)
    run_dataset(run, force=force, as_json=as_json, quiet=quiet, progress=progress)
