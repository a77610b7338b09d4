"""Colour profiles of PNG files that are too long for Pillow, which refuses a picture whose profile has more than 1 MiB.

Profiles of printers have about 2 MB.
"""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, NamedTuple

from PIL import PngImagePlugin

from diffcodec.images.metadata import MAX_METADATA_BYTES

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRC_BYTES = 4
_MOST_COMPRESSED = MAX_METADATA_BYTES + (1 << 16)


class ReadableFile(NamedTuple):
    """A picture file that Pillow can read.

    Args:
        file: at its beginning.
        icc_profile: left out of the file; None: the file is complete.
        problem: why a profile is lost; empty if none is.
    """

    file: BinaryIO
    icc_profile: bytes | None = None
    problem: str = ""


def without_long_profile(file: BinaryIO) -> ReadableFile:
    """A file, without its colour profile if it is a PNG file with one that is too long for Pillow.

    Args:
        file: seekable.
    """
    file.seek(0)
    found = ReadableFile(file)
    if file.read(len(_SIGNATURE)) == _SIGNATURE and (place := _profile_chunk(file)) is not None:
        start, stop = place
        file.seek(start + 8)
        found = _split(file, start, stop, file.read(min(stop - start - 8 - _CRC_BYTES, _MOST_COMPRESSED)))
    found.file.seek(0)
    return found


def _profile_chunk(file: BinaryIO) -> tuple[int, int] | None:
    """Start and stop of the chunk of the profile, which comes before the pixels; None if there is none."""
    while len(head := file.read(8)) == 8:
        start, length, kind = file.tell() - 8, int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"iCCP":
            return start, start + 8 + length + _CRC_BYTES
        if kind == b"IDAT":
            return None
        file.seek(length + _CRC_BYTES, io.SEEK_CUR)
    return None


def _split(file: BinaryIO, start: int, stop: int, content: bytes) -> ReadableFile:
    """The file without the chunk of the profile, if that is long."""
    _, _, compressed = content.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(compressed[1:], MAX_METADATA_BYTES + 1)
    except zlib.error:
        return ReadableFile(file)  # Pillow reports it
    if len(profile) <= PngImagePlugin.MAX_TEXT_CHUNK:
        return ReadableFile(file)
    file.seek(0)
    rest = io.BytesIO(file.read(start))
    rest.seek(0, io.SEEK_END)
    file.seek(stop)
    rest.write(file.read())
    if inflater.eof and len(profile) <= MAX_METADATA_BYTES:
        return ReadableFile(rest, profile)
    return ReadableFile(rest, None, f"its colour profile has more than {MAX_METADATA_BYTES} bytes and is ignored")
