"""`diffcodec compress`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import click

from diffcodec.cli.batch.inputs import expand
from diffcodec.cli.batch.outputs import check_suffix, outputs
from diffcodec.cli.compression import (
    GOAL_PARAMETERS,
    chosen_goal,
    goal_options,
    measure_option,
    picture_options,
    shared_seed_option,
    steps_option,
)
from diffcodec.cli.help import FILES, FOLDERS, MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    FOLDER_PARAMETERS,
    allow_pickle_option,
    channel_option,
    complete_file,
    device_option,
    effort_option,
    folder_options,
    model_option,
    precision_option,
    results_recursive_option,
    speed_option,
    tables_option,
)
from diffcodec.config import PICTURE_SUFFIXES, Precision


@click.command(
    "compress",
    cls=SectionedCommand,
    sections={
        QUALITY: (*GOAL_PARAMETERS, "measure"),
        FILES: ("out", "force", "first_frame", "keep_metadata", "repeat_front"),
        MODEL: ("model", "allow_pickle", "tables", "channel", "seed"),
        SPEED: ("speed", "effort", "steps", "device", "precision"),
        FOLDERS: (*FOLDER_PARAMETERS, "steps_table", "dry_run"),
    },
)
@click.argument("images", nargs=-1, required=True, shell_complete=complete_file)
@goal_options
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="Output file; a folder for several inputs; - for standard output.  [default: beside the input, as .dfc]",
)
@model_option("the bundled one for pictures of that size")
@allow_pickle_option
@tables_option
@channel_option
@speed_option
@effort_option
@steps_option
@shared_seed_option
@measure_option
@click.option(
    "--steps-table", is_flag=True, help="Report every step: t, log SNR, bits and seconds. With --json, in each object."
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing: estimate bytes and seconds by compressing samples of each picture."
)
@picture_options
@click.option(
    "--repeat-front",
    is_flag=True,
    help="Repeat header and first block at the file's end, 2 KB: wrong bits there do not lose all of the picture.",
)
@device_option
@precision_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@results_recursive_option
@folder_options
def command(
    images: tuple[str, ...],
    quality: float | None,
    timestep: int | None,
    max_bytes: int | None,
    max_bpp: float | None,
    min_psnr: float | None,
    out: str | None,
    model: str | None,
    allow_pickle: bool,
    tables: str | None,
    channel: str,
    speed: int,
    effort: int | None,
    steps: int | None,
    seed: int,
    measure: bool,
    first_frame: bool,
    keep_metadata: bool,
    repeat_front: bool,
    device: str,
    precision: Precision,
    force: bool,
    recursive: bool,
    steps_table: bool,
    dry_run: bool,
    **run: Any,
) -> None:
    """Compress pictures to .dfc files.

    --quality sets how good they look, from 0 to 100 (visually lossless).

    \b
      diffcodec compress photo.jpg --quality 70
      diffcodec compress photos/ -r --quality 50 -o small/

    IMAGES are picture files, folders of pictures, patterns such as 'photos/**/*.jpg', or - for standard input.
    Instead of a quality, pass a noise level (-t), a size (--bytes, --bpp) or a PSNR (--psnr).

    Formats: PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP, PPM, PGM, PBM, JPEG 2000, ICO, ICNS, TGA, QOI, PCX and SGI; JPEG XL
    and HEIC with a plugin.
    """
    # Imported late, so that --help is fast.
    from diffcodec.cli.batch.compressor import CompressJob
    from diffcodec.cli.batch.run import RunOptions, run_batch
    from diffcodec.cli.forecast import show_forecasts

    if run["quiet"] and (number := missing_number(images)) is not None:
        raise click.UsageError(f"-q is short for --quiet and takes no value, found {number}: pass --quality {number}")
    if dry_run and (measure or steps_table):
        option = "--measure" if measure else "--steps-table"
        raise click.UsageError(f"--dry-run estimates from samples of each picture: it cannot be used with {option}")
    timestep, goal = chosen_goal(quality, timestep, max_bytes, max_bpp, min_psnr)
    options = RunOptions(**run)
    inputs = expand(images, PICTURE_SUFFIXES, recursive=recursive)
    targets = outputs(inputs.files, out, ".dfc", inputs.many) if not dry_run else []
    if out is not None and out in targets:
        check_suffix(out, "a .dfc file", ".dfc")
    job = CompressJob(
        timestep=timestep,
        goal=goal,
        model=model,
        allow_pickle=allow_pickle,
        tables=tables,
        channel=channel,
        speed=speed,
        effort=effort,
        steps=steps,
        seed=seed,
        repeat_front=repeat_front,
        measure=measure,
        steps_table=steps_table,
        first_frame=first_frame,
        keep_metadata=keep_metadata,
        device=device,
        precision=precision,
        force=force,
        resume=options.resume,
        named_output=out,
    )
    if dry_run:
        show_forecasts(job, inputs, as_json=options.as_json)
    else:
        run_batch(job, inputs, targets, options)


def missing_number(names: Sequence[str]) -> str | None:
    """The first name that is a number and not a file: a value that was meant for an option."""
    return next((name for name in names if re.fullmatch(r"\d+(\.\d+)?", name) and not os.path.lexists(name)), None)
