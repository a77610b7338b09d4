"""What each decoder makes of the same files of photographs, beside AVIF at the same bytes: scores and a sheet.

    python benchmarks/looks.py --data KODAK --draw looks.webp
    python benchmarks/looks.py --data KODAK --before older.safetensors --draw looks.webp    # beside an older model

Files of 0.03, 0.06, 0.12 and 0.25 bits a pixel. The last line says by how much `auto` falls short of the better of
`mean` and `flow`, in points of SSIMULACRA 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from files_of_size import largest_avif
from numpy.typing import NDArray
from photo_folder import middle, photo_paths
from PIL import Image, ImageDraw, ImageFont

from diffcodec import DiffusionCodec, Picture, Target, read_picture
from diffcodec.coding.reconstruction import ReconstructionKind
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.images.visibility import in_colour, measure_ssimulacra2
from diffcodec.model.locations import PHOTO_MODEL

RATES = (0.03, 0.06, 0.12, 0.25)
"""Bits a pixel."""

DECODERS: tuple[ReconstructionKind, ...] = ("mean", "short-flow", "flow", "auto")
OLD_DECODERS: tuple[ReconstructionKind, ...] = ("mean", "flow")
"""Those of release 0.5."""

BEFORE = "before: "
AVIF = "AVIF"
GAP, LABEL = 4, 22
"""Pixels between pictures, and of a line of text."""

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3)."""


@dataclass(frozen=True)
class Look:
    """A restored picture.

    Args:
        file_bytes: of its file.
        pixels: as restored.
        score: SSIMULACRA 2; NaN for pictures that are too small.
        psnr_db: of all channels.
    """

    file_bytes: int
    pixels: Pixels
    score: float
    psnr_db: float

    @classmethod
    def of(cls, original: Pixels, restored: Pixels, size: int) -> Look:
        """Measure what was restored of a file of so many bytes."""
        score, decibels = measure_ssimulacra2(original, restored), psnr_db(squared_error(original, restored))
        return cls(size, restored, math.nan if score is None else score, math.inf if decibels is None else decibels)

    @property
    def bpp(self) -> float:
        """Bits a pixel of the file."""
        height, width, _ = self.pixels.shape
        return float(8 * self.file_bytes / (height * width))


def looks(
    codec: DiffusionCodec, original: Pixels, rate: float, decoders: Sequence[ReconstructionKind], label: str = ""
) -> dict[str, Look]:
    """A picture's file of a rate, restored by each decoder, by the decoder's name after the label."""
    data = codec.compress(Picture(original), target=Target.bpp(rate), measure=False).data
    return {
        label + name: Look.of(original, codec.decompress(data, reconstruction=name).pixels, len(data))
        for name in decoders
    }


def sheet_of(rows: list[tuple[str, Pixels, dict[str, Look]]], names: Sequence[str], side: int) -> Image.Image:
    """A row for each picture and rate, a column for the original and each of the names."""
    sheet = Image.new("RGB", ((side + GAP) * (len(names) + 1) - GAP, (side + LABEL) * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (label, original, found) in enumerate(rows):
        top = row * (side + LABEL)
        pen.text((2, top + 4), label, "black", font)
        sheet.paste(Image.fromarray(middle(original, side)), (0, top + LABEL))
        for column, name in enumerate(names, 1):
            left = column * (side + GAP)
            look = found.get(name)
            text = f"{name}: {look.bpp:.3f}, {look.score:.0f}" if look else f"{name}: no file is as small"
            pen.text((left + 2, top + 4), text, "black", font)
            if look:
                sheet.paste(Image.fromarray(middle(look.pixels, side)), (left, top + LABEL))
    return sheet


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--pictures", default="kodim04,kodim07,kodim15,kodim23", show_default=True, help="Names without suffix.")
@click.option("--rates", default=",".join(map(str, RATES)), show_default=True, help="Bits a pixel.")
@click.option("--model", default=PHOTO_MODEL, show_default=True)
@click.option("--before", help="Bundled model or model file to show beside it.")
@click.option("--side", default=240, show_default=True, help="Of the square in the middle that is drawn.")
@click.option(
    "--draw", type=click.Path(dir_okay=False, path_type=Path), help="Where the sheet goes, such as looks.webp."
)
def main(data: Path, pictures: str, rates: str, model: str, before: str | None, side: int, draw: Path | None) -> None:
    """Measure, print and draw."""
    codec = DiffusionCodec.from_pretrained(model)
    older = DiffusionCodec.from_pretrained(before) if before else None
    paths = {path.stem: path for path in photo_paths(data)}
    names = [*(BEFORE + name for name in OLD_DECODERS if older), *DECODERS, AVIF]
    lines = [["picture", "bits/pixel", *(f"{name}, dB" for name in names)]]
    rows, short = [], []
    for name in pictures.split(","):
        if name not in paths:
            raise click.UsageError(f"there is no picture {name} in {data}")
        original = in_colour(read_picture(paths[name]).pixels)
        for rate in map(float, rates.split(",")):
            found = looks(codec, original, rate, DECODERS)
            if (theirs := largest_avif(original, found["auto"].file_bytes)) is not None:
                found[AVIF] = Look.of(original, theirs[1], theirs[0])
            if older:
                found |= looks(older, original, rate, OLD_DECODERS, BEFORE)
            cells = [f"{found[each].score:.1f}, {found[each].psnr_db:.2f}" if each in found else "-" for each in names]
            lines.append([name, f"{found['auto'].bpp:.3f}", *cells])
            short.append(max(found["mean"].score, found["flow"].score) - found["auto"].score)
            rows.append((f"{name}, {rate} bits/pixel", original, found))
    click.echo(aligned(lines))
    click.echo(f"auto falls short of the better of mean and flow by {max(short):.2f} points at most")
    if draw:
        drawn = [name for name in names if name != "auto"]  # it is one of the others
        sheet_of(rows, drawn, side).save(draw, quality=90)


if __name__ == "__main__":
    main()
