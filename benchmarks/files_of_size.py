"""Files of other codecs of about given bytes, to look at beside ours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.evaluation.baselines import Baseline, all_baselines
from diffcodec.images.visibility import in_colour


def largest_avif(pixels: NDArray[np.uint8], size: int) -> tuple[int, NDArray[np.uint8]] | None:
    """Bytes of the file of the highest quality that fits, and what it restores to; None if none fits.

    Args:
        pixels: of the picture, (H, W, 3).
        size: bytes that the file may have.
    """
    avif = next(each for each in all_baselines() if each.name == "avif")
    tried = files_around(avif, Image.fromarray(pixels), size + 1, 0, 100)
    fitting = max((quality for quality, data in tried.items() if len(data) <= size), default=None)
    if fitting is None:
        return None
    data = tried[fitting]
    return len(data), in_colour(np.asarray(avif.decode(data).convert("RGB")))


def files_around(baseline: Baseline, image: Image.Image, size: int, low: int, high: int) -> dict[int, bytes]:
    """Files of a codec by setting, ever nearer to a length: found by halving the range of whole settings.

    Lengths rise with the setting but for little exceptions.

    Args:
        baseline: the codec.
        image: the picture.
        size: in bytes.
        low, high: least and greatest setting.
    """
    tried = dict[int, bytes]()
    while low <= high:
        setting = (low + high) // 2
        tried[setting] = baseline.encode(image, float(setting))
        if len(tried[setting]) < size:
            low = setting + 1
        else:
            high = setting - 1
    return tried
