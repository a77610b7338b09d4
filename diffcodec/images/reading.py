"""Reading pictures from files."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, ImageOps

from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.errors import ImageError, WrongTypeError, kind_of
from diffcodec.images import plugins
from diffcodec.images.colours import Keep, check_keep, picture_from_pil
from diffcodec.images.depth import bits_per_sample
from diffcodec.images.exif import exif_of, of_upright_picture
from diffcodec.images.native_messages import tiff_messages
from diffcodec.images.picture import Picture
from diffcodec.images.pillow_errors import translated
from diffcodec.images.png_profiles import without_long_profile

# Raster formats. Not EPS and the like, for which Pillow would start another program.
_READABLE = (
    "PNG",
    "JPEG",
    "MPO",
    "WEBP",
    "BMP",
    "TIFF",
    "PPM",
    "AVIF",
    "JPEG2000",
    "JXL",
    "HEIF",
    "GIF",
    "ICO",
    "ICNS",
    "TGA",
    "QOI",
    "DIB",
    "PCX",
    "SGI",
)

# Formats whose further frames are other views of the first one.
_WITH_VIEWS = ("MPO", "HEIF")

_IPTC = 0x0404
"""Number of the Photoshop block that holds IPTC data."""

_HEAD_BYTES = 1 << 16
"""Bytes of a file that are searched for properties that Pillow does not report."""


def read_picture(
    source: str | Path | BinaryIO | Image.Image,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    first_frame: bool = False,
    keep: Keep = "nothing",
) -> Picture:
    """Reads a still picture of 8 bits per sample, turned upright according to its EXIF orientation.

    RGB, L, RGBA and LA are unchanged, palettes and single bits become the same colours in one of these modes, and a
    transparent colour becomes an alpha plane. Other modes, and colours with a profile other than sRGB, are converted;
    the picture's `notes` report this. From a camera's MPO or HEIC file the main picture is read.

    Args:
        source: a file's path, an open binary file, or a Pillow image, which stays open.
        max_pixels: refuse larger pictures before decoding them. Pillow's own limit is twice the default.
        first_frame: read the first frame of an animation, or page of a document, instead of refusing it; of a Pillow
            image the current one.
        keep: metadata to keep, see `Keep`.

    Raises:
        WrongTypeError: if the source is of another type.
        ConfigError: if `keep` has another value.
        ImageError: for everything else: more than 8 bits per sample, several frames, damaged or missing files, too many
            pixels. The message names the file.
    """
    _check_source(source)
    check_keep(keep)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "")) or "the image"
        return _to_picture(source, b"", name, max_pixels, first_frame, keep)
    name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "the image"))
    with _opened(source, name) as file:
        with translated(name):
            head = file.read(_HEAD_BYTES)
        if not head:
            raise ImageError(f"{name} is not a picture: it is empty")
        Image.init()
        plugins.prepare(head, name)
        with translated(name):
            readable = without_long_profile(file)
            image = Image.open(readable.file, formats=[format for format in _READABLE if format in Image.OPEN])
        with image:
            if readable.icc_profile is not None:
                image.info["icc_profile"] = readable.icc_profile
            picture = _to_picture(image, head, name, max_pixels, first_frame, keep)
            return replace(picture, notes=(readable.problem, *picture.notes)) if readable.problem else picture


def _check_source(source: object) -> None:
    if not isinstance(source, str | Path | Image.Image) and not hasattr(source, "read"):
        hint = ": wrap them in io.BytesIO" if isinstance(source, bytes) else ""
        raise WrongTypeError(f"expected a path, an open file or a Pillow image, found {kind_of(source)}{hint}")


@contextmanager
def _opened(source: str | Path | BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The file at its beginning. Open pipes are read to their end; named pipes are refused, as reading might block.

    Raises:
        ImageError: if it cannot be opened.
    """
    if not isinstance(source, str | Path):
        with translated(name):
            seekable = source.seekable()
            file = source if seekable else io.BytesIO(source.read())
            file.seek(0)
        yield file
        return
    with translated(name):
        kind = os.stat(source).st_mode
    if stat.S_ISDIR(kind):
        raise ImageError(f"{name} is a folder, not a picture")
    if not stat.S_ISREG(kind):
        raise ImageError(f"{name} is a pipe or a device, not a file: write the picture to a file first")
    with translated(name):
        file = open(source, "rb")  # noqa: SIM115 - `translated` covers only the opening
    with file:
        yield file


def _to_picture(image: Image.Image, head: bytes, name: str, max_pixels: int, first_frame: bool, keep: Keep) -> Picture:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{name} has {width} x {height} pixels, more than the limit of {max_pixels}")
    with translated(name):
        frames = 1 if image.format in _WITH_VIEWS else getattr(image, "n_frames", 1)
    if frames != 1 and not first_frame:
        raise ImageError(
            f"{name}: expected a still picture, found {frames} frames: use only the first", parameters=["first_frame"]
        )
    if (bits := bits_per_sample(image, head)) > 8:
        raise ImageError(
            f"{name}: expected at most 8 bits per sample, found {bits}: reduce it first, for example with "
            "`magick IN -depth 8 OUT.png`"
        )
    notes: list[str] = []
    if damage := _load(image, name):
        if not ImageFile.LOAD_TRUNCATED_IMAGES:
            raise ImageError(f"{name} is damaged: {damage}")
        notes.append(f"it is damaged: {damage}")
    exif = _kept_exif(image, notes) if keep == "metadata" else None
    if keep == "metadata" and (others := _others_than_exif(image)):
        notes.append(f"its {' and '.join(others)} data are not kept")
    image = _upright(image, notes)
    with translated(name):
        picture = picture_from_pil(image, keep=keep, exif=exif)
    return Picture(picture.pixels, picture.alpha, picture.metadata, (*notes, *picture.notes))


def _load(image: Image.Image, name: str) -> str:
    """Decodes the pixels; returns the first sign of damage that Pillow does not raise, or nothing.

    Raises:
        ImageError: if they cannot be decoded.
    """
    if image.format != "TIFF":
        with translated(name):
            image.load()
        return ""
    messages: list[str] = []
    try:
        with translated(name), tiff_messages() as messages:
            image.load()
    except ImageError as error:
        raise ImageError(f"{error}{f' ({messages[0]})' if messages else ''}") from error
    return messages[0] if messages else ""


def _kept_exif(image: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF block to keep; None if it is damaged."""
    try:
        with translated("the EXIF block"):
            exif = exif_of(image)
            return of_upright_picture(exif) if exif else None
    except ImageError:
        notes.append("its EXIF block is damaged and not kept")
        return None


def _others_than_exif(image: Image.Image) -> list[str]:
    """Names of the image's metadata that are not kept."""
    found = {"XMP": image.info.get("xmp"), "IPTC": _IPTC in (image.info.get("photoshop") or ())}
    return [name for name, there in found.items() if there]


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image turned according to its orientation; unchanged if the EXIF block is damaged."""
    try:
        with translated("the orientation"):
            return ImageOps.exif_transpose(image)
    except ImageError:
        notes.append("its EXIF block is damaged: it may lie on its side")
        return image
