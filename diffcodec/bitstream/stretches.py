"""Stretches of a .dfc file that are followed by their checksums: the blocks of its payload, and its packets."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from diffcodec.bitstream.layout import BLOCK_BYTES, CRC_BYTES, StreamInfo

ALPHA, METADATA = "the alpha plane", "the metadata"
"""What packets hold, for messages."""


class Stretch(NamedTuple):
    """Bytes of a file that are followed by their checksum.

    Args:
        start, stop: position in the file; the checksum starts at `stop`.
        content: those of the bytes that are there.
        is_whole: whether all bytes and the checksum are there.
        difference: bits by which the checksum differs from that of the bytes; 0 if it matches.
    """

    start: int
    stop: int
    content: bytes
    is_whole: bool
    difference: int

    @property
    def is_right(self) -> bool:
        """Whether the checksum is there and matches."""
        return self.is_whole and not self.difference

    @property
    def is_damaged(self) -> bool:
        """Whether the checksum does not match although all bytes are there."""
        return self.is_whole and self.difference != 0

    def complaint(self, what: str) -> str:
        """Message about damage, to follow the file's name."""
        return f"is damaged: bytes {self.start} to {self.stop + CRC_BYTES - 1}, {what}, do not match their checksum"


def checksum(crc: int) -> bytes:
    """A checksum as stored."""
    return crc.to_bytes(CRC_BYTES, "big")


def blocks(data: bytes | bytearray, info: StreamInfo) -> Iterator[Stretch]:
    """The blocks of the payload. Each checksum covers everything before it, too.

    The caller may correct a block before the next one is read.
    """
    running = zlib.crc32(data[: info.header_bytes])
    left, start = info.payload_bytes, info.header_bytes
    for _ in range(info.blocks):
        stop = start + min(left, BLOCK_BYTES)
        content, check = bytes(data[start:stop]), data[stop : stop + CRC_BYTES]
        difference = zlib.crc32(content, running) ^ int.from_bytes(check, "big")
        yield Stretch(start, stop, content, len(check) == CRC_BYTES, difference)
        running = zlib.crc32(data[start : stop + CRC_BYTES], running)
        left, start = left - len(content), stop + CRC_BYTES


def packets(data: bytes | bytearray, info: StreamInfo) -> Iterator[tuple[str, Stretch | None]]:
    """Names and contents of the packets of a file with blocks; None for packets that the header does not declare."""
    start = info.header_bytes + info.payload_bytes + CRC_BYTES * info.blocks
    for what, length in ((ALPHA, info.alpha_bytes), (METADATA, info.metadata_bytes)):
        if length is None:
            yield what, None
            continue
        stop = start + length
        content, check = bytes(data[start:stop]), data[stop : stop + CRC_BYTES]
        difference = zlib.crc32(content) ^ int.from_bytes(check, "big")
        yield what, Stretch(start, stop, content, len(check) == CRC_BYTES, difference)
        start = stop + CRC_BYTES


def sole_stretch(data: bytes, info: StreamInfo) -> Stretch:
    """All of a file that has one checksum."""
    stop = info.total_bytes - CRC_BYTES
    content, check = data[:stop], data[stop : stop + CRC_BYTES]
    difference = zlib.crc32(content) ^ int.from_bytes(check, "big")
    return Stretch(0, stop, content, len(check) == CRC_BYTES, difference)


def first_stretch(data: bytes, info: StreamInfo) -> Stretch:
    """Header and first block, or all of a file that has one checksum."""
    return next(blocks(data, info))._replace(start=0) if info.has_blocks else sole_stretch(data, info)
