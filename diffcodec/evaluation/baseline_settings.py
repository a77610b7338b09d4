"""Settings with which other codecs make their shortest files."""

from __future__ import annotations

import math
import zlib
from typing import Any

from PIL import Image

SaveOptions = dict[str, Any]
"""Keyword arguments of `PIL.Image.Image.save`."""


def _jpeg(parameter: float, subsampling: str) -> tuple[SaveOptions, ...]:
    # Progressive scans restore the same pixels: 230 bytes longer at 32 x 32, often shorter in large files.
    options = {"quality": int(parameter), "optimize": True, "subsampling": subsampling}
    return options, {**options, "progressive": True}


def jpeg_420(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """JPEG with halved chroma: the options to try, all of which restore the same pixels."""
    return _jpeg(parameter, "4:2:0")


def jpeg_444(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """JPEG with full chroma: the options to try, all of which restore the same pixels."""
    return _jpeg(parameter, "4:4:4")


def webp(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossy WebP: the options to try, all of which restore the same pixels."""
    # The slowest method, 1 to 3 % shorter than the default one at equal RMSE. Lossy WebP is always 4:2:0.
    return ({"quality": int(parameter), "method": 6},)


def webp_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossless WebP: the options to try, all of which restore the same pixels."""
    # Small pictures are often shorter with less effort: 4.74 bits/dim at (100, 6), 4.63 at (0, 4), 4.62 together.
    efforts = ((0, 4), (100, 6))
    return tuple({"lossless": True, "exact": True, "quality": quality, "method": method} for quality, method in efforts)


def avif(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """AVIF: the options to try, all of which restore the same pixels."""
    # At equal RMSE whole files of 4:4:4 are shorter than those of 4:2:0 by 1 % at RMSE 18 and by 30 % at 3, and
    # tuning for PSNR saves 2 to 6 %. Speed 2 costs 0.3 to 1 % more than 0, in a third of the time.
    tuned = {"codec": "aom", "advanced": {"tune": "psnr"}}
    return ({"quality": int(parameter), "subsampling": "4:4:4", "speed": 2, "max_threads": 1, **tuned},)


def jpegxl(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossy JPEG XL: the options to try, all of which restore the same pixels."""
    # Effort 9 is up to 6 % shorter than 7 at equal RMSE, at worst 0.4 % longer; 10 saves nothing.
    return ({"quality": int(parameter), "effort": 9, "num_threads": 1},)


def jpegxl_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossless JPEG XL: the options to try, all of which restore the same pixels."""
    # 4.13, 4.10 and 4.10 bits/dim, 4.09 together; effort 10 is longer than 9 at 32 x 32.
    return tuple({"lossless": True, "effort": effort, "num_threads": 1} for effort in (7, 8, 9))


def png(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """PNG: the options to try, all of which restore the same pixels."""
    strategies = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
    return tuple({"optimize": True, "compress_type": strategy} for strategy in strategies)


def _codestream(image: Image.Image) -> SaveOptions:
    # The JP2 boxes would add 85 bytes, OpenJPEG's name 32 (an empty comment does not replace it), and coding RGB
    # without a colour transform, Pillow's default, about 40 %.
    return {"no_jp2": True, "comment": " ", "mct": int(image.mode == "RGB")}


def _resolutions(image: Image.Image) -> int:
    # Wavelet levels down to a band of 8 pixels, at most OpenJPEG's six: shortest at 16, 32, 64 and 192 pixels. At
    # 32 x 32 each further level costs about 25 bytes, and too many are an error.
    return min(max(1, int(math.log2(min(image.size) / 8)) + 1), 6)


def jpeg2000(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossy JPEG 2000: the options to try, all of which restore the same pixels."""
    layers = {"quality_mode": "dB", "quality_layers": [parameter], "irreversible": True}
    return ({**_codestream(image), **layers, "num_resolutions": _resolutions(image)},)


def jpeg2000_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    """Lossless JPEG 2000: the options to try, all of which restore the same pixels."""
    numbers = {max(1, _resolutions(image) - 1), _resolutions(image)}
    return tuple({**_codestream(image), "num_resolutions": number} for number in sorted(numbers))
