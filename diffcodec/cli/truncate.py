"""`diffcodec truncate`."""

from __future__ import annotations

import os

import click

from diffcodec.bitstream.container import read_header
from diffcodec.cli.failures import printable, warn
from diffcodec.cli.inputs import STANDARD, Input, label, read_input
from diffcodec.cli.options import allow_pickle_option, complete_file, max_pixels_option, model_option
from diffcodec.cli.outputs import check_folder, check_suffix, check_writable, outputs, write_output
from diffcodec.cli.streams import check_stream, codec_for


@click.command("truncate")
@click.argument("file", shell_complete=complete_file)
@click.option(
    "--bytes", "max_bytes", type=click.IntRange(1), required=True, metavar="N", help="Longest result, in bytes."
)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="The shorter file; - for standard output.  [default: beside FILE, as NAME.N.dfc]",
)
@click.option("--strip-metadata", is_flag=True, help="Leave out colour profile and EXIF.")
@click.option("--partial", is_flag=True, help="Keep what comes before the place where a file is cut or damaged.")
@model_option("the bundled one that made the file")
@allow_pickle_option
@max_pixels_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    file: str, max_bytes: int, out: str | None, strip_metadata: bool, partial: bool, model: str | None,
    allow_pickle: bool, max_pixels: int, force: bool,
) -> None:  # fmt: skip
    """Shorten a .dfc file, without compressing anew.

    FILE is a .dfc file, or - for standard input. As many of its steps are kept as fit in N bytes; the result is an
    ordinary .dfc file of a coarser version. A picture that is stored as a whole (t = 0, where that was shorter) cannot
    be shortened.
    """
    (target,) = outputs([Input(file, os.path.basename(file))], out, f".{max_bytes}.dfc", many=False)
    check_suffix(target, "a .dfc file", ".dfc")
    check_writable(target, force, file)
    check_folder(target)

    name, data = label(file), read_input(file)
    reading = check_stream(data, partial=partial, max_pixels=max_pixels, name=name)
    codec = codec_for(data, model, name=name, allow_pickle=allow_pickle)
    shorter = codec.truncate(
        data, max_bytes, keep_metadata=not strip_metadata, partial=partial, max_pixels=max_pixels, name=name
    )
    write_output(target, force, lambda opened: opened.write(shorter))
    if reading.problem is not None:
        warn(f"{name} {reading.problem}; {target} holds what comes before that")
    if target != STANDARD:
        cut = read_header(shorter).header
        kept = "all of it" if cut.cut is None else f"{cut.cut.steps} steps, t = {cut.timestep}"
        click.echo(printable(f"{file} -> {target}: {len(shorter)} of {len(data)} bytes, {kept}"))
