"""The .dfc container, version 1: header, payload, alpha packet, checksum. Described in docs/format.md.

17 bytes surround the payload of a 32x32 picture (18 from 128 bytes of payload on).
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum

from diffcodec.errors import (
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    NotDfcError,
    TruncatedStreamError,
    UnsupportedVersionError,
)

MAGIC = b"\xdfc"
VERSION = 1
FINGERPRINT_BYTES = 4
CRC_BYTES = 4
SEED_BYTES = 8

MAX_SIDE = 1 << 28
"""Largest width or height, in pixels: what a varint of four bytes holds."""

MAX_PACKET_BYTES = (1 << 35) - 1
"""Longest payload or alpha packet: what a varint of five bytes holds."""

DEFAULT_MAX_PIXELS = 89_478_485
"""Most pixels that are decoded unless the caller asks for more: the number above which Pillow warns."""

_SEED_FLAG = 1
_ALPHA_FLAG = 2
_SIDE_VARINT_BYTES = 4
_PACKET_VARINT_BYTES = 5

# Fields of the packed 24 bits, highest first, with their widths in bits.
_PACKED = (("colour", 2), ("channel", 2), ("effort", 4), ("level_list", 4), ("timestep", 12))

_LOWEST = {"effort": 8}
"""Fields that are written as their distance from a lowest value."""


class ColourMode(IntEnum):
    """What the payload's pixels are, as numbered in the file. An alpha packet comes on top."""

    RGB = 0
    L = 1


@dataclass(frozen=True)
class Header:
    """Everything that the decoder must know besides the model and the payload.

    Args:
        fingerprint: of the model, 4 bytes.
        colour: colour mode of the pixels.
        channel: number of the channel simulation, 0 to 3.
        effort: the channel's search effort, 8 to 23.
        level_list: index of the model's list of noise levels, 0 to 15.
        timestep: the noise level t at which the payload ends, 0 to 4095.
        width, height: of the picture in pixels, at least 1.
        seed: of the shared randomness, below 2**64.

    Raises:
        ConfigError: if a field is out of its range.
    """

    fingerprint: bytes
    colour: ColourMode
    channel: int
    effort: int
    level_list: int
    timestep: int
    width: int
    height: int
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ConfigError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")
        if self.colour not in tuple(ColourMode):
            raise ConfigError(f"the colour mode must be a ColourMode, not {self.colour!r}")
        limits = {
            name: (low := _LOWEST.get(name, 0), low + (1 << bits) - 1) for name, bits in _PACKED if name != "colour"
        }
        limits |= {"width": (1, MAX_SIDE), "height": (1, MAX_SIDE), "seed": (0, (1 << 64) - 1)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")

    @property
    def pixels(self) -> int:
        """Number of pixels, width x height."""
        return self.width * self.height


@dataclass(frozen=True)
class Container:
    """One .dfc file: header, payload of the entropy coder, and the encoded alpha plane if there is one."""

    header: Header
    payload: bytes
    alpha: bytes | None = None


@dataclass(frozen=True)
class StreamInfo:
    """The header of a .dfc file, with the lengths that it declares.

    Args:
        header: the header's fields.
        header_bytes: length of the header, the three lengths below included.
        payload_bytes: length of the payload.
        alpha_bytes: length of the alpha packet; None if there is none.
    """

    header: Header
    header_bytes: int
    payload_bytes: int
    alpha_bytes: int | None

    @property
    def total_bytes(self) -> int:
        """Length of the whole file, checksum included."""
        return self.header_bytes + self.payload_bytes + (self.alpha_bytes or 0) + CRC_BYTES


def write_container(container: Container) -> bytes:
    """The bytes of a .dfc file.

    Raises:
        ConfigError: if the payload or the alpha packet is 32 GiB or longer.
    """
    header = container.header
    for part in (container.payload, container.alpha or b""):
        if len(part) > MAX_PACKET_BYTES:
            raise ConfigError(f"a packet of {len(part)} bytes is too long for .dfc: code smaller pictures")
    flags = (_SEED_FLAG if header.seed else 0) | (_ALPHA_FLAG if container.alpha is not None else 0)
    packed = 0
    for name, bits in _PACKED:
        packed = packed << bits | (getattr(header, name) - _LOWEST.get(name, 0))
    parts = [
        MAGIC,
        bytes([VERSION << 4 | flags]),
        header.fingerprint,
        packed.to_bytes(3, "big"),
        write_varint(header.width - 1),
        write_varint(header.height - 1),
        write_varint(len(container.payload)),
        header.seed.to_bytes(SEED_BYTES, "big") if header.seed else b"",
        write_varint(len(container.alpha)) if container.alpha is not None else b"",
        container.payload,
        container.alpha or b"",
    ]
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "big")


def read_header(data: bytes, *, name: str = "the stream") -> StreamInfo:
    """Reads the header alone; what follows it may be missing or damaged.

    Args:
        data: a .dfc file, or its beginning.
        name: of the file, for messages.

    Raises:
        NotDfcError: if the data does not start with the magic bytes.
        UnsupportedVersionError: if it is of another version, or uses a flag or colour mode unknown here.
        TruncatedStreamError: if the data ends inside the header.
        CorruptStreamError: if a field is not written in the one way that the format allows.
    """
    source = _HeaderSource(data, name)
    if not data.startswith(MAGIC[: len(data)]):
        raise NotDfcError(
            f"{name} is not a .dfc file: it starts with {data[: len(MAGIC)].hex()} instead of {MAGIC.hex()}"
        )
    source.take(len(MAGIC))
    version, flags = divmod(source.take(1)[0], 16)
    if version != VERSION:
        raise UnsupportedVersionError(
            f"{name} is .dfc version {version}, and this release reads version {VERSION}: update diffcodec"
        )
    if flags & ~(_SEED_FLAG | _ALPHA_FLAG):
        raise UnsupportedVersionError(f"{name} uses unknown features (flags {flags:#x}): update diffcodec")
    fingerprint = source.take(FINGERPRINT_BYTES)
    packed = int.from_bytes(source.take(3), "big")
    fields = {}
    for field, bits in reversed(_PACKED):
        packed, value = divmod(packed, 1 << bits)
        fields[field] = value + _LOWEST.get(field, 0)
    if fields["colour"] not in tuple(ColourMode):
        raise UnsupportedVersionError(
            f"{name} has unknown colour mode {fields['colour']}: update diffcodec, or the file is damaged"
        )
    width = source.varint(_SIDE_VARINT_BYTES) + 1
    height = source.varint(_SIDE_VARINT_BYTES) + 1
    payload_bytes = source.varint(_PACKET_VARINT_BYTES)
    seed = int.from_bytes(source.take(SEED_BYTES), "big") if flags & _SEED_FLAG else 0
    if flags & _SEED_FLAG and not seed:
        raise CorruptStreamError(f"{name} is damaged: it announces a seed and holds the default, 0")
    alpha_bytes = source.varint(_PACKET_VARINT_BYTES) if flags & _ALPHA_FLAG else None
    header = Header(
        fingerprint=fingerprint,
        colour=ColourMode(fields.pop("colour")),
        width=width,
        height=height,
        seed=seed,
        **fields,
    )
    return StreamInfo(header, source.position, payload_bytes, alpha_bytes)


def read_container(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream") -> Container:
    """Reads and verifies a whole .dfc file.

    Args:
        data: the file's bytes.
        max_pixels: refuse pictures with more pixels.
        name: of the file, for messages.

    Raises:
        TruncatedStreamError: if the data is shorter than the header declares.
        CorruptStreamError: if it is longer, or the checksum does not fit.
        ImageTooLargeError: if the picture has more than `max_pixels` pixels.
        StreamError: as `read_header`.
    """
    info = read_header(data, name=name)
    if len(data) < info.total_bytes:
        raise TruncatedStreamError(
            f"{name} is cut: it has {len(data)} of its {info.total_bytes} bytes; "
            "fetch it again, or decode what there is with --partial"
        )
    return _verified(data, info, max_pixels, name)


def read_partial(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream"
) -> tuple[Container, bool]:
    """Reads what there is of a .dfc file that may have been cut anywhere after its header.

    A cut file has no checksum that could be verified. Its alpha plane is given only if all of it is there;
    `read_header(data).alpha_bytes` tells whether there was one.

    Args:
        data, max_pixels, name: as for `read_container`.

    Returns:
        The container with the bytes of the payload that are there, and whether these are all of it: if so,
        they are for a `SymbolReader`, otherwise for a `PrefixReader`.

    Raises:
        TruncatedStreamError: if not even the header is whole.
        StreamError: as `read_container`, for a file that is not cut, and for too many pixels.
    """
    info = read_header(data, name=name)
    if len(data) >= info.total_bytes:
        return _verified(data, info, max_pixels, name), True
    _check_pixels(info.header, max_pixels, name)
    payload, alpha = _packets(data, info)
    whole_alpha = alpha if alpha is not None and len(alpha) == info.alpha_bytes else None
    return Container(info.header, payload, whole_alpha), len(payload) == info.payload_bytes


def _verified(data: bytes, info: StreamInfo, max_pixels: int, name: str) -> Container:
    if len(data) > info.total_bytes:
        raise CorruptStreamError(
            f"{name} is damaged: it has {len(data)} bytes where its header declares {info.total_bytes}"
        )
    found = zlib.crc32(data[:-CRC_BYTES])
    declared = int.from_bytes(data[-CRC_BYTES:], "big")
    if found != declared:
        raise CorruptStreamError(
            f"{name} is damaged: its checksum is {found:08x} instead of {declared:08x}; fetch it again"
        )
    _check_pixels(info.header, max_pixels, name)
    return Container(info.header, *_packets(data, info))


def _packets(data: bytes, info: StreamInfo) -> tuple[bytes, bytes | None]:
    """Payload and alpha packet, each as far as the data goes."""
    alpha_start = info.header_bytes + info.payload_bytes
    payload = data[info.header_bytes : alpha_start]
    if info.alpha_bytes is None:
        return payload, None
    return payload, data[alpha_start : alpha_start + info.alpha_bytes]


def _check_pixels(header: Header, max_pixels: int, name: str) -> None:
    if header.pixels > max_pixels:
        raise ImageTooLargeError(
            f"{name} is a picture of {header.width} x {header.height} pixels, more than the limit of "
            f"{max_pixels}: raise the limit if you trust the file"
        )


def write_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the top bit set in all bytes but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _HeaderSource:
    """Takes fields off the front of the data."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        field = self._data[self.position : self.position + count]
        if len(field) < count:
            raise TruncatedStreamError(f"{self._name} is cut: it ends after {len(self._data)} bytes, inside the header")
        self.position += count
        return field

    def varint(self, max_bytes: int) -> int:
        """The next varint, which must not be longer than need be, nor than `max_bytes`."""
        value = 0
        for i in range(max_bytes):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if byte == 0 and i > 0:
                    raise CorruptStreamError(f"{self._name} is damaged: a length in it is padded with zeros")
                return value
        raise CorruptStreamError(f"{self._name} is damaged: a length in it has more than {max_bytes} bytes")
