"""Wrong bits of damaged files are corrected where the checksums tell which they are, and never changed elsewhere."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.bitstream.container import (
    Container,
    Shortened,
    read_container,
    read_header,
    read_partial,
    what_is_wrong,
    write_container,
)
from diffcodec.bitstream.correction import FRONT_BYTES, HEADER_BYTES, MOST_DIFFERENCES, corrected
from diffcodec.bitstream.layout import BLOCK_BYTES, MAX_PACKET_BYTES, StreamInfo
from diffcodec.errors import CorruptStreamError, StreamError
from tests.bitstream.containers import HEADER

NOISE = random.Random(5).randbytes
SMALL = write_container(Container(HEADER, NOISE(60), b"alpha", b"notes"))
LARGE = write_container(Container(HEADER, NOISE(5000), NOISE(70), NOISE(30)))
REPEATED = write_container(Container(replace(HEADER, seed=7, repeats_front=True), NOISE(6000)))
FRONT = read_header(REPEATED).front_bytes


def with_flips(data: bytes, bits: list[int]) -> bytes:
    """The data with some of its bits flipped, counted from the first byte's lowest."""
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def stretches_of(data: bytes) -> list[range]:
    """Bits of header and first block, of further blocks, and of packets, each with its checksum."""
    info = read_header(data)
    ends = [info.header_bytes]
    for number in range(info.blocks):
        ends.append(ends[-1] + min(BLOCK_BYTES, info.payload_bytes - number * BLOCK_BYTES) + 4)
    ends += [
        ends[-1] + (info.alpha_bytes or 0) + 4,
        ends[-1] + (info.alpha_bytes or 0) + (info.metadata_bytes or 0) + 8,
    ]
    starts = [0, *ends[1:-1]]
    return [range(8 * start, 8 * stop) for start, stop in zip(starts, ends[1:], strict=True)]


@pytest.mark.parametrize("data", [SMALL, LARGE[: read_header(LARGE).total_bytes]], ids=["one checksum", "blocks"])
def test_any_single_bit_is_corrected(data: bytes) -> None:
    bits = (
        range(8 * len(data)) if len(data) < 200 else [*range(240), *random.Random(0).sample(range(8 * len(data)), 150)]
    )
    for bit in bits:
        damaged = with_flips(data, [bit])
        assert corrected(damaged) == (data, 1), bit
        reading = read_partial(damaged)
        assert reading.container == read_container(data)
        assert reading.verified
        assert reading.complete
        assert reading.problem == "is damaged: 1 bit is wrong, which its checksums correct"
        with pytest.raises(CorruptStreamError, match=r"1 bit is wrong, .* or restore the picture") as caught:
            read_container(damaged)
        assert caught.value.parameters == ("partial",)


@given(st.data())
def test_one_bit_of_each_block_is_corrected(data: st.DataObject) -> None:
    stretches = stretches_of(LARGE)
    chosen = data.draw(st.lists(st.sampled_from(stretches), unique_by=lambda each: each.start, min_size=1))
    bits = [data.draw(st.sampled_from(each)) for each in chosen]
    assert corrected(with_flips(LARGE, bits)) == (LARGE, len(bits))


@given(st.data())
def test_two_bits_of_a_block_are_never_taken_for_one(data: st.DataObject) -> None:
    stretch = data.draw(st.sampled_from(stretches_of(LARGE)))
    bits = data.draw(st.lists(st.integers(stretch.start, stretch.stop - 1), min_size=2, max_size=2, unique=True))
    damaged = with_flips(LARGE, bits)
    if stretch.start == 0:
        with pytest.raises(StreamError):
            read_partial(damaged)
        assert corrected(damaged).bits == 0
    else:
        reading = read_partial(damaged)
        assert corrected(damaged).bits == 0
        assert read_container(LARGE).payload.startswith(reading.container.payload)


def test_blocks_before_and_after_what_cannot_be_corrected() -> None:
    first, second, third, alpha, metadata = stretches_of(LARGE)
    damaged = with_flips(LARGE, [first[40], second[100], second[300], third[7], alpha[3], metadata[9]])
    reading = read_partial(damaged)
    whole = read_container(LARGE)
    assert reading.container == replace(whole, payload=whole.payload[:BLOCK_BYTES])
    assert str(reading.problem).startswith("is damaged: 3 bits are wrong, which its checksums correct, and bytes ")
    assert "3 bits are wrong" in str(what_is_wrong(damaged))


def test_what_is_no_file_is_left_alone() -> None:
    for data in (b"", b"\xdf", NOISE(3000), b"\x89PNG" + LARGE[4:], LARGE[:10], bytes(5000)):
        assert corrected(data) == (data, 0)


def test_a_file_that_repeats_its_front() -> None:
    info = read_header(REPEATED)
    assert REPEATED[-FRONT:] == REPEATED[:FRONT]
    assert info.header_bytes + BLOCK_BYTES + 4 == FRONT
    assert len(REPEATED) == info.total_bytes
    assert read_container(REPEATED).header.repeats_front
    short = write_container(Container(replace(HEADER, repeats_front=True), b"abc", b"alpha"))
    assert read_container(short).payload == b"abc"
    assert read_header(short).has_blocks
    assert corrected(short[:-12] + b"x" * 12) == (short[:-12] + b"x" * 12, 0)
    assert "the copy of its first block" in str(read_partial(short[:-12] + b"x" * 12).problem)
    without_blocks = bytearray(short)
    without_blocks[2] &= ~4
    with pytest.raises(StreamError):
        read_header(bytes(without_blocks))


@pytest.mark.parametrize("lost", [1, 20, 300, FRONT])
def test_a_lost_front_is_restored_from_its_copy(lost: int) -> None:
    damaged = NOISE(lost) + REPEATED[lost:]
    assert corrected(damaged).data == REPEATED
    assert read_partial(damaged).container == read_container(REPEATED)


@given(st.integers(2, MOST_DIFFERENCES), st.integers(0, 2**32))
def test_front_and_copy_correct_each_other(count: int, seed: int) -> None:
    bits = random.Random(seed).sample(range(8 * FRONT), count)
    behind = 8 * (len(REPEATED) - FRONT)
    damaged = with_flips(REPEATED, [bit + behind * (place % 2) for place, bit in enumerate(bits)])
    assert corrected(damaged).data[:FRONT] == REPEATED[:FRONT]
    assert read_partial(damaged).container == read_container(REPEATED)


def test_a_front_and_copy_that_are_both_lost() -> None:
    damaged = with_flips(REPEATED, list(range(800, 8000, 100)))
    damaged = with_flips(damaged, list(range(8 * len(damaged) - 8 * 1200, 8 * len(damaged), 97)))
    assert corrected(damaged).bits == 0
    with pytest.raises(StreamError):
        read_partial(damaged)


def test_cut_files_are_not_corrected_beyond_their_end() -> None:
    for cut in (FRONT - 9, FRONT + 100, len(REPEATED) - 1):
        reading = read_partial(REPEATED[:cut])
        assert reading.is_short
        assert read_container(REPEATED).payload.startswith(reading.container.payload)


def test_no_header_is_longer_than_those_that_are_looked_for() -> None:
    header = replace(HEADER, width=1 << 28, height=1 << 28, seed=2**64 - 1, timestep=4095)
    header = replace(header, shortened=Shortened(4095, 16383), repeats_front=True)
    info = StreamInfo(header, 0, MAX_PACKET_BYTES, MAX_PACKET_BYTES, MAX_PACKET_BYTES).laid_out()
    assert info.header_bytes <= HEADER_BYTES
    assert info.front_bytes <= FRONT_BYTES


def test_the_effects_are_those_of_zlib() -> None:
    import zlib

    from diffcodec.bitstream.correction import _effects

    zeros = bytearray(900)
    for following, bit in ((0, 0), (0, 7), (5, 3), (899, 6)):
        zeros[-1 - following] = 1 << bit
        assert zlib.crc32(zeros) ^ zlib.crc32(bytes(900)) == int(_effects()[following, bit])
        zeros[-1 - following] = 0
    assert len(np.unique(_effects())) == _effects().size
