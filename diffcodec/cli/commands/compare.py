"""`diffcodec compare`."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from diffcodec.bitstream.layout import MAGIC
from diffcodec.cli.batch.inputs import STANDARD, label, read_input
from diffcodec.cli.batch.outputs import check_writable
from diffcodec.cli.failures import note, printable
from diffcodec.cli.options import complete_file, restoring_options
from diffcodec.cli.pictures import check_target, write_sheet
from diffcodec.cli.streams import codec_for
from diffcodec.config import Precision

if TYPE_CHECKING:
    from diffcodec.evaluation.comparison import Comparison
    from diffcodec.images import Picture


@dataclass(frozen=True)
class Side:
    """One of the two files.

    Args:
        name: of the file.
        picture: in sRGB.
        bytes: length of the file.
        timestep: of a .dfc file; None for others.
    """

    name: str
    picture: Picture
    bytes: int
    timestep: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What is printed of the file."""
        picture = self.picture
        return {
            "file": self.name,
            "width": picture.width,
            "height": picture.height,
            "mode": picture.mode,
            "timestep": self.timestep,
            "bytes": self.bytes,
            "bpp": 8 * self.bytes / (picture.width * picture.height),
        }

    def line(self, letter: str) -> str:
        """The facts in a line."""
        facts = self.facts
        end = "" if self.timestep is None else f", t = {self.timestep:g}"
        return (
            f"{letter}             {self.name}: {facts['width']} x {facts['height']} {facts['mode']}, "
            f"{self.bytes:,} bytes, {facts['bpp']:.3f} bpp{end}"
        )


@click.command("compare", short_help="Compare two pictures: PSNR, MS-SSIM, SSIMULACRA 2, sizes.")
@click.argument("original", metavar="A", shell_complete=complete_file)
@click.argument("other", metavar="B", shell_complete=complete_file)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option(
    "--difference",
    "drawn",
    metavar="OUT",
    shell_complete=complete_file,
    help="Write |A - B| times the gain as a picture, black where they are equal; format by its name.",
)
@click.option(
    "--gain",
    type=click.IntRange(1, 255),
    default=8,
    show_default=True,
    help="Amplification of --difference; products beyond 255 are clipped.",
)
@click.option("--first-frame", is_flag=True, help="Use the first frame of animations, and the first page of documents.")
@restoring_options
@click.option("--force", is_flag=True, help="Overwrite an existing picture.")
def command(
    original: str,
    other: str,
    as_json: bool,
    drawn: str | None,
    gain: int,
    first_frame: bool,
    model: str | None,
    allow_pickle: bool,
    tables: str | None,
    max_pixels: int,
    max_pixel_evaluations: int,
    device: str,
    precision: Precision,
    force: bool,
) -> None:
    """Compare two pictures: PSNR, RMSE, MS-SSIM, SSIMULACRA 2 and file sizes.

    A is the original, and B is measured against it. Each is a picture file or a .dfc file, which is restored; one may
    be - for standard input. Both are compared in sRGB, and in colour if one of them is. Transparent pictures are
    compared over a dark and over a light background, and the worse figure counts.
    """
    if original == other == STANDARD:
        raise click.UsageError("Only one of A and B can be standard input.")
    if drawn == STANDARD:
        raise click.UsageError("--difference needs the name of a file.")
    if drawn is not None:
        for source in (original, other):
            check_writable(drawn, force, source, "--difference")
        check_target(drawn, force, "--difference")

    from diffcodec.coding.stream import ParsedStream
    from diffcodec.evaluation.comparison import compare, difference, in_srgb

    def side(source: str) -> Side:
        data = read_input(source)
        if not source.lower().endswith(".dfc") and not data.startswith(MAGIC):
            return Side(label(source), decoded(data, label(source), max_pixels, first_frame), len(data))
        stream = ParsedStream.parse(data, max_pixels=max_pixels, name=label(source))
        codec = codec_for(stream, model, allow_pickle=allow_pickle, tables=tables, device=device, precision=precision)
        restored = codec.decompress(stream, max_pixel_evaluations=max_pixel_evaluations)
        return Side(label(source), in_srgb(restored.picture), len(data), restored.timestep)

    a, b = side(original), side(other)
    found = compare(a.picture, b.picture, (a.name, b.name))
    if drawn is not None:
        write_sheet(difference(a.picture, b.picture, gain, (a.name, b.name)), drawn, force)
    if as_json:
        made = None if drawn is None else {"file": drawn, "gain": gain}
        click.echo(json.dumps({"a": a.facts, "b": b.facts, **asdict(found), "difference": made}))
        return
    for text in (*(f"{each.name}: {text}" for each in (a, b) for text in each.picture.notes), *found.notes):
        note(text)
    for line in (a.line("A"), b.line("B"), *figures(found)):
        click.echo(printable(line))
    if drawn is not None:
        full = -(-255 // gain)
        click.echo(printable(f"difference    {drawn}: |A - B| x {gain}, clipped at 255 (from {full} grey levels on)"))


def decoded(data: bytes, name: str, max_pixels: int, first_frame: bool) -> Picture:
    """The picture in a picture file."""
    from diffcodec.images import read_picture

    file = io.BytesIO(data)
    file.name = name
    return read_picture(file, max_pixels=max_pixels, first_frame=first_frame)


def figures(found: Comparison) -> list[str]:
    """A line for each figure."""
    psnr = "infinite: the pictures are equal" if found.psnr_db is None else f"{found.psnr_db:.2f} dB"
    lines = [f"PSNR          {psnr}", f"RMSE          {found.rmse:.3f} grey levels"]
    for name, title, digits in (("ms_ssim", "MS-SSIM", 4), ("ssimulacra2", "SSIMULACRA 2", 2)):
        value = getattr(found, name)
        shown = f"missing: {found.missing[name].removeprefix(f'{title} ')}" if value is None else f"{value:.{digits}f}"
        lines.append(f"{title:<12}  {shown}")
    return lines
