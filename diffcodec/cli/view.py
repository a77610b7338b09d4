"""`diffcodec view`."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffcodec.cli.failures import printable, warn
from diffcodec.cli.inputs import STANDARD, Input, label, read_input
from diffcodec.cli.options import (
    allow_pickle_option,
    complete_file,
    device_option,
    max_pixels_option,
    model_option,
)
from diffcodec.cli.outputs import check_folder, check_suffix, check_writable, outputs, write_output
from diffcodec.cli.streams import check_stream, codec_for

if TYPE_CHECKING:
    from diffcodec.images import Keep


@click.command("view")
@click.argument("file", shell_complete=complete_file)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="The page; - for standard output.  [default: beside the input, as .html]",
)
@click.option(
    "--original",
    metavar="IMAGE",
    shell_complete=complete_file,
    help="The picture that the file was made from, to compare with.",
)
@click.option("--open", "open_page", is_flag=True, help="Show the page in the web browser.")
@click.option("--partial", is_flag=True, help="Show the complete steps of a file that has been cut.")
@model_option("the bundled one that made the file")
@allow_pickle_option
@max_pixels_option
@device_option
@click.option("--force", is_flag=True, help="Overwrite an existing page.")
def command(
    file: str, out: str | None, original: str | None, open_page: bool, partial: bool, model: str | None,
    allow_pickle: bool, max_pixels: int, device: str, force: bool,
) -> None:  # fmt: skip
    """Make a page to look at a .dfc file in a web browser.

    It shows what every prefix of FILE restores, beside the original if that is given, with zoom, difference and
    rate-distortion curve. It is one file that needs no network. FILE may be - for standard input.
    """
    (target,) = outputs([Input(file, os.path.basename(file))], out, ".html", many=False)
    if open_page and target == STANDARD:
        raise click.UsageError("--open needs a page in a file: pass -o FILE.")
    check_suffix(target, "a web page", ".html")
    for source in (file, original or STANDARD):
        check_writable(target, force, source)
    check_folder(target)

    data = read_input(file)
    container = check_stream(data, partial=partial, max_pixels=max_pixels, name=label(file)).container

    from tqdm import tqdm

    from diffcodec.images import read_picture
    from diffcodec.view import make_page

    # In the colours that the file's pixels are in; which frame was taken, a file does not say, but it can be no other.
    keep: Keep = "nothing" if container.metadata is None else "meaning"
    picture = None if original is None else read_picture(original, max_pixels=max_pixels, first_frame=True, keep=keep)
    codec = codec_for(data, model, name=label(file), device=device, allow_pickle=allow_pickle)
    with tqdm(unit="step", leave=False, disable=None) as bar:

        def progress(done: int, steps: int) -> None:
            bar.total = steps
            bar.update(done - bar.n)

        page = make_page(
            codec, data, original=picture, partial=partial, max_pixels=max_pixels, name=label(file),
            original_name=original or "", progress=progress,
        )  # fmt: skip
    write_output(target, force, lambda opened: opened.write(page.encode()))
    if target == STANDARD:
        return
    click.echo(printable(f"{file} -> {target}: {len(page.encode()):,} bytes"))
    if open_page and not webbrowser.open(Path(target).resolve().as_uri()):
        warn(f"no web browser could be started: open {target} in one")
