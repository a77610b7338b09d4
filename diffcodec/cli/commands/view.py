"""`diffcodec view`."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch.inputs import STANDARD, Input
from diffcodec.cli.batch.outputs import check_folder, check_suffix, check_writable, outputs, write_output
from diffcodec.cli.failures import printable, warn
from diffcodec.cli.options import complete_file, restoring_options
from diffcodec.cli.streams import codec_for, parse_input
from diffcodec.config import Precision

if TYPE_CHECKING:
    from diffcodec.images import Keep


@click.command("view")
@click.argument("file", shell_complete=complete_file)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="Output page; - for standard output.  [default: beside the input, as .html]",
)
@click.option("--original", metavar="IMAGE", shell_complete=complete_file, help="The original picture, for comparison.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the web browser.")
@click.option("--partial", is_flag=True, help="Accept a cut or damaged file, and show its intact steps.")
@restoring_options
@click.option("--force", is_flag=True, help="Overwrite an existing page.")
def command(
    file: str,
    out: str | None,
    original: str | None,
    open_page: bool,
    partial: bool,
    model: str | None,
    allow_pickle: bool,
    tables: str | None,
    max_pixels: int,
    max_pixel_evaluations: int,
    device: str,
    precision: Precision,
    force: bool,
) -> None:
    """Make a web page that shows a .dfc file.

    It shows the restoration of every prefix of FILE, beside the original if one is given, with zoom, difference and
    rate-distortion curve. The page is a single file that loads nothing from the internet. FILE may be - for standard
    input.
    """
    (target,) = outputs([Input(file, os.path.basename(file))], out, ".html", many=False)
    if open_page and target == STANDARD:
        raise click.UsageError("--open needs the page in a file: pass -o FILE.")
    check_suffix(target, "a web page", ".html")
    for source in (file, original or STANDARD):
        check_writable(target, force, source)
    check_folder(target)

    stream = parse_input(file, partial=partial, max_pixels=max_pixels)

    from tqdm import tqdm

    from diffcodec.images import read_picture
    from diffcodec.view import make_page

    # In the colour space of the file's pixels. Only the first frame can have been compressed.
    keep: Keep = "nothing" if stream.container.metadata is None else "meaning"
    picture = None if original is None else read_picture(original, max_pixels=max_pixels, first_frame=True, keep=keep)
    codec = codec_for(stream, model, allow_pickle=allow_pickle, tables=tables, device=device, precision=precision)
    shown = 0  # steps
    with tqdm(unit="step", leave=False, disable=None) as bar:

        def progress(done: int, steps: int) -> None:
            nonlocal shown
            shown = done
            bar.total = steps
            bar.update(done - bar.n)

        page = make_page(
            codec,
            stream,
            original=picture,
            original_name=original or "",
            progress=progress,
            max_pixel_evaluations=max_pixel_evaluations,
        )
    write_output(target, force, lambda opened: opened.write(page.encode()))
    if (problem := stream.reading.problem) is not None:
        made = "the page" if target == STANDARD else target
        what = f"{made} shows the steps before that" if shown else f"no step is complete: {made} shows pure noise"
        warn(f"{stream.name} {problem}; {what}")
    if target == STANDARD:
        return
    click.echo(printable(f"{file} -> {target}: {len(page.encode()):,} bytes"))
    if open_page and not webbrowser.open(Path(target).resolve().as_uri()):
        warn(f"could not start a web browser: open {target} in one")
