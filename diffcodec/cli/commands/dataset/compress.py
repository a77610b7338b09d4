"""`diffcodec dataset compress`."""

from __future__ import annotations

from functools import partial
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
from diffcodec.cli.compression import (
    GOAL_PARAMETERS,
    chosen_goal,
    goal_options,
    measure_option,
    picture_options,
    shared_seed_option,
    steps_option,
)
from diffcodec.cli.help import MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    allow_pickle_option,
    channel_option,
    effort_option,
    model_option,
    precision_option,
    speed_option,
)
from diffcodec.config import Precision

if TYPE_CHECKING:
    from diffcodec.dataset.shards import ShardFormat


@click.command(
    "compress",
    cls=SectionedCommand,
    sections={
        QUALITY: (*GOAL_PARAMETERS, "measure"),
        DATA: (*DATA_PARAMETERS, "first_frame", "keep_metadata"),
        MODEL: ("model", "allow_pickle", "channel", "seed"),
        SPEED: ("speed", "effort", "steps", "precision"),
        WORK: WORKER_PARAMETERS,
    },
)
@source_argument
@data_options
@click.option(
    "--image-column",
    "data_column",
    default="image",
    show_default=True,
    metavar="NAME",
    help="Column of pictures in Parquet files: their bytes, or Hugging Face's {bytes, path}.",
)
@goal_options
@model_option("the bundled one for pictures of that size")
@allow_pickle_option
@channel_option
@speed_option
@effort_option
@steps_option
@shared_seed_option
@measure_option
@picture_options
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
    quality: float | None,
    timestep: int | None,
    max_bytes: int | None,
    max_bpp: float | None,
    min_psnr: float | None,
    model: str | None,
    allow_pickle: bool,
    channel: str,
    speed: int,
    effort: int | None,
    steps: int | None,
    seed: int,
    measure: bool,
    first_frame: bool,
    keep_metadata: bool,
    precision: Precision,
    gpus: float,
    workers: int | None,
    threads: int,
    as_json: bool,
    quiet: bool,
    progress: bool | None,
) -> None:
    """Compress a data set to .dfc files, shard by shard.

    \b
      diffcodec dataset compress 'train-{000..999}.tar' -o train-dfc/ -t 50
      diffcodec dataset compress s3://bucket/train -o s3://bucket/train-dfc --workers 64

    SOURCE is a folder of tar files (WebDataset) or Parquet files, one such file, a pattern of them, or a folder of
    pictures; here or in any store that fsspec reaches. Complete shards are skipped: repeat the command to
    continue a stopped run, or to retry shards that could not be reached. A picture that fails is reported, and the
    others continue. Several workers need Ray: pip install 'diffcodec[ray]'.
    """
    timestep, goal = chosen_goal(quality, timestep, max_bytes, max_bpp, min_psnr)

    from diffcodec.cli.commands.dataset.running import run_dataset
    from diffcodec.dataset.engine import Workers
    from diffcodec.dataset.runs import open_run
    from diffcodec.dataset.work import DatasetJob

    arguments = {
        "timestep": timestep,
        "target": goal,
        "model": model,
        "allow_pickle": allow_pickle,
        "channel": channel,
        "speed": speed,
        "effort": effort,
        "steps": steps,
        "seed": seed,
        "measure": measure,
        "first_frame": first_frame,
        "keep": "metadata" if keep_metadata else None,
        "device": "cuda" if gpus else "cpu",
        "precision": precision,
        "threads": threads,
    }
    job = partial(
        DatasetJob,
        "compress",
        destination,
        arguments=arguments,
        data_column=data_column,
        name_column=name_column,
        retry_failed=retry_failed,
    )
    run = open_run(source, job, Workers(workers, threads, gpus), format)
    run_dataset(run, force=force, as_json=as_json, quiet=quiet, progress=progress)
