"""Cuts photographs into tiles at several scales: what `photo-small` is trained on, as arrays for `diffcodec train`.

    python benchmarks/photo_tiles.py --lossless PNG_FOLDER --jpeg JPEG_FOLDER --out tiles

JPEG files are shrunk at least by half, which takes the traces of their blocks away, and to at most 2,100 pixels.
Every 20th picture is held out for `diffcodec calibrate`. Training takes a random crop of each tile (`--tile-size`).
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

Tile = NDArray[np.uint8]

SCALES = (1.0, 1.5, 2.0, 4.0)
"""Factors by which a picture is shrunk further: noisy levels are estimated at lower resolutions."""

LARGEST_SIDE = 2100
"""Longest side, in pixels, of a shrunk JPEG file: what cameras store has little detail at its finest scale."""

FULL_DETAIL = 8.0
"""Mean difference of neighbouring pixels, in grey levels and both directions, from which every tile is kept."""

LEAST_KEPT = 0.2
"""Share of the tiles without any detail that is kept."""

GREY_SHARE = 0.02
"""Share of the tiles that is made grey: people have such pictures, too."""


def shrunk(image: Image.Image, factor: float, rng: np.random.Generator) -> Image.Image:
    """Smaller by a factor: averaged, as the codec does it, or filtered, as cameras do."""
    if factor <= 1:
        return image
    size = round(image.width / factor), round(image.height / factor)
    return image.resize(size, Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.LANCZOS)


def tiles(image: Image.Image, side: int) -> list[Tile]:
    """The fewest tiles that cover a picture, evenly spaced; none of a picture that is too small."""
    if min(image.size) < side:
        return []
    pixels = np.asarray(image)
    tops, lefts = (
        np.unique(np.linspace(0, length - side, -(-length // side)).round().astype(int)) for length in pixels.shape[:2]
    )
    return [pixels[top : top + side, left : left + side] for top in tops for left in lefts]


def detail(tile: Tile) -> float:
    """Mean difference of neighbouring pixels, down and to the right, in grey levels."""
    grey = tile.astype(np.float32).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def tiles_at_scales(image: Image.Image, least: float, side: int, rng: np.random.Generator) -> list[Tile]:
    """Tiles of one photograph; those with little detail are left out more often.

    Args:
        image: the photograph, RGB.
        least: by how much it is shrunk at least.
        side: of a tile.
        rng: chooses tiles and scales.
    """
    found = []
    for scale in SCALES:
        factor = least * scale * (rng.uniform(1, 1.2) if scale > 1 else 1)
        for tile in tiles(shrunk(image, factor, rng), side):
            if rng.random() < np.clip(detail(tile) / FULL_DETAIL, LEAST_KEPT, 1):
                found.append(tile.copy())
    return found


def write_array(chosen: Sequence[Tile], path: Path) -> None:
    """Tiles as an array (N, side, side, 3)."""
    np.save(path, np.stack(chosen))


@click.command()
@click.option("--lossless", type=click.Path(path_type=Path, exists=True, file_okay=False), help="PNG and the like.")
@click.option("--jpeg", type=click.Path(path_type=Path, exists=True, file_okay=False), help="JPEG: shrunk by half.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the arrays.")
@click.option("--side", type=click.IntRange(16, 512), default=128, show_default=True, help="Of a tile.")
@click.option("--every", type=click.IntRange(2), default=20, show_default=True, help="Every so manieth is held out.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(lossless: Path | None, jpeg: Path | None, out: Path, side: int, every: int, seed: int) -> None:
    """Write OUT/tiles.npy for training and OUT/held.npy for calibration."""
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    training: list[Tile] = []
    held: list[Tile] = []
    for folder, is_jpeg in ((lossless, False), (jpeg, True)):
        for index, path in enumerate(photo_paths(folder) if folder else []):
            with opened(path) as image:
                picture = upright(image)
            least = max(2.0, max(picture.size) / LARGEST_SIDE) if is_jpeg else 1.0
            if index % every == 0:
                own = tiles(shrunk(picture, least, rng), side)
                held += [own[place] for place in rng.permutation(len(own))[:2]]
            else:
                training += tiles_at_scales(picture, least, side, rng)
    if not training or not held:
        raise click.UsageError("there are not enough photographs: name folders with --lossless and --jpeg")
    order = rng.permutation(len(training))
    for index in order[: round(GREY_SHARE * len(order))]:
        grey = np.rint(training[index] @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        training[index] = np.repeat(grey[..., None], 3, axis=2)
    write_array([training[index] for index in rng.permutation(order)], out / "tiles.npy")
    write_array(held, out / "held.npy")
    click.echo(f"{len(training)} tiles of {side} x {side} and {len(held)} held out, in {out}")


if __name__ == "__main__":
    main()
