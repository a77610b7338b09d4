"""Cuts photographs into crops at several scales: what `photo-small` is trained on, as grids for `diffcodec train`.

    python benchmarks/photo_crops.py --lossless PNG_FOLDER --jpeg JPEG_FOLDER --out crops --every 20

JPEG files are shrunk at least by half, which takes the traces of their blocks away. Every 20th picture is held out; one
crop of each of these makes the grid for `diffcodec calibrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from photo_folder import photo_paths
from PIL import Image

from diffcodec.training.photographs import opened, upright

Crop = NDArray[np.uint8]

GRID_COLUMNS = 100
CROPS_A_FILE = 8000
GREY_SHARE = 0.02
"""Part of the crops that is made grey: people have such pictures, too."""


def photographs(folder: Path | None) -> list[Path]:
    """Pictures of a folder, by name."""
    return photo_paths(folder) if folder else []


def shrunk(image: Image.Image, factor: float, rng: np.random.Generator) -> Image.Image:
    """Smaller by a factor: averaged, as the codec does it, or filtered, as cameras do."""
    size = round(image.width / factor), round(image.height / factor)
    return image.resize(size, Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.LANCZOS)


def crops(image: Image.Image, side: int, count: int, rng: np.random.Generator) -> list[Crop]:
    """Crops at random places; none of an image that is too small."""
    if min(image.size) < side:
        return []
    pixels = np.asarray(image)
    places = rng.integers(0, (image.height - side + 1, image.width - side + 1), (count, 2))
    return [pixels[y : y + side, x : x + side] for y, x in places]


def crops_at_scales(image: Image.Image, least: float, side: int, rng: np.random.Generator) -> list[Crop]:
    """Crops of one photograph, most of them at the largest scale.

    Args:
        image: the photograph, RGB.
        least: by how much it is shrunk at least.
        side: of a crop.
        rng: chooses places and scales.
    """
    large = shrunk(image, least * rng.uniform(1, 1.25), rng) if least > 1 else image
    found = crops(large, side, 6, rng)
    most = min(image.size) / side
    for factor, count in ((1.5 * least, 2), (2 * least, 2), (4 * least, 1)):
        if factor * 1.2 < most:
            found += crops(shrunk(image, factor * rng.uniform(1, 1.2), rng), side, count, rng)
    return found


def write_grid(tiles: Sequence[Crop], columns: int, path: Path) -> int:
    """Crops as one picture, in full rows; what is left over is left out. Returns how many there are in it."""
    rows = len(tiles) // columns
    side = tiles[0].shape[0]
    grid = np.stack(tiles[: rows * columns]).reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    Image.fromarray(grid.reshape(rows * side, columns * side, 3)).save(path)
    return rows * columns


@click.command()
@click.option("--lossless", type=click.Path(path_type=Path, exists=True, file_okay=False), help="PNG and the like.")
@click.option("--jpeg", type=click.Path(path_type=Path, exists=True, file_okay=False), help="JPEG: shrunk by half.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the grids.")
@click.option("--side", type=click.IntRange(16, 512), default=96, show_default=True, help="Of a training crop.")
@click.option("--held-side", type=click.IntRange(16, 512), default=192, show_default=True, help="Of one held out.")
@click.option("--every", type=click.IntRange(2), default=20, show_default=True, help="Every so manieth is held out.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(lossless: Path | None, jpeg: Path | None, out: Path, side: int, held_side: int, every: int, seed: int) -> None:
    """Write OUT/crops-*.bmp for training and OUT/held.png for calibration."""
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    training: list[Crop] = []
    held: list[Crop] = []
    for folder, least in ((lossless, 1.0), (jpeg, 2.0)):
        for index, path in enumerate(photographs(folder)):
            with opened(path) as image:
                picture = upright(image)
            if index % every == 0:
                held += crops(shrunk(picture, least, rng) if least > 1 else picture, held_side, 1, rng)
            else:
                training += crops_at_scales(picture, least, side, rng)
    if len(training) < GRID_COLUMNS or len(held) < 8:
        raise click.UsageError("there are not enough photographs: name folders with --lossless and --jpeg")
    order = rng.permutation(len(training))
    for index in order[: round(GREY_SHARE * len(order))]:
        grey = np.rint(training[index] @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        training[index] = np.repeat(grey[..., None], 3, axis=2)
    order = rng.permutation(order)
    written = 0
    for number, start in enumerate(range(0, len(order), CROPS_A_FILE)):
        some = [training[index] for index in order[start : start + CROPS_A_FILE]]
        if len(some) >= GRID_COLUMNS:
            written += write_grid(some, GRID_COLUMNS, out / f"crops-{number}.bmp")
    held_out = write_grid(held, 8, out / "held.png")
    click.echo(f"{written} crops of {side} x {side} and {held_out} held out, in {out}")


if __name__ == "__main__":
    main()
