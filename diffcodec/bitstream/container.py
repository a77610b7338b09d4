"""The .dfc container, version 2: header, payload, packets, checksums. Described in docs/format.md.

In a file of more than a few KiB every block of the payload has a checksum of everything before it, and every packet
has its own checksum. So everything before a damaged block is verified.
"""

import zlib
from dataclasses import dataclass, replace

from diffcodec.bitstream import stretches
from diffcodec.bitstream.correction import corrected
from diffcodec.bitstream.header import MAX_SIDE, ColourMode, Header, Shortened
from diffcodec.bitstream.layout import BLOCK_BYTES, CRC_BYTES, StreamInfo, plan, read_header, write_varint
from diffcodec.bitstream.stretches import checksum, sole_stretch
from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.errors import (
    CorruptStreamError,
    ImageTooLargeError,
    NotDfcError,
    StreamError,
    TruncatedStreamError,
    UnsupportedVersionError,
)

__all__ = [
    "MAX_SIDE",
    "ColourMode",
    "Container",
    "Header",
    "Reading",
    "Shortened",
    "StreamInfo",
    "read_container",
    "read_header",
    "read_partial",
    "what_is_wrong",
    "write_container",
    "write_varint",
]


@dataclass(frozen=True)
class Container:
    """One .dfc file.

    Args:
        header: the fields of its header.
        payload: of the entropy coder.
        alpha: the encoded alpha plane; None if there is none.
        metadata: the encoded metadata; None if there is none.
    """

    header: Header
    payload: bytes
    alpha: bytes | None = None
    metadata: bytes | None = None


@dataclass(frozen=True)
class Reading:
    """The readable part of a .dfc file.

    Args:
        container: with the intact beginning of the payload, and the intact packets.
        info: the header's declarations.
        complete: whether the payload is complete: if so, read it with a `SymbolReader`, otherwise a `PrefixReader`.
        verified: whether checksums cover everything in the container.
        problem: what is wrong with the file, to follow its name, such as `is cut: ...`; None if nothing is.
        is_short: whether the file has fewer bytes than its header declares.
    """

    container: Container
    info: StreamInfo
    complete: bool = True
    verified: bool = True
    problem: str | None = None
    is_short: bool = False

    def check(self, name: str) -> None:
        """Refuse a file that is incomplete or damaged.

        Args:
            name: of the file, for messages.

        Raises:
            TruncatedStreamError: if it is shorter than its header declares.
            CorruptStreamError: if it is longer, or a checksum does not match.
        """
        if self.problem is None:
            return
        error = TruncatedStreamError if self.is_short else CorruptStreamError
        raise error(f"{name} {self.problem}: fetch it again, or restore {self._rest()}", parameters=["partial"])

    def _rest(self) -> str:
        """Describes what can still be restored."""
        info, container = self.info, self.container
        if not self.complete:
            return f"the first {len(container.payload)} of its {info.payload_bytes} payload bytes"
        lost = [
            what
            for what, declared, packet in (
                (stretches.ALPHA, info.alpha_bytes, container.alpha),
                (stretches.METADATA, info.metadata_bytes, container.metadata),
            )
            if declared is not None and packet is None
        ]
        return f"the picture without {' and '.join(lost)}" if lost else "the picture"


def write_container(container: Container) -> bytes:
    """The bytes of a .dfc file.

    Raises:
        ConfigError: if the payload or a packet is 32 GiB or longer.
    """
    payload, packets = container.payload, [container.alpha, container.metadata]
    info = plan(container.header, payload, *packets)
    parts = [info.to_bytes()]
    if not info.has_blocks:
        parts += [payload, *(packet for packet in packets if packet is not None)]
        return b"".join([*parts, checksum(zlib.crc32(b"".join(parts)))])
    running = zlib.crc32(parts[0])
    for number in range(info.blocks):
        block = payload[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        check = checksum(running := zlib.crc32(block, running))
        running = zlib.crc32(check, running)
        parts += [block, check]
    for packet in packets:
        if packet is not None:
            parts += [packet, checksum(zlib.crc32(packet))]
    if container.header.repeats_front:
        parts += parts[:3]
    return b"".join(parts)


def read_container(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream") -> Container:
    """Reads and verifies a complete .dfc file.

    Args:
        data: the file's bytes.
        max_pixels: refuse pictures with more pixels.
        name: of the file, for messages.

    Raises:
        TruncatedStreamError: if the data is shorter than the header declares.
        CorruptStreamError: if it is longer, or a checksum does not match.
        ImageTooLargeError: if the picture has more than `max_pixels` pixels.
        StreamError: as `read_header`.
    """
    reading = read_partial(data, max_pixels=max_pixels, name=name)
    reading.check(name)
    return reading.container


def read_partial(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream", corrects: bool = True
) -> Reading:
    """Reads a .dfc file that may be damaged, or cut anywhere after its header.

    Wrong bits that the checksums tell are corrected, see `correction`; `problem` then says so. Apart from that, a file
    with a single checksum may be cut, but not damaged; if it is cut, nothing of it can be verified. With several
    checksums, the payload ends before the first damaged block. Incomplete packets are left out; `info` says whether
    there were any.

    Args:
        data, max_pixels, name: as for `read_container`.
        corrects: whether wrong bits are corrected.

    Raises:
        TruncatedStreamError: if the header is incomplete.
        CorruptStreamError: if the header may be damaged, or the file has a single checksum, which does not match.
        ImageTooLargeError: as `read_container`.
        StreamError: as `read_header`.
    """
    reading = (_corrected_reading if corrects else _read)(data, name)
    header = reading.container.header
    if header.pixels > max_pixels:
        raise ImageTooLargeError(
            f"{name}: the picture has {header.width} x {header.height} pixels, more than the limit of "
            f"{max_pixels}: raise the limit if you trust the file",
            parameters=["max_pixels"],
        )
    return reading


def what_is_wrong(data: bytes) -> str | None:
    """Describes what is damaged or missing in a .dfc file; None if nothing is."""
    try:
        problem = read_partial(data, max_pixels=MAX_SIDE * MAX_SIDE, name="it").problem
    except StreamError as error:
        return str(error)
    return problem and f"it {problem}"


def _corrected_reading(data: bytes, name: str) -> Reading:
    """What can be read of a file, after correction if it is damaged.

    Raises:
        StreamError: as `read_partial`, about the file as it is.
    """
    try:
        reading = _read(data, name)
    except (CorruptStreamError, NotDfcError, UnsupportedVersionError, TruncatedStreamError):
        if not (changed := corrected(data)).bits:
            raise
    else:
        if reading.problem is None or not (changed := corrected(data)).bits:
            return reading
    better = _read(changed.data, name)
    bits = "1 bit is" if changed.bits == 1 else f"{changed.bits} bits are"
    rest = f", and {better.problem.removeprefix('is damaged: ')}" if better.problem else ""
    return replace(better, problem=f"is damaged: {bits} wrong, which its checksums correct{rest}")


def _read(data: bytes, name: str) -> Reading:
    """What can be read of a file as it is."""
    info = read_header(data, name=name)
    return (_read_blocks if info.has_blocks else _read_plain)(data, info, name)


def _read_plain(data: bytes, info: StreamInfo, name: str) -> Reading:
    """A file with one checksum, at its end."""
    problem = _wrong_length(data, info)
    if len(data) > info.total_bytes:
        raise CorruptStreamError(f"{name} {problem}: fetch it again")
    if not problem and (difference := sole_stretch(data, info).difference):
        declared = int.from_bytes(data[-CRC_BYTES:], "big")
        raise CorruptStreamError(
            f"{name} is damaged: its checksum is {declared ^ difference:08x} instead of {declared:08x}: fetch it again"
        )
    start, packets = info.header_bytes + info.payload_bytes, []
    payload = data[info.header_bytes : start]
    for length in (info.alpha_bytes, info.metadata_bytes):
        packet = None if length is None else data[start : start + length]
        packets.append(packet if packet is not None and len(packet) == length else None)
        start += length or 0
    complete = len(payload) == info.payload_bytes
    container = Container(info.header, payload, packets[0], packets[1])
    return Reading(container, info, complete, not problem, problem, len(data) < info.total_bytes)


def _read_blocks(data: bytes, info: StreamInfo, name: str) -> Reading:
    """A file with a checksum for every block and packet."""
    payload: list[bytes] = []
    problems = []
    verified = False
    for block in stretches.blocks(data, info):
        if block.is_damaged:
            if not payload:
                whole = block._replace(start=0).complaint("including its header")
                raise CorruptStreamError(f"{name} {whole}, so nothing of it can be restored: fetch it again")
            problems.append(block.complaint("in its payload"))
            break
        # An empty rest of a block leaves the state of the previous one.
        verified = block.is_right or (verified and not block.content)
        payload.append(block.content)
        if not block.is_whole:
            break
    packets = []
    for what, packet in stretches.packets(data, info):
        if packet is not None and packet.is_damaged:
            problems.append(packet.complaint(what))
        packets.append(packet.content if packet is not None and packet.is_right else None)
    repeats = info.header.repeats_front and len(data) == info.total_bytes
    if repeats and data[-info.front_bytes :] != data[: info.front_bytes]:
        problems.append("is damaged: the copy of its first block, at its end, is another")
    problem = problems[0] if problems else _wrong_length(data, info)
    container = Container(info.header, b"".join(payload), packets[0], packets[1])
    complete = len(container.payload) == info.payload_bytes
    return Reading(container, info, complete, verified, problem, len(data) < info.total_bytes)


def _wrong_length(data: bytes, info: StreamInfo) -> str | None:
    if len(data) < info.total_bytes:
        return f"is cut: it has {len(data)} of its {info.total_bytes} bytes"
    if len(data) > info.total_bytes:
        return f"is damaged: it has {len(data)} bytes instead of the {info.total_bytes} that its header declares"
    return None
