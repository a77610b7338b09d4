"""Layout of a .dfc file: the header with its declared lengths, and the positions that follow from them.

17 bytes surround the payload of a 32x32 picture (18 from 128 bytes of payload on). Described in docs/format.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcodec.bitstream.header import FINGERPRINT_BYTES, LOWEST, PACKED_FIELDS, ColourMode, Header, Shortened
from diffcodec.errors import ConfigError, CorruptStreamError, NotDfcError, TruncatedStreamError, UnsupportedVersionError

MAGIC = b"\xdfc"
PICTURE_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a RIFF file, such as a WebP picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
}
"""How other files begin that are taken for .dfc files."""

RECOGNISED_BYTES = max(map(len, (MAGIC, *PICTURE_MAGIC)))
"""Enough of a file to know of which of these kinds it is."""

VERSION = 2
CRC_BYTES = 4
SEED_BYTES = 8

MAX_HEADER_BYTES = 1024
"""More than the length of any header: enough of a file for `read_header`."""

MAX_PACKET_BYTES = (1 << 35) - 1
"""Longest payload or packet, in a varint of five bytes."""

BLOCK_BYTES = 2048
"""Payload bytes per checksum in files with more than one."""

BLOCKS_ABOVE = 4096
"""A file whose payload and packets together have more bytes than this has a checksum for every block and packet.

Checksums are then at most 0.5 % of the file, however its bytes are divided.
"""

_SEED_FLAG = 1
_ALPHA_FLAG = 2
_BLOCKS_FLAG = 4
_MORE_FLAG = 8

# Flags of the second flag byte, present if _MORE_FLAG is set.
_METADATA_FLAG = 1
_SHORTENED_FLAG = 2
_REPEATED_FLAG = 4

_SIDE_VARINT_BYTES = 4
_PACKET_VARINT_BYTES = 5
_SHORTENED_VARINT_BYTES = 2


@dataclass(frozen=True)
class StreamInfo:
    """The header of a .dfc file, with its declared lengths.

    Args:
        header: the header's fields.
        header_bytes: length of the header, including the four entries below.
        payload_bytes: length of the payload.
        alpha_bytes: length of the alpha packet; None if there is none.
        metadata_bytes: length of the metadata packet; None if there is none.
        has_blocks: whether every block of the payload, and every packet, has its own checksum.
    """

    header: Header
    header_bytes: int
    payload_bytes: int
    alpha_bytes: int | None
    metadata_bytes: int | None = None
    has_blocks: bool = False

    @property
    def content_bytes(self) -> int:
        """Length of payload and packets together."""
        return self.payload_bytes + (self.alpha_bytes or 0) + (self.metadata_bytes or 0)

    @property
    def blocks(self) -> int:
        """Number of blocks of the payload. An empty payload has one, so that a checksum covers the header."""
        return max(1, -(-self.payload_bytes // BLOCK_BYTES)) if self.has_blocks else 1

    @property
    def check_bytes(self) -> int:
        """Length of all checksums."""
        packets = (self.alpha_bytes is not None) + (self.metadata_bytes is not None) if self.has_blocks else 0
        return CRC_BYTES * (self.blocks + packets)

    @property
    def front_bytes(self) -> int:
        """Length of header and first block, with its checksum."""
        return self.header_bytes + min(self.payload_bytes, BLOCK_BYTES) + CRC_BYTES

    @property
    def total_bytes(self) -> int:
        """Length of the whole file."""
        copy = self.front_bytes if self.header.repeats_front else 0
        return self.header_bytes + self.content_bytes + self.check_bytes + copy

    def laid_out(self) -> StreamInfo:
        """The same with `has_blocks` and `header_bytes` computed from the lengths of payload and packets."""
        info = replace(self, has_blocks=self.header.repeats_front or self.content_bytes > BLOCKS_ABOVE)
        return replace(info, header_bytes=len(info.to_bytes()))

    def to_bytes(self) -> bytes:
        """The header's bytes for these lengths; `header_bytes` is ignored."""
        header, shortened = self.header, self.header.shortened
        more = (
            (_METADATA_FLAG if self.metadata_bytes is not None else 0)
            | (_SHORTENED_FLAG if shortened else 0)
            | (_REPEATED_FLAG if header.repeats_front else 0)
        )
        flags = (
            (_SEED_FLAG if header.seed else 0)
            | (_ALPHA_FLAG if self.alpha_bytes is not None else 0)
            | (_BLOCKS_FLAG if self.has_blocks else 0)
            | (_MORE_FLAG if more else 0)
        )
        packed = 0
        for name, bits in PACKED_FIELDS:
            packed = packed << bits | (getattr(header, name) - LOWEST.get(name, 0))
        parts = [
            MAGIC,
            bytes([VERSION << 4 | flags]),
            bytes([more]) if more else b"",
            header.fingerprint,
            packed.to_bytes(3, "big"),
            write_varint(header.width - 1),
            write_varint(header.height - 1),
            write_varint(self.payload_bytes),
            header.seed.to_bytes(SEED_BYTES, "big") if header.seed else b"",
            write_varint(self.alpha_bytes) if self.alpha_bytes is not None else b"",
            write_varint(self.metadata_bytes) if self.metadata_bytes is not None else b"",
            write_varint(shortened.timestep) + write_varint(shortened.steps) if shortened else b"",
        ]
        return b"".join(parts)


def plan(header: Header, payload: bytes, alpha: bytes | None, metadata: bytes | None) -> StreamInfo:
    """The header and lengths of the file that holds a payload and packets.

    Raises:
        ConfigError: if one of them is 32 GiB or longer.
    """
    for part in (payload, alpha or b"", metadata or b""):
        if len(part) > MAX_PACKET_BYTES:
            raise ConfigError(f"a packet of {len(part)} bytes is too long for .dfc: compress smaller pictures")
    alpha_bytes, metadata_bytes = (None if packet is None else len(packet) for packet in (alpha, metadata))
    return StreamInfo(header, 0, len(payload), alpha_bytes, metadata_bytes).laid_out()


def read_header(data: bytes, *, name: str = "the stream") -> StreamInfo:
    """Reads only the header; the rest may be missing or damaged.

    Args:
        data: a .dfc file, or its beginning.
        name: of the file, for messages.

    Raises:
        NotDfcError: if the data does not start with the magic bytes.
        UnsupportedVersionError: if it has another version, or an unknown flag or colour mode.
        TruncatedStreamError: if the data ends inside the header.
        CorruptStreamError: if a field violates the format.
    """
    if not data:
        raise TruncatedStreamError(f"{name} is empty")
    source = _HeaderSource(data, name)
    if not data.startswith(MAGIC[: len(data)]):
        found = next((kind for start, kind in PICTURE_MAGIC.items() if data.startswith(start)), None)
        why = (
            f"it starts with {data[: len(MAGIC)].hex()} instead of {MAGIC.hex()}" if found is None else f"it is {found}"
        )
        raise NotDfcError(f"{name} is not a .dfc file: {why}")
    source.take(len(MAGIC))
    version, flags = divmod(source.take(1)[0], 16)
    if version != VERSION:
        advice = "update diffcodec" if version > VERSION else "restore it with diffcodec 0.5"
        raise UnsupportedVersionError(f"{name}: expected .dfc version {VERSION}, found version {version}: {advice}")
    more = source.take(1)[0] if flags & _MORE_FLAG else 0
    if more & ~(_METADATA_FLAG | _SHORTENED_FLAG | _REPEATED_FLAG):
        raise UnsupportedVersionError(f"{name} uses unknown features (flags {more:#x}): update diffcodec")
    if flags & _MORE_FLAG and not more:
        raise CorruptStreamError(f"{name} is damaged: it announces more flags and has none")
    fingerprint = source.take(FINGERPRINT_BYTES)
    packed = int.from_bytes(source.take(3), "big")
    fields = {}
    for field, bits in reversed(PACKED_FIELDS):
        packed, value = divmod(packed, 1 << bits)
        fields[field] = value + LOWEST.get(field, 0)
    if fields["colour"] not in tuple(ColourMode):
        raise UnsupportedVersionError(
            f"{name} has unknown colour mode {fields['colour']}: update diffcodec, or the file is damaged"
        )
    width = source.varint(_SIDE_VARINT_BYTES) + 1
    height = source.varint(_SIDE_VARINT_BYTES) + 1
    payload_bytes = source.varint(_PACKET_VARINT_BYTES)
    seed = int.from_bytes(source.take(SEED_BYTES), "big") if flags & _SEED_FLAG else 0
    if flags & _SEED_FLAG and not seed:
        raise CorruptStreamError(f"{name} is damaged: it stores the default seed, 0")
    alpha_bytes = source.varint(_PACKET_VARINT_BYTES) if flags & _ALPHA_FLAG else None
    metadata_bytes = source.varint(_PACKET_VARINT_BYTES) if more & _METADATA_FLAG else None
    try:
        shortened = None
        if more & _SHORTENED_FLAG:
            shortened = Shortened(source.varint(_SHORTENED_VARINT_BYTES), source.varint(_SHORTENED_VARINT_BYTES))
        header = Header(
            fingerprint=fingerprint,
            colour=ColourMode(fields.pop("colour")),
            width=width,
            height=height,
            seed=seed,
            shortened=shortened,
            repeats_front=bool(more & _REPEATED_FLAG),
            **fields,
        )
    except ConfigError as error:
        raise CorruptStreamError(f"{name} is damaged: {error}") from error
    has_blocks = bool(flags & _BLOCKS_FLAG)
    info = StreamInfo(header, source.position, payload_bytes, alpha_bytes, metadata_bytes, has_blocks)
    if header.repeats_front and not has_blocks:
        raise CorruptStreamError(f"{name} is damaged: it announces a copy of its first block, and no blocks")
    # Files of earlier releases have no blocks, whatever their size.
    if has_blocks and not header.repeats_front and info.content_bytes <= BLOCKS_ABOVE:
        raise CorruptStreamError(f"{name} is damaged: it announces blocks for {info.content_bytes} bytes")
    return info


def write_varint(value: int) -> bytes:
    """LEB128: seven bits per byte, lowest first; the top bit is set in all bytes but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _HeaderSource:
    """Reads fields from the front of the data."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        field = self._data[self.position : self.position + count]
        if len(field) < count:
            there = f"{len(self._data)} byte{'' if len(self._data) == 1 else 's'}"
            raise TruncatedStreamError(f"{self._name} is cut inside its header, after {there}: fetch it again")
        self.position += count
        return field

    def varint(self, max_bytes: int) -> int:
        """The next varint, which must have its minimum length and at most `max_bytes`."""
        value = 0
        for i in range(max_bytes):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if byte == 0 and i > 0:
                    raise CorruptStreamError(f"{self._name} is damaged: a length in it is padded with zeros")
                return value
        raise CorruptStreamError(f"{self._name} is damaged: a length in it has more than {max_bytes} bytes")
