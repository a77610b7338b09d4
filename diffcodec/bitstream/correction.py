"""Corrects flipped bits of damaged .dfc files, as far as checksums, and a copy of the front, tell which they are.

A CRC-32 is linear: flipping a bit changes the checksum by a value that depends only on how many bytes follow. For up to
11,000 bytes these values differ for all bits, and from those of any two bits (distance 4 up to 91,607 bits: Koopman
2002). So one wrong bit of a block is found, and two are never taken for one. Of more, 1 in 250,000 patterns is.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.layout import BLOCK_BYTES, CRC_BYTES, MAGIC, StreamInfo, read_header
from diffcodec.bitstream.stretches import Stretch, blocks, first_stretch, packets
from diffcodec.errors import StreamError

LONGEST = 8192
"""Longest stretch, in bytes, in which a wrong bit is looked for. Writers give longer ones several checksums."""

LEAST_HEADER_BYTES, HEADER_BYTES = 13, 46
"""Lengths of the shortest and of the longest header."""

FRONT_BYTES = HEADER_BYTES + BLOCK_BYTES + CRC_BYTES
"""Length of the longest header with first block and checksum."""

MOST_DIFFERENCES = 16
"""Bits in which front and copy may differ: of so many combinations, 1 in 65,536 matches the checksum by chance."""

_POLYNOMIAL = 0xEDB88320


class Correction(NamedTuple):
    """A file with wrong bits corrected.

    Args:
        data: the file.
        bits: number of bits that are changed.
    """

    data: bytes
    bits: int


def corrected(data: bytes) -> Correction:
    """A file with its wrong bits corrected: up to one of each block, and several of a front that is repeated.

    Blocks after one that cannot be corrected are left as they are: nobody reads them.
    """
    front = _corrected_front(data)
    if front is None:
        return Correction(data, 0)
    data, bits = front
    info = read_header(data)
    if not info.has_blocks:
        return front
    fixed = bytearray(data)
    for block in blocks(fixed, info):
        if block.is_damaged and _flip(fixed, block):
            bits += 1
        elif not block.is_right:
            break
    for _, packet in packets(fixed, info):
        if packet is not None and packet.is_damaged:
            bits += _flip(fixed, packet)
    return Correction(bytes(fixed), bits)


def _corrected_front(data: bytes) -> Correction | None:
    """The file with its header and first block corrected; None if that is impossible."""
    if (int.from_bytes(data[: len(MAGIC)], "big") ^ int.from_bytes(MAGIC, "big")).bit_count() > len(MAGIC):
        return _from_copy(data)
    info = _info_of(data)
    if info is not None:
        stretch = first_stretch(data, info)
        if stretch.is_right:
            return Correction(data, 0)
        changed = bytearray(data)
        if stretch.is_whole and _flip(changed, stretch) and _is_right(bytes(changed)):
            return Correction(bytes(changed), 1)
    # A header that declares the file's length has no wrong bit that changes what the checksum covers.
    found = None if info is not None and info.total_bytes == len(data) else _with_other_lengths(data)
    return _from_copy(data) if found is None and (info is None or info.header.repeats_front) else found


def _info_of(data: bytes) -> StreamInfo | None:
    """The header; None if it is malformed, or what the first checksum covers is too long."""
    try:
        info = read_header(data)
    except StreamError:
        return None
    return info if info.has_blocks or info.total_bytes <= LONGEST else None


def _is_right(data: bytes) -> bool:
    """Whether header and first checksum are right."""
    info = _info_of(data)
    return info is not None and first_stretch(data, info).is_right


def _with_other_lengths(data: bytes) -> Correction | None:
    """The file with the bit of its header corrected that changes what the first checksum covers.

    Whatever the header says, that is everything before the last four bytes, or a header of some length with a whole
    block. (In a file with blocks whose payload is shorter than one, such a bit is not found.)
    """
    for stop in (len(data) - CRC_BYTES, *range(LEAST_HEADER_BYTES + BLOCK_BYTES, HEADER_BYTES + BLOCK_BYTES + 1)):
        if not 0 < stop <= min(len(data) - CRC_BYTES, LONGEST):
            continue
        content, check = data[:stop], data[stop : stop + CRC_BYTES]
        difference = zlib.crc32(content) ^ int.from_bytes(check, "big")
        changed = bytearray(data)
        if _flip(changed, Stretch(0, stop, content, True, difference)) and _is_right(bytes(changed)):
            return Correction(bytes(changed), 1)
    return None


def _flip(data: bytearray, stretch: Stretch) -> bool:
    """Corrects a stretch with one wrong bit, there or in its checksum; returns whether it has one."""
    if stretch.difference.bit_count() == 1:
        place, bit = stretch.stop + CRC_BYTES - 1, stretch.difference.bit_length() - 1
        data[place - bit // 8] ^= 1 << bit % 8
        return True
    if stretch.stop - stretch.start > LONGEST:
        return False
    values, order = _sorted_effects()
    found = int(np.searchsorted(values, stretch.difference))
    if found == len(values) or int(values[found]) != stretch.difference:
        return False
    following, bit = divmod(int(order[found]), 8)
    if following >= stretch.stop - stretch.start:
        return False
    data[stretch.stop - 1 - following] ^= 1 << bit
    return True


@lru_cache(maxsize=1)
def _effects() -> NDArray[np.uint32]:
    """By how much a checksum changes if bit b of the byte that k bytes follow flips, (LONGEST, 8)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    effects = np.empty((LONGEST, 8), np.uint32)
    effects[0] = table[1 << np.arange(8)]
    for following in range(1, LONGEST):
        before = effects[following - 1]
        effects[following] = table[before & 255] ^ (before >> 8)
    return effects


@lru_cache(maxsize=1)
def _sorted_effects() -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The effects in ascending order, and their places in `_effects`."""
    flat = _effects().ravel()
    order = np.argsort(flat)
    return flat[order], order


def _from_copy(data: bytes) -> Correction | None:
    """The file with the front that it repeats at its end; None if it has no copy, or both are too damaged."""
    tail = data[-FRONT_BYTES:]
    place = tail.find(MAGIC)
    while place >= 0:
        if _is_front(tail[place:]):
            return _replaced(data, tail[place:])
        place = tail.find(MAGIC, place + 1)
    values = np.frombuffer(data, np.uint8)
    for length in range(len(MAGIC) + CRC_BYTES, min(FRONT_BYTES, len(data) // 2) + 1):
        differing = values[:length] ^ values[len(data) - length :]
        if np.count_nonzero(differing) <= MOST_DIFFERENCES and (found := _combined(data[:length], differing)):
            return _replaced(data, found)
    return None


def _is_front(front: bytes) -> bool:
    """Whether it is a whole front of a file that repeats it."""
    try:
        info = read_header(front)
    except StreamError:
        return False
    return info.header.repeats_front and info.front_bytes == len(front) and first_stretch(front, info).is_right


def _replaced(data: bytes, front: bytes) -> Correction:
    """The file with a front."""
    changed = int.from_bytes(data[: len(front)], "big") ^ int.from_bytes(front, "big")
    return Correction(front + data[len(front) :], changed.bit_count())


def _combined(front: bytes, differing: NDArray[np.uint8]) -> bytes | None:
    """The front with those bits flipped in which it, and not the copy, is wrong.

    Args:
        front: with its checksum.
        differing: front XOR copy.
    """
    places = [(int(byte), bit) for byte in np.flatnonzero(differing) for bit in range(8) if differing[byte] >> bit & 1]
    if not 0 < len(places) <= MOST_DIFFERENCES:
        return None
    stop = len(front) - CRC_BYTES
    wanted = zlib.crc32(front[:stop]) ^ int.from_bytes(front[stop:], "big")
    sums = np.zeros(1, np.uint32)
    for byte, bit in places:
        effect = (
            _effects()[stop - 1 - byte, bit] if byte < stop else np.uint32(1 << (8 * (len(front) - 1 - byte) + bit))
        )
        sums = np.concatenate([sums, sums ^ effect])
    for choice in np.flatnonzero(sums == wanted).tolist():
        changed = bytearray(front)
        for number, (byte, bit) in enumerate(places):
            changed[byte] ^= (choice >> number & 1) << bit
        if _is_front(bytes(changed)):
            return bytes(changed)
    return None
