"""Seed corpora: what the fuzzers start from.

python -m fuzz.seeds TARGET FOLDER
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, features

from diffcodec.conformance.cases import Suite
from fuzz.targets import MODELS

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "GIF", "ICO", "TGA", "PCX", "SGI", "AVIF", "QOI")
TIFF_COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4")
MODES = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16")


def seeds_of(target: str) -> Iterator[bytes]:
    """The seeds of a target."""
    if target in ("container", "decode"):
        for case in Suite.bundled().cases():
            yield case.file.read_bytes()
    elif target == "models":
        for name in MODELS:
            yield Suite.bundled().model(name).read_bytes()
    else:
        yield from picture_files()


def picture_files() -> Iterator[bytes]:
    """Small pictures in all formats and modes that Pillow can write here."""
    rows, columns = np.mgrid[:12, :16]
    colours = Image.fromarray(np.stack([8 * rows, 9 * columns, 255 - 5 * rows], axis=-1).astype(np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in MODES:
        image = colours.convert("L").convert("I").convert("I;16") if mode == "I;16" else colours.convert(mode)
        for form in FORMATS:
            if form == "AVIF" and not features.check("avif"):
                continue
            yield from _saved(image, form)
        for compression in TIFF_COMPRESSIONS:
            yield from _saved(image, "TIFF", compression=compression)
    for form in ("PNG", "JPEG", "WEBP", "TIFF"):
        yield from _saved(colours, form, icc_profile=profile, exif=exif)
    yield from _saved(colours, "GIF", save_all=True, append_images=[colours.rotate(90)])
    yield from _saved(colours, "JPEG", progressive=True)


def _saved(image: Image.Image, form: str, **options: object) -> Iterator[bytes]:
    """The picture as a file, if the format has its mode."""
    file = io.BytesIO()
    try:
        image.save(file, form, **options)
    except (OSError, ValueError, KeyError):
        return
    yield file.getvalue()


def write_seeds(target: str, folder: Path) -> int:
    """Write a target's seeds to a folder; returns their number."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = set(seeds_of(target))
    for data in seeds:
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    return len(seeds)


if __name__ == "__main__":
    print(write_seeds(sys.argv[1], Path(sys.argv[2])), "seeds")
