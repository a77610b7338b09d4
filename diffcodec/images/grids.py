"""Combines pictures: grids, strips, and animations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ImageError
from diffcodec.images import Picture, picture_to_pil

GAP = 2
"""Width of the white gap between pictures, in pixels."""

ANIMATED_FORMATS = {".apng": "PNG", ".webp": "WEBP"}
"""Pillow's formats of animations, by the suffix of the file."""


def grid(pictures: NDArray[np.uint8], columns: int, zoom: int = 1) -> Picture:
    """Pictures in rows, one after another, with white gaps between them.

    Args:
        pictures: (N, H, W, 3), N at least 1.
        columns: pictures in a row.
        zoom: factor by which pixels are enlarged, in both directions.
    """
    count, height, width = pictures.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    step_down, step_right = zoom * height + GAP, zoom * width + GAP
    sheet = np.full((rows * step_down - GAP, columns * step_right - GAP, 3), 255, np.uint8)
    for place, pixels in enumerate(pictures):
        top, left = place // columns * step_down, place % columns * step_right
        enlarged = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
        sheet[top : top + zoom * height, left : left + zoom * width] = enlarged
    return Picture(sheet)


def write_animation(frames: Sequence[Picture], file: BinaryIO, format: str, seconds: float = 4.0) -> None:
    """Writes pictures of one size as an endless lossless animation.

    Args:
        frames: at least one. The last one is shown as long as all others together.
        file: open for writing.
        format: PNG or WEBP.
        seconds: from the first to the last frame.

    Raises:
        ImageError: if the format cannot hold it.
    """
    first, *others = [picture_to_pil(frame) for frame in frames]
    each = max(20, round(1000 * seconds / max(1, len(others))))
    options = {"lossless": True} if format == "WEBP" else {}
    try:
        first.save(
            file,
            format,
            save_all=True,
            append_images=others,
            loop=0,
            duration=[each] * len(others) + [round(1000 * seconds)],
            **options,
        )
    except (RuntimeError, ValueError) as error:  # raised by Pillow if the picture is too large for the format
        size = f"{first.width} x {first.height}"
        raise ImageError(f"a {format} animation of {size} pixels cannot be written: {error}") from error
