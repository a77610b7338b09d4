"""Mutations that keep what a reader checks first: checksums, lengths, fingerprints. Else nothing more is reached."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diffcodec.bitstream.container import ColourMode, Container, Header, read_header, write_container
from diffcodec.bitstream.layout import BLOCK_BYTES, CRC_BYTES, StreamInfo
from diffcodec.errors import DiffCodecError
from fuzz.targets import descriptions

Mutate = Callable[[bytes, int], bytes]
"""Changes bytes at random, to at most so many."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDES = (1, 1, 2, 3, 7, 8, 16, 31, 32, 33, 300, 1 << 14, 1 << 28)


def mutate_file(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Changes a .dfc file in a part of it, and corrects its checksums most times."""
    choice = random.Random(seed)
    kind = choice.random()
    if kind < 0.25:
        changed = with_checksums(mutate(data, max_size))
    else:
        try:
            changed = _changed_part(data, max_size, choice, mutate)
        except (DiffCodecError, TypeError):
            changed = with_checksums(mutate(data, max_size))
    if choice.random() < 0.1:
        changed = mutate(changed, max_size)  # a wrong checksum
    if choice.random() < 0.1:
        changed = changed[: choice.randrange(len(changed) + 1)]
    return changed[:max_size]


def _changed_part(data: bytes, max_size: int, choice: random.Random, mutate: Mutate) -> bytes:
    """The file with another payload, packet or header field."""
    info = read_header(data)
    parts = _parts(data, info)
    kind = choice.random()
    if kind < 0.5:
        parts = replace(parts, payload=mutate(parts.payload, max_size))
    elif kind < 0.8:
        parts = replace(parts, header=_other_header(parts.header, choice))
    elif kind < 0.9:
        packet = mutate(parts.alpha or b"\0\xff", max_size) if choice.random() < 0.8 else None
        parts = replace(parts, alpha=packet)
    else:
        packet = mutate(parts.metadata or b"\1\0\0\0\1", max_size) if choice.random() < 0.8 else None
        parts = replace(parts, metadata=packet)
    return write_container(parts)


def _parts(data: bytes, info: StreamInfo) -> Container:
    """The content of a file, without checks."""
    place, payload = info.header_bytes, b""
    for number in range(info.blocks):
        block = min(BLOCK_BYTES, info.payload_bytes - number * BLOCK_BYTES) if info.has_blocks else info.payload_bytes
        payload += data[place : place + block]
        place += block + CRC_BYTES * info.has_blocks
        if place > len(data):
            break
    packets = []
    for length in (info.alpha_bytes, info.metadata_bytes):
        packets.append(None if length is None else data[place : place + length])
        place += 0 if length is None else length + CRC_BYTES * info.has_blocks
    return Container(info.header, payload, *packets)


def _other_header(header: Header, choice: random.Random) -> Header:
    """A header with another value of a field."""
    values: dict[str, Callable[[], Any]] = {
        "fingerprint": lambda: choice.choice(list(descriptions())),
        "colour": lambda: choice.choice(list(ColourMode)),
        "channel": lambda: choice.randrange(4),
        "effort": lambda: choice.randrange(8, 24),
        "level_list": lambda: choice.randrange(3),
        "timestep": lambda: choice.choice((0, 1, 2, 5, 10, 100, 350, 900, 1000, 1001, choice.randrange(4096))),
        "width": lambda: choice.choice(SIDES),
        "height": lambda: choice.choice(SIDES),
        "seed": lambda: choice.choice((0, 1, 2**64 - 1)),
    }
    field = choice.choice(list(values))
    return replace(header, **{field: values[field]()})


def with_checksums(data: bytes) -> bytes:
    """A .dfc file with right checksums and, if it repeats its front, the right copy; its length stays."""
    try:
        info = read_header(data)
    except DiffCodecError:
        info = None
    if info is None or not info.has_blocks:
        return data[:-CRC_BYTES] + _crc(zlib.crc32(data[:-CRC_BYTES])) if len(data) > CRC_BYTES else data
    changed, place = bytearray(data), info.header_bytes
    for number in range(info.blocks):
        place += min(BLOCK_BYTES, info.payload_bytes - number * BLOCK_BYTES)
        if place + CRC_BYTES > len(changed):
            return bytes(changed)
        changed[place : place + CRC_BYTES] = _crc(zlib.crc32(changed[:place]))
        place += CRC_BYTES
    for length in (info.alpha_bytes, info.metadata_bytes):
        if length is not None and place + length + CRC_BYTES <= len(changed):
            packet = changed[place : place + length]
            changed[place + length : place + length + CRC_BYTES] = _crc(zlib.crc32(packet))
            place += length + CRC_BYTES
    if info.header.repeats_front and len(data) == info.total_bytes:
        changed[-info.front_bytes :] = changed[: info.front_bytes]
    return bytes(changed)


def mutate_picture(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Changes a picture file; of a PNG one chunk, whose checksum is corrected."""
    choice = random.Random(seed)
    if not data.startswith(PNG_SIGNATURE) or choice.random() < 0.2:
        return mutate(data, max_size)
    chunks = list(png_chunks(data))
    if not chunks:
        return mutate(data, max_size)
    place = choice.randrange(len(chunks))
    kind, body = chunks[place]
    if choice.random() < 0.1:
        chunks.insert(choice.randrange(len(chunks) + 1), (kind, body))
    if kind in (b"IDAT", b"zTXt", b"iCCP") and choice.random() < 0.5:
        body = _recompressed(kind, body, max_size, mutate)
    else:
        body = mutate(body or b"\0", max_size)
    chunks[place] = (kind, body)
    return png_of(chunks)[:max_size]


def _recompressed(kind: bytes, body: bytes, max_size: int, mutate: Mutate) -> bytes:
    """A chunk whose inflated content is changed."""
    start = 0 if kind == b"IDAT" else body.find(b"\0") + 2
    try:
        content = zlib.decompressobj().decompress(body[start:], 1 << 20)
    except zlib.error:
        return mutate(body or b"\0", max_size)
    return body[:start] + zlib.compress(mutate(content or b"\0", 1 << 20))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kinds and bodies of a PNG file's chunks, as far as they are whole."""
    found, place = [], len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of chunks, with right checksums."""
    written = [struct.pack(">I", len(body)) + kind + body + _crc(zlib.crc32(kind + body)) for kind, body in chunks]
    return PNG_SIGNATURE + b"".join(written)


def mutate_model(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Changes a model file: its bytes, its JSON header with the right length, or a value in its metadata."""
    choice = random.Random(seed)
    (length,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = choice.random()
    if kind < 0.2 or len(data) < 8 + length:
        return mutate(data, max_size)
    if kind < 0.4:
        header = mutate(header, max_size)
    else:
        try:
            described = json.loads(header)
            metadata = json.loads(described["__metadata__"]["diffcodec"])
            _change_value(described if kind < 0.5 else metadata, choice)
            described["__metadata__"]["diffcodec"] = json.dumps(metadata)
            header = json.dumps(described).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            header = mutate(header, max_size)
    return (struct.pack("<Q", len(header)) + header + body)[:max_size]


def _change_value(tree: Any, choice: random.Random) -> None:
    """Changes one value, somewhere in a tree of JSON."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = choice.choice(keys)
        if not isinstance(tree[key], dict | list) or choice.random() < 0.1:
            break
        tree = tree[key]
    value = tree[key]
    other: tuple[Any, ...] = (
        0,
        1,
        -1,
        2**31,
        2**64,
        10**30,
        0.5,
        -1e308,
        "",
        "v",
        None,
        True,
        [],
        {},
        [0] * 5,
        float("nan"),
    )
    number = value if isinstance(value, int | float) else 0
    tree[key] = choice.choice((*other, number + 1, number - 1, -number, number * 2))


def _crc(value: int) -> bytes:
    return value.to_bytes(CRC_BYTES, "big")


MUTATORS: dict[str, Callable[[bytes, int, int, Mutate], bytes]] = {
    "container": mutate_file,
    "decode": mutate_file,
    "pictures": mutate_picture,
    "models": mutate_model,
}
