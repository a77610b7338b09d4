"""Scores of SSIMULACRA 2 on JPEG files: as the package ssimulacra2 computes them, and as `measure_ssimulacra2` does.

    python benchmarks/ssimulacra2_scores.py --data KODAK
    python benchmarks/ssimulacra2_scores.py --data KODAK --reference ssimulacra2         # libjxl's program
    python benchmarks/ssimulacra2_scores.py --data KODAK --crop 200                      # the package lacks a scale

Prints the mean score, and the means and largest values of the differences. A reference is any program that takes two
PNG files and prints their score, such as libjxl's `ssimulacra2`; without one, differences are from
`measure_ssimulacra2`. docs/evaluation.md has the results.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from ssimulacra2 import compute_ssimulacra2

from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import Picture, read_picture, write_picture
from diffcodec.images.visibility import measure_ssimulacra2

Pixels = NDArray[np.uint8]
Score = Callable[[Pixels, Pixels], float]


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The pixels of a JPEG file, 4:2:0."""
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def of_package(original: Pixels, restored: Pixels) -> float:
    """The score of the package, which reads files."""
    files = []
    for pixels in (original, restored):
        write_picture(Picture(pixels), file := io.BytesIO())
        file.seek(0)
        files.append(file)
    return float(compute_ssimulacra2(*files))


def of_diffcodec(original: Pixels, restored: Pixels) -> float:
    """The score of this package, for pictures that are large enough."""
    score = measure_ssimulacra2(original, restored)
    assert score is not None
    return score


def of_program(program: str) -> Score:
    """The score that a program prints."""

    def score(original: Pixels, restored: Pixels) -> float:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("original.png", "restored.png")]
            for path, pixels in zip(paths, (original, restored), strict=True):
                write_picture(Picture(pixels), path)
            done = subprocess.run([program, *paths], capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    return score


def table(pictures: Sequence[Pixels], qualities: Sequence[int], reference: Score | None) -> str:
    """A line for each quality."""
    head = ("quality", "score", "package", "largest", "diffcodec", "largest")
    lines: list[tuple[str, ...]] = [head if reference else head[:4]]
    for quality in qualities:
        pairs = [(pixels, as_jpeg(pixels, quality)) for pixels in pictures]
        truth = np.array([(reference or of_diffcodec)(*pair) for pair in pairs])
        cells = [str(quality), f"{truth.mean():.1f}"]
        for score in (of_package, of_diffcodec) if reference else (of_package,):
            apart = np.array([score(*pair) for pair in pairs]) - truth
            cells += [f"{apart.mean():.2f}", f"{np.abs(apart).max():.2f}"]
        lines.append(tuple(cells))
    return aligned(lines)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Pictures.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Number of pictures.")
@click.option("--crop", type=click.IntRange(113), help="Take squares of this side from their corners.")
@click.option("--qualities", default="10,20,35,50,70,85,95", show_default=True, help="Of the JPEG files.")
@click.option("--reference", metavar="PROGRAM", help="Prints the score of two PNG files.")
def command(data: Path, limit: int, crop: int | None, qualities: str, reference: str | None) -> None:
    """Compare computations of SSIMULACRA 2."""
    paths = sorted(data.glob("*.png"))[:limit]
    pictures = [read_picture(path).pixels[:crop, :crop].copy() for path in paths]
    steps = [int(quality) for quality in qualities.split(",")]
    click.echo(table(pictures, steps, None if reference is None else of_program(reference)))
    pair = pictures[0], as_jpeg(pictures[0], 50)
    for name, score in (("package", of_package), ("diffcodec", of_diffcodec)):
        start = time.perf_counter()
        score(*pair)
        seconds = time.perf_counter() - start
        click.echo(f"{name}: {seconds:.2f} s for {pair[0].shape[1]} x {pair[0].shape[0]} pixels")


if __name__ == "__main__":
    command()
