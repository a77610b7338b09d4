"""Files with a checksum for every block and packet: every cut and every flip leaves what comes before it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.bitstream.container import (
    Container,
    Reading,
    read_container,
    read_header,
    read_partial,
    what_is_wrong,
    write_container,
)
from diffcodec.bitstream.layout import BLOCK_BYTES
from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError
from tests.bitstream.containers import HEADER, with_crc

WHOLE = Container(HEADER, random.Random(1).randbytes(4300), b"alpha" * 7, b"notes" * 5)
DATA = write_container(WHOLE)
INFO = read_header(DATA)

BORDERS = [INFO.header_bytes + number * (BLOCK_BYTES + 4) for number in range(3)]
"""Where the blocks start."""

PACKETS_FROM = INFO.header_bytes + len(WHOLE.payload) + 3 * 4
METADATA_FROM = PACKETS_FROM + 35 + 4


def flipped(data: bytes, position: int, change: int = 0xFF) -> bytes:
    return data[:position] + bytes([data[position] ^ change]) + data[position + 1 :]


def block_of(position: int) -> int:
    return sum(position >= border for border in BORDERS) - 1


def test_every_cut_leaves_what_is_there() -> None:
    for cut in range(INFO.header_bytes, len(DATA)):
        reading = read_partial(DATA[:cut])
        within = cut - INFO.header_bytes
        blocks, rest = divmod(within, BLOCK_BYTES + 4)
        there = min(blocks * BLOCK_BYTES + min(rest, BLOCK_BYTES), len(WHOLE.payload))
        assert reading.container.payload == WHOLE.payload[:there]
        assert reading.complete == (there == len(WHOLE.payload))
        # What is not covered yet is given, but not vouched for.
        assert reading.verified == (cut >= PACKETS_FROM or (blocks > 0 and rest == 0))
        assert reading.container.alpha == (WHOLE.alpha if cut >= METADATA_FROM else None)
        assert reading.container.metadata is None
        assert reading.problem == f"is cut: it has {cut} of its {len(DATA)} bytes"
        left = f"the first {there} of its 4300 payload bytes" if there < 4300 else "the picture without "
        message = rf"photo\.dfc is cut: .*: fetch it again, or restore {left}"
        with pytest.raises(TruncatedStreamError, match=message) as caught:
            read_container(DATA[:cut], name="photo.dfc")
        assert caught.value.parameters == ("partial",)


@pytest.mark.parametrize("change", [0x03, 0x81, 0xFF])
def test_flips_of_several_bits_leave_what_comes_before(change: int) -> None:
    for position in range(len(DATA)):
        damaged = flipped(DATA, position, change)
        with pytest.raises(StreamError):
            read_container(damaged)
        if position < BORDERS[1]:  # the header might be wrong
            check_that_nothing_wrong_is_read(damaged)
            continue
        reading = read_partial(damaged)
        assert reading.info == INFO
        assert reading.verified
        in_payload = position < PACKETS_FROM
        intact = WHOLE.payload[: block_of(position) * BLOCK_BYTES] if in_payload else WHOLE.payload
        assert reading.container.payload == intact
        assert reading.complete == (not in_payload)
        in_alpha = PACKETS_FROM <= position < METADATA_FROM
        assert reading.container.alpha == (None if in_alpha else WHOLE.alpha)
        assert reading.container.metadata == (None if position >= METADATA_FROM else WHOLE.metadata)


def check_that_nothing_wrong_is_read(damaged: bytes) -> None:
    """A flipped length may make a file look cut: then nothing of it is vouched for."""
    try:
        reading = read_partial(damaged, max_pixels=10**17)
    except StreamError:
        return
    assert not reading.verified


def test_damage_is_described() -> None:
    second, alpha = flipped(DATA, BORDERS[1] + 100), flipped(DATA, PACKETS_FROM + 2)
    with pytest.raises(CorruptStreamError) as caught:
        read_container(second, name="photo.dfc")
    assert str(caught.value) == (
        f"photo.dfc is damaged: bytes {BORDERS[1]} to {BORDERS[2] - 1}, in its payload, do not match their checksum: "
        "fetch it again, or restore the first 2048 of its 4300 payload bytes"
    )
    assert caught.value.parameters == ("partial",)
    with pytest.raises(CorruptStreamError) as caught:
        read_container(alpha, name="photo.dfc")
    assert str(caught.value) == (
        f"photo.dfc is damaged: bytes {PACKETS_FROM} to {METADATA_FROM - 1}, the alpha plane, do not match their "
        "checksum: fetch it again, or restore the picture without the alpha plane"
    )
    for read in (read_container, read_partial):
        with pytest.raises(CorruptStreamError) as caught:
            read(flipped(DATA, 90), name="photo.dfc")
        assert str(caught.value) == (
            f"photo.dfc is damaged: bytes 0 to {BORDERS[1] - 1}, including its header, do not match their "
            "checksum, so nothing of it can be restored: fetch it again"
        )
    assert what_is_wrong(DATA) is None
    assert str(what_is_wrong(second)).startswith("it is damaged: bytes 20")
    assert str(what_is_wrong(flipped(DATA, 90))).startswith("it is damaged: bytes 0 to")
    assert what_is_wrong(DATA[:4000]) == f"it is cut: it has 4000 of its {len(DATA)} bytes"


def test_a_later_block_that_fits_does_not_count_after_a_damaged_one() -> None:
    """Somebody mended the checksums of the blocks behind."""
    start = flipped(DATA[: BORDERS[1] + 2048], BORDERS[1] + 7) + DATA[BORDERS[1] + 2048 : BORDERS[2]]
    mended = with_crc(start + WHOLE.payload[4096:]) + DATA[PACKETS_FROM:]
    assert read_partial(mended).container.payload == WHOLE.payload[:2048]


def test_surplus_and_damage_in_one_file() -> None:
    problem = f"is damaged: it has {len(DATA) + 4} bytes instead of the {len(DATA)} that its header declares"
    assert read_partial(DATA + b"more") == Reading(WHOLE, INFO, problem=problem)
    with pytest.raises(CorruptStreamError, match=r"restore the picture$") as caught:
        read_container(DATA + b"more")
    assert caught.value.parameters == ("partial",)
    damaged = read_partial(flipped(DATA, BORDERS[1])[:-3])
    assert damaged.container == Container(HEADER, WHOLE.payload[:2048], WHOLE.alpha)
    assert "bytes 20" in str(damaged.problem)


def test_lost_and_inserted_bytes_leave_what_comes_before() -> None:
    for damaged in (DATA[:3000] + DATA[3001:], DATA[:3000] + b"?" + DATA[3000:], DATA[:3000] + bytes(len(DATA) - 3000)):
        reading = read_partial(damaged)
        assert reading.container == Container(HEADER, WHOLE.payload[:2048])
        assert reading.verified
        assert not reading.complete


def test_a_lying_length_costs_nothing() -> None:
    head = bytes.fromhex("df6326010203041433e8ffffff7fffffff7fffffffff7fffffffff7f")
    reading = read_partial(head + bytes(500), max_pixels=10**17)
    assert reading.container.payload == bytes(500)
    assert not reading.verified


@given(st.binary(max_size=40), st.binary(max_size=9000))
def test_random_bytes_behind_a_header_raise_ours(head: bytes, body: bytes) -> None:
    try:
        read_partial(b"\xdfc\x24" + head + body)
    except StreamError:
        return
