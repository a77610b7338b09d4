"""`diffcodec compress`."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch import (
    STANDARD,
    Item,
    check_writable,
    expand,
    for_each_batch,
    label,
    outputs,
    read_input,
    write_output,
)
from diffcodec.cli.options import allow_pickle_option, channel_option, device_option, effort_option, model_option
from diffcodec.errors import ConfigError, TargetError
from diffcodec.targets import Target

if TYPE_CHECKING:
    from diffcodec.images import Picture
    from diffcodec.results import Bitstream

PICTURE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pnm",
    ".avif",
    ".jp2",
)


@click.command("compress")
@click.argument("images", nargs=-1, required=True)
@click.option(
    "-t",
    "--timestep",
    type=click.IntRange(0, 4095),
    help="Noise level at which to stop: 1 is the finest, the model's last (1000) the coarsest; 0 is lossless.",
)
@click.option("--bytes", "max_bytes", type=int, metavar="N", help="Instead of -t: the finest file of at most N bytes.")
@click.option(
    "--bpp", "max_bpp", type=float, metavar="X", help="Instead of -t: the finest file of at most X bits per pixel."
)
@click.option(
    "--psnr", "min_psnr", type=float, metavar="DB", help="Instead of -t: the coarsest file with a PSNR of at least DB."
)
@click.option(
    "-o",
    "--out",
    help="Output file; a folder for several inputs; - for standard output.  [default: beside the input, as .dfc]",
)
@model_option("the bundled one")
@allow_pickle_option
@channel_option
@effort_option
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="K",
    help="Noise levels from pure noise to t = 1, one network evaluation each: 4, 8, 12, 16, 24, 32 or 64. "
    "Fewer are faster, more are smaller.  [default: the model's]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Of the shared randomness; other than 0 it costs 8 bytes.",
)
@device_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per picture.")
def command(
    images: tuple[str, ...], timestep: int | None, max_bytes: int | None, max_bpp: float | None,
    min_psnr: float | None, out: str | None, model: str | None, allow_pickle: bool, channel: str, effort: int,
    steps: int | None, seed: int, device: str, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compress pictures to .dfc files: pass exactly one of -t, --bytes, --bpp and --psnr.

    IMAGES are picture files, folders of pictures, or - for standard input.
    """
    if [timestep, max_bytes, max_bpp, min_psnr].count(None) != 3:
        raise click.UsageError("Pass exactly one of -t, --bytes, --bpp and --psnr.")
    goal = make_target(max_bytes, max_bpp, min_psnr)
    files = expand(images, PICTURE_SUFFIXES)
    targets = outputs(files, out, ".dfc", many=len(images) > 1 or list(images) != files)
    if as_json and STANDARD in targets:
        raise ConfigError("--json and the .dfc file cannot both go to standard output: pass -o FILE")

    from diffcodec.codec import DiffusionCodec
    from diffcodec.devices import check_device
    from diffcodec.images import read_picture

    codec = DiffusionCodec.from_pretrained(model, device=check_device(device), allow_pickle=allow_pickle)
    if not codec.is_calibrated:
        click.echo(
            f"Warning: {codec.checkpoint.card.name} has not been calibrated: it runs with equal variances, and files "
            "are larger than they need be; run `diffcodec calibrate` on it",
            err=True,
        )

    def standard_input() -> io.BytesIO:
        file = io.BytesIO(read_input(STANDARD))
        file.name = label(STANDARD)
        return file

    def read(source: str, target: str) -> Item[Picture]:
        check_writable(target, force, source)
        picture = read_picture(standard_input() if source == STANDARD else source)
        # A search for a target goes a way of its own with every picture. And how a lossless file's estimate is
        # rounded hangs on the last digits of the network's floats, which in company are others.
        kind = None if goal or timestep == 0 else (picture.width, picture.height, picture.mode)
        return Item(source, target, picture, kind, picture.width * picture.height)

    def compress(items: Sequence[Item[Picture]]) -> list[Bitstream]:
        pictures = [item.content for item in items]
        try:
            return codec.compress_batch(
                pictures, timestep=timestep, target=goal, channel=channel, effort=effort, seed=seed, steps=steps
            )
        except TargetError as error:
            raise TargetError(f"{label(items[0].source)}: {error}") from error

    def write(item: Item[Picture], stream: Bitstream) -> None:
        write_output(item.target, force, lambda file: file.write(stream.data), make_folder=item.target != out)
        report = stream.report
        if as_json:
            values = {"input": item.source, "output": item.target, **dataclasses.asdict(report)}
            # JSON has no infinity: the PSNR of an exact restoration is null.
            values = {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in values.items()}
            click.echo(json.dumps(values))
        elif item.target != STANDARD:
            seconds = report.network_seconds + report.coding_seconds
            click.echo(
                f"{item.source} -> {item.target}: {report.file_bytes} bytes, {report.bpp:.3f} bpp, "
                f"{f't = {report.timestep}, ' if goal else ''}"
                f"{'lossless' if timestep == 0 else f'PSNR {report.psnr_db:.2f} dB'}, {seconds:.1f} s"
            )

    for_each_batch(zip(files, targets, strict=True), read, compress, write)


def make_target(max_bytes: int | None, max_bpp: float | None, min_psnr: float | None) -> Target | None:
    """The target that was given, if one was."""
    if max_bytes is not None:
        return Target.bytes(max_bytes)
    if max_bpp is not None:
        return Target.bpp(max_bpp)
    return None if min_psnr is None else Target.psnr(min_psnr)
