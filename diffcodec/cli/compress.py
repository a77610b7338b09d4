"""`diffcodec compress`."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import click

from diffcodec.cli.batch import (
    STANDARD,
    check_writable,
    expand,
    for_each,
    label,
    outputs,
    read_input,
    write_output,
)
from diffcodec.errors import ConfigError

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
    required=True,
    help="Noise level at which to stop: 1 is the finest, the model's last (1000) the coarsest; 0 is lossless.",
)
@click.option(
    "-o",
    "--out",
    help="Output file; a folder for several inputs; - for standard output.  [default: beside the input, as .dfc]",
)
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option(
    "--channel",
    type=click.Choice(["trellis", "poisson"]),
    default="trellis",
    show_default=True,
    help="Channel simulation.",
)
@click.option(
    "--effort",
    type=click.IntRange(8, 16),
    default=12,
    show_default=True,
    help="Search effort: each step doubles the coding time and saves about 1 %.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Of the shared randomness; other than 0 it costs 8 bytes.",
)
@click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu or cuda.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per picture.")
def command(
    images: tuple[str, ...], timestep: int, out: str | None, model: str | None, channel: str, effort: int,
    seed: int, device: str, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compress pictures to .dfc files.

    IMAGES are picture files, folders of pictures, or - for standard input.
    """
    files = expand(images, PICTURE_SUFFIXES)
    targets = outputs(files, out, ".dfc", many=len(images) > 1 or list(images) != files)
    if as_json and STANDARD in targets:
        raise ConfigError("--json and the .dfc file cannot both go to standard output: pass -o FILE")

    from diffcodec.codec import DiffusionCodec
    from diffcodec.devices import check_device
    from diffcodec.images import read_picture

    codec = DiffusionCodec.from_pretrained(model, device=check_device(device))

    def standard_input() -> io.BytesIO:
        file = io.BytesIO(read_input(STANDARD))
        file.name = label(STANDARD)
        return file

    def compress(source: str, target: str) -> None:
        check_writable(target, force, source)
        picture = read_picture(standard_input() if source == STANDARD else source)
        stream = codec.compress(picture, timestep=timestep, channel=channel, effort=effort, seed=seed)
        write_output(target, force, lambda file: file.write(stream.data), make_folder=target != out)
        report = stream.report
        if as_json:
            values = {"input": source, "output": target, **dataclasses.asdict(report)}
            # JSON has no infinity: the PSNR of an exact restoration is null.
            values = {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in values.items()}
            click.echo(json.dumps(values))
        elif target != STANDARD:
            seconds = report.network_seconds + report.coding_seconds
            click.echo(
                f"{source} -> {target}: {report.file_bytes} bytes, {report.bpp:.3f} bpp, "
                f"{'lossless' if timestep == 0 else f'PSNR {report.psnr_db:.2f} dB'}, {seconds:.1f} s"
            )

    for_each(zip(files, targets, strict=True), compress)
