"""Pictures of a folder, or the middles of them, for benchmarks of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffcodec.images import read_picture
from diffcodec.images.visibility import in_colour
from diffcodec.training.data import IMAGE_SUFFIXES


def read_photos(folder: Path, limit: int | None = None, crop: int | None = None) -> list[NDArray[np.uint8]]:
    """The first pictures of a folder by name, (H, W, 3).

    Args:
        folder: of pictures; other files are skipped.
        limit: number of pictures; None for all.
        crop: side of a square from the middle; None for whole pictures.
    """
    pictures = [in_colour(read_picture(path).pixels) for path in photo_paths(folder)[:limit]]
    return [(pixels if crop is None else middle(pixels, crop)).copy() for pixels in pictures]


def photo_paths(folder: Path) -> list[Path]:
    """The pictures of a folder by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def middle(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square of this side from the middle, or as much of it as there is."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
