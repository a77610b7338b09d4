"""`diffcodec compress`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import click

from diffcodec.cli.batch.compressor import CompressJob
from diffcodec.cli.batch.inputs import PICTURE_SUFFIXES, expand
from diffcodec.cli.batch.outputs import check_suffix, outputs
from diffcodec.cli.batch.run import RunOptions, run_batch
from diffcodec.cli.forecast import show_forecasts
from diffcodec.cli.help import FILES, FOLDERS, MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    FOLDER_PARAMETERS,
    Timestep,
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
)
from diffcodec.coding.targets import DEFAULT_TIMESTEP, Target
from diffcodec.config import Precision


@click.command(
    "compress",
    cls=SectionedCommand,
    sections={
        QUALITY: ("quality", "timestep", "max_bytes", "max_bpp", "min_psnr", "measure"),
        FILES: ("out", "force", "first_frame", "keep_metadata", "repeat_front"),
        MODEL: ("model", "allow_pickle", "channel", "seed"),
        SPEED: ("speed", "effort", "steps", "device", "precision"),
        FOLDERS: (*FOLDER_PARAMETERS, "steps_table", "dry_run"),
    },
)
@click.argument("images", nargs=-1, required=True, shell_complete=complete_file)
@click.option(
    "--quality",
    type=click.FloatRange(0, 100),
    metavar="Q",
    help="0 to 100 as people see it: 100 is visually lossless, 70 good, 50 about the default, 20 rough.",
)
@click.option(
    "-t",
    "--timestep",
    type=Timestep(", or set the quality with --quality, --bytes, --bpp or --psnr"),
    help="Instead, the noise level at which to stop: 1 is the finest, the model's last (1000) the coarsest; 0 is "
    f"lossless.  [default: {DEFAULT_TIMESTEP}]",
)
@click.option(
    "--bytes", "max_bytes", type=click.IntRange(1), metavar="N", help="Instead, the finest file of at most N bytes."
)
@click.option(
    "--bpp",
    "max_bpp",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Instead, the finest file of at most X bits per pixel.",
)
@click.option(
    "--psnr", "min_psnr", type=float, metavar="DB", help="Instead, the coarsest file with a PSNR of at least DB."
)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="Output file; a folder for several inputs; - for standard output.  [default: beside the input, as .dfc]",
)
@model_option("the bundled one for pictures of that size")
@allow_pickle_option
@channel_option
@speed_option
@effort_option
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="K",
    help="Noise levels from pure noise to t = 1, one network evaluation each: 4, 8, 12, 16, 24, 32 or 64. "
    "Fewer are faster, more are smaller.  [default: those of the speed]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Seed of the shared randomness. A seed other than 0 adds 8 bytes.",
)
@click.option(
    "--measure", is_flag=True, help="Restore every picture to report its PSNR: one more evaluation of the network."
)
@click.option(
    "--steps-table", is_flag=True, help="Report every step: t, log SNR, bits and seconds. With --json, in each object."
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing: estimate bytes and seconds by compressing samples of each picture."
)
@click.option("--first-frame", is_flag=True, help="Use the first frame of animations, and the first page of documents.")
@click.option(
    "--keep-metadata",
    is_flag=True,
    help="Keep the colour profile and EXIF, which may include where a photo was taken.  "
    "[default: convert colours to sRGB; t = 0 keeps them, and their profile]",
)
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
    if run["quiet"] and (number := missing_number(images)) is not None:
        raise click.UsageError(f"-q is short for --quiet and takes no value, found {number}: pass --quality {number}")
    if [quality, timestep, max_bytes, max_bpp, min_psnr].count(None) < 4:
        raise click.UsageError("Pass only one of --quality, -t, --bytes, --bpp and --psnr.")
    goal = make_target(quality, max_bytes, max_bpp, min_psnr)
    if timestep is None and goal is None:
        timestep = DEFAULT_TIMESTEP
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


def make_target(
    quality: float | None, max_bytes: int | None, max_bpp: float | None, min_psnr: float | None
) -> Target | None:
    """The target that was given, if any."""
    if quality is not None:
        return Target.quality(quality)
    if max_bytes is not None:
        return Target.bytes(max_bytes)
    if max_bpp is not None:
        return Target.bpp(max_bpp)
    return None if min_psnr is None else Target.psnr(min_psnr)
