"""What `--quality` gives: bytes, PSNR and SSIMULACRA 2 of photographs, and how they look beside AVIF.

    python benchmarks/qualities.py table --data KODAK                      # goes on where it was stopped
    python benchmarks/qualities.py table --data KODAK --from-results
    python benchmarks/qualities.py figure --picture kodim23.png --draw docs/images/qualities.png

The table has a row for every quality: the mean over the pictures, the least and the largest score, and whether bytes
and scores rise with the quality on every picture.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from files_of_size import largest_avif
from numpy.typing import NDArray
from photo_folder import middle, photo_paths
from PIL import Image, ImageDraw, ImageFont

from diffcodec import DiffusionCodec, Picture, read_picture
from diffcodec.evaluation.summary_table import aligned
from diffcodec.files import atomic_write
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.images.visibility import in_colour, measure_ssimulacra2
from diffcodec.model.locations import PHOTO_MODEL

QUALITIES = tuple(range(10, 100, 10))
SHOWN = (20, 40, 60, 80)
RESULTS = Path(__file__).parent / "results" / "qualities.json"
GAP, LABEL = 6, 34
"""Pixels between pictures, and of a line of text."""


def measured(codec: DiffusionCodec, pixels: NDArray[np.uint8], quality: int) -> dict[str, Any]:
    """A picture's file at a quality."""
    stream = codec.compress(Picture(pixels), quality=quality, measure=False)
    restored = codec.decompress(stream).pixels
    return {
        "timestep": stream.report.timestep,
        "bytes": stream.report.file_bytes,
        "bpp": stream.report.bpp,
        "psnr_db": psnr_db(squared_error(pixels, restored)),
        "ssimulacra2": measure_ssimulacra2(pixels, restored),
    }


def table_of(pictures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The table, and below it what does not rise."""
    lines = [["quality", "bits/pixel", "PSNR", "SSIMULACRA 2", "least", "largest"]]
    for quality in QUALITIES:
        rows = [rows[str(quality)] for rows in pictures.values() if str(quality) in rows]
        if not rows:
            continue
        scores = [row["ssimulacra2"] for row in rows]
        means = [float(np.mean([row[name] for row in rows])) for name in ("bpp", "psnr_db", "ssimulacra2")]
        lines.append(
            [str(quality), f"{means[0]:.3f}", *(f"{each:.1f}" for each in (*means[1:], min(scores), max(scores)))]
        )
    falling = [
        f"{name}: {quantity} does not rise from quality {before} to {after}"
        for name, rows in pictures.items()
        for quantity in ("bytes", "ssimulacra2")
        for before, after in pairwise(sorted(map(int, rows)))
        if rows[str(before)][quantity] >= rows[str(after)][quantity]
    ]
    return "\n".join([aligned(lines), f"{len(pictures)} pictures", *(falling or ["Bytes and scores always rise."])])


@click.group(help=__doc__)
def main() -> None:
    """Measure or draw."""


@main.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--limit", type=int)
@click.option("--model", default=PHOTO_MODEL, show_default=True)
@click.option("--from-results", is_flag=True, help="Print the table of what has been measured.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS)
def table(data: Path, limit: int | None, model: str, from_results: bool, results: Path) -> None:
    """Measure all pictures at all qualities."""
    known = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    codec = None if from_results else DiffusionCodec.from_pretrained(model)
    if codec is not None and known.get("model") != codec.fingerprint.hex():
        known = {"model": codec.fingerprint.hex(), "pictures": {}}
    for path in photo_paths(data)[:limit] if codec else ():
        assert codec is not None
        rows = known["pictures"].setdefault(path.stem, {})
        pixels = in_colour(read_picture(path).pixels)
        for quality in QUALITIES:
            if str(quality) not in rows:
                rows[str(quality)] = measured(codec, pixels, quality)
                with atomic_write(results, overwrite=True) as file:
                    file.write(json.dumps(known, indent=1).encode())
                click.echo(f"{path.stem} {quality} {rows[str(quality)]}", err=True)
    click.echo(table_of(known["pictures"]))


@main.command()
@click.option("--picture", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--model", default=PHOTO_MODEL, show_default=True)
@click.option("--side", default=256, show_default=True, help="Of the square in the middle that is shown.")
@click.option("--draw", type=click.Path(dir_okay=False, path_type=Path), required=True)
def figure(picture: Path, model: str, side: int, draw: Path) -> None:
    """Draw a photograph at four qualities, and AVIF's files of at most the same bytes."""
    codec, pixels = DiffusionCodec.from_pretrained(model), in_colour(read_picture(picture).pixels)
    columns = []
    for quality in SHOWN:
        stream = codec.compress(Picture(pixels), quality=quality, measure=False)
        ours, size = codec.decompress(stream).pixels, len(stream.data)
        their_size, theirs = largest_avif(pixels, size) or (0, None)
        columns.append((quality, size, ours, their_size, theirs))
    width = (side + GAP) * (len(SHOWN) + 1) - GAP
    sheet = Image.new("RGB", (width, 2 * (side + LABEL)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    sheet.paste(Image.fromarray(middle(pixels, side)), (0, LABEL))
    pen.text((2, 8), "original", "black", font)
    for place, (quality, size, ours, their_size, theirs) in enumerate(columns, 1):
        left = place * (side + GAP)
        for row, (name, count, found) in enumerate((("diffcodec", size, ours), ("AVIF", their_size, theirs))):
            top = row * (side + LABEL)
            if found is None:
                pen.text((left + 2, top + 8), "AVIF: no file is as small", "black", font)
                continue
            score = measure_ssimulacra2(pixels, found)
            label = f"{name}{f' q{quality}' if not row else ''}: {count / 1000:.1f} KB, {score:.0f}"
            pen.text((left + 2, top + 8), label, "black", font)
            sheet.paste(Image.fromarray(middle(found, side)), (left, top + LABEL))
    sheet.save(draw)


if __name__ == "__main__":
    main()
