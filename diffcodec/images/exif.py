"""EXIF blocks: a camera's metadata, and the parts of it to keep."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from PIL import ExifTags, Image

MARKER = b"Exif\0\0"

_HEAD_BYTES = 8
_ENTRY_BYTES = 12
_SHORT, _LONG = 3, 4
"""Numbers of the integer types in entries."""

_DESCRIPTIONS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
    ExifTags.IFD.Exif,
    ExifTags.IFD.GPSInfo,
)

# Tags of a thumbnail's position and length, compressed or not.
_THUMBNAIL_PLACES = (ExifTags.Base.JpegIFOffset, ExifTags.Base.StripOffsets)
_THUMBNAIL_LENGTHS = (ExifTags.Base.JpegIFByteCount, ExifTags.Base.StripByteCounts)


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of an image of any format, with its marker; None if there is none.

    Raises:
        Exception: whatever Pillow raises on a damaged block.
    """
    block = image.info.get("exif")
    if isinstance(block, bytes) and block:
        return MARKER + block.removeprefix(MARKER)
    exif = image.getexif()
    if image.format == "TIFF":
        exif = without_layout(exif)
    return exif.tobytes() if exif else None


def without_layout(exif: Image.Exif) -> Image.Exif:
    """The entries that describe the picture, without those that describe a file's layout. TIFF files have both in one
    directory, and some cameras add width and height."""
    described = Image.Exif()
    for tag in _DESCRIPTIONS:
        is_directory = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        if value := exif.get_ifd(tag) if is_directory else exif.get(tag):
            described[tag] = value
    return described


def of_upright_picture(exif: bytes) -> bytes:
    """The block for a picture that has been turned upright: its orientation is 1, and it has no thumbnail.

    Everything else stays in place, byte for byte, because makers' notes may contain offsets into the block. The
    thumbnail, which would take more bytes than many pictures, is overwritten with zeros.

    Raises:
        ValueError: if it is not an EXIF block.
    """
    block = bytearray(exif.removeprefix(MARKER))
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        raise ValueError("the EXIF block does not start with its byte order")
    try:
        (first,) = struct.unpack_from(order + "I", block, 4)
        for entry in _entries(block, order, first):
            if entry.tag == ExifTags.Base.Orientation:
                struct.pack_into(order + "HHIHH", block, entry.place, entry.tag, _SHORT, 1, 1, 0)
        link = first + 2 + _ENTRY_BYTES * len(list(_entries(block, order, first)))
        second = struct.unpack_from(order + "I", block, link)[0] if link + 4 <= len(block) else 0
        if second:
            struct.pack_into(order + "I", block, link, 0)
            with suppress(struct.error):  # the directory is unlinked already
                _erase_thumbnail(block, order, second)
    except struct.error as error:
        raise ValueError(f"the EXIF block is cut: {error}") from error
    return MARKER + bytes(block)


class _Entry(NamedTuple):
    """An entry of a directory.

    Args:
        place: offset in the block.
        tag: number of the field.
        number: its value, if it is a single integer.
    """

    place: int
    tag: int
    number: int | None


def _entries(block: bytearray, order: str, directory: int) -> Iterator[_Entry]:
    """The entries of a directory."""
    (entries,) = struct.unpack_from(order + "H", block, directory)
    for place in range(directory + 2, directory + 2 + _ENTRY_BYTES * entries, _ENTRY_BYTES):
        tag, kind, count, number = struct.unpack_from(order + "HHII", block, place)
        if kind == _SHORT:
            (number,) = struct.unpack_from(order + "H", block, place + 8)
        yield _Entry(place, tag, number if count == 1 and kind in (_SHORT, _LONG) else None)


def _erase_thumbnail(block: bytearray, order: str, directory: int) -> None:
    """Overwrite a thumbnail with zeros. A thumbnail in several pieces stays, as its extent is uncertain."""
    numbers = {entry.tag: entry.number for entry in _entries(block, order, directory)}
    for place_tag, length_tag in zip(_THUMBNAIL_PLACES, _THUMBNAIL_LENGTHS, strict=True):
        place, length = numbers.get(place_tag), numbers.get(length_tag)
        if place is not None and length is not None and _HEAD_BYTES <= place <= len(block):
            end = min(place + length, len(block))
            block[place:end] = bytes(end - place)
