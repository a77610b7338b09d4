"""AVIF's files of no more than given bytes, to look at beside ours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.evaluation.baselines import all_baselines
from diffcodec.images.visibility import in_colour


def largest_avif(pixels: NDArray[np.uint8], size: int) -> tuple[int, NDArray[np.uint8]] | None:
    """Bytes of the file of the highest quality that fits, and what it restores to; None if none fits.

    Args:
        pixels: of the picture, (H, W, 3).
        size: bytes that the file may have.
    """
    avif = next(each for each in all_baselines() if each.name == "avif")
    image, fitting, low, high = Image.fromarray(pixels), None, 0, 100
    while low <= high:
        quality = (low + high) // 2
        data = avif.encode(image, float(quality))
        if len(data) <= size:
            fitting, low = data, quality + 1
        else:
            high = quality - 1
    if fitting is None:
        return None
    return len(fitting), in_colour(np.asarray(avif.decode(fitting).convert("RGB")))
