"""`diffcodec truncate`."""

from __future__ import annotations

import os

import click

from diffcodec.bitstream.container import read_header
from diffcodec.cli.batch.inputs import STANDARD, Input
from diffcodec.cli.batch.outputs import check_folder, check_suffix, check_writable, outputs, write_output
from diffcodec.cli.failures import printable, warn
from diffcodec.cli.options import allow_pickle_option, complete_file, max_pixels_option, model_option, tables_option
from diffcodec.cli.streams import model_for, parse_input


@click.command("truncate")
@click.argument("file", shell_complete=complete_file)
@click.option(
    "--bytes",
    "max_bytes",
    type=click.IntRange(1),
    required=True,
    metavar="N",
    help="Maximum length of the result in bytes.",
)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="The shorter file; - for standard output.  [default: beside FILE, as NAME.N.dfc]",
)
@click.option("--strip-metadata", is_flag=True, help="Omit colour profile and EXIF.")
@click.option("--partial", is_flag=True, help="Accept a cut or damaged file, and keep its intact steps.")
@model_option("the bundled one that made the file")
@allow_pickle_option
@tables_option
@max_pixels_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    file: str,
    max_bytes: int,
    out: str | None,
    strip_metadata: bool,
    partial: bool,
    model: str | None,
    allow_pickle: bool,
    tables: str | None,
    max_pixels: int,
    force: bool,
) -> None:
    """Shorten a .dfc file without re-encoding.

    FILE is a .dfc file, or - for standard input. The result keeps as many of its steps as fit in N bytes; it is an
    ordinary .dfc file of a coarser version. A picture that is stored as a whole (t = 0, where that was shorter) cannot
    be shortened.
    """
    (target,) = outputs([Input(file, os.path.basename(file))], out, f".{max_bytes}.dfc", many=False)
    check_suffix(target, "a .dfc file", ".dfc")
    check_writable(target, force, file)
    check_folder(target)

    from diffcodec.coding.truncation import truncate

    stream = parse_input(file, partial=partial, max_pixels=max_pixels)
    description = model_for(stream, model, allow_pickle=allow_pickle, tables=tables)
    shorter = truncate(stream, description, max_bytes, keep_metadata=not strip_metadata)
    write_output(target, force, lambda opened: opened.write(shorter))
    if (problem := stream.reading.problem) is not None:
        made = "the result" if target == STANDARD else target
        warn(f"{stream.name} {problem}; {made} holds the steps before that")
    if target != STANDARD:
        header = read_header(shorter).header
        kept = "all of it" if header.shortened is None else f"{header.shortened.steps} steps, t = {header.timestep}"
        click.echo(printable(f"{file} -> {target}: {len(shorter)} of {stream.file_bytes} bytes, {kept}"))
