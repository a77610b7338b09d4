"""EXIF blocks: what a camera notes of a picture, and what of it is kept."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

from PIL import ExifTags, Image

MARKER = b"Exif\0\0"

_ENTRY_BYTES = 12

_DESCRIPTIONS = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo,
)  # fmt: skip

# Where a thumbnail is and how long, compressed or not.
_THUMBNAIL_PLACES = (ExifTags.Base.JpegIFOffset, ExifTags.Base.StripOffsets)
_THUMBNAIL_LENGTHS = (ExifTags.Base.JpegIFByteCount, ExifTags.Base.StripByteCounts)


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of an image of any format, with the marker that it begins with; None if there is none.

    Raises:
        Exception: whatever Pillow raises on a damaged one.
    """
    block = image.info.get("exif")
    if isinstance(block, bytes) and block:
        return MARKER + block.removeprefix(MARKER)
    exif = image.getexif()
    if image.format == "TIFF":
        exif = without_layout(exif)
    return exif.tobytes() if exif else None


def without_layout(exif: Image.Exif) -> Image.Exif:
    """What a block says of the picture, without what it says of the layout of a file: in a TIFF file that is the same
    directory, and some cameras note width and height."""
    described = Image.Exif()
    for tag in _DESCRIPTIONS:
        is_directory = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        if value := exif.get_ifd(tag) if is_directory else exif.get(tag):
            described[tag] = value
    return described


def of_upright_picture(exif: bytes) -> bytes:
    """The block for a picture that has been turned upright: its orientation is 1, and it has no thumbnail.

    All else stays byte for byte where it is, because makers' notes may hold places in the block. The thumbnail, which
    would cost more than many a picture, is overwritten with zeros.

    Raises:
        ValueError: if it is no EXIF block.
    """
    block = bytearray(exif.removeprefix(MARKER))
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        raise ValueError("an EXIF block states its byte order first")
    try:
        (first,) = struct.unpack_from(order + "I", block, 4)
        for place, tag, _ in _entries(block, order, first):
            if tag == ExifTags.Base.Orientation:
                struct.pack_into(order + "HHIHH", block, place, tag, 3, 1, 1, 0)
        link = first + 2 + _ENTRY_BYTES * len(list(_entries(block, order, first)))
        second = struct.unpack_from(order + "I", block, link)[0] if link + 4 <= len(block) else 0
        if second:
            struct.pack_into(order + "I", block, link, 0)
            with suppress(struct.error):  # nothing leads to the directory any more
                _erase_thumbnail(block, order, second)
    except struct.error as error:
        raise ValueError(f"the EXIF block is cut: {error}") from error
    return MARKER + bytes(block)


def _entries(block: bytearray, order: str, directory: int) -> Iterator[tuple[int, int, int]]:
    """Place, tag and 32-bit value of every entry of a directory."""
    (count,) = struct.unpack_from(order + "H", block, directory)
    for place in range(directory + 2, directory + 2 + _ENTRY_BYTES * count, _ENTRY_BYTES):
        tag, _, _, value = struct.unpack_from(order + "HHII", block, place)
        yield place, tag, value


def _erase_thumbnail(block: bytearray, order: str, directory: int) -> None:
    values = {tag: value for _, tag, value in _entries(block, order, directory)}
    for place_tag, length_tag in zip(_THUMBNAIL_PLACES, _THUMBNAIL_LENGTHS, strict=True):
        place, length = values.get(place_tag, 0), values.get(length_tag, 0)
        end = min(place + length, len(block))
        block[place:end] = bytes(max(0, end - place))
