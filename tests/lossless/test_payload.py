"""The payload of lossless files: one way to write it, and every other way is refused."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError
from diffcodec.lossless.payload import LosslessPayload, pixel_checksum
from diffcodec.lossless.stored import StoredKind

MAX_STEPS = (1 << 21) - 2
"""What three bytes hold."""

modelled = st.builds(
    LosslessPayload,
    st.one_of(st.integers(1, 300), st.integers(1, MAX_STEPS)),
    st.none(),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=30),
)
stored = st.builds(LosslessPayload, st.just(0), st.sampled_from(StoredKind), st.just(0), st.binary(max_size=30))


@given(modelled | stored)
def test_what_was_written_is_read(payload: LosslessPayload) -> None:
    found = LosslessPayload.from_bytes(payload.to_bytes())
    assert found == payload
    assert found.stored is None or isinstance(found.stored, StoredKind)


@pytest.mark.parametrize(
    ("steps", "beginning"),
    [
        (1, "02"),
        (2, "03"),
        (126, "7f"),
        (127, "8001"),
        (128, "8101"),
        (16382, "ff7f"),
        (16383, "808001"),
        (MAX_STEPS, "ffff7f"),
    ],
)
def test_the_number_of_steps_is_written_as_the_format_says(steps: int, beginning: str) -> None:
    data = LosslessPayload(steps, None, 0x01020304, b"body").to_bytes()
    assert data.hex() == beginning + "01020304" + b"body".hex()
    assert LosslessPayload.from_bytes(data).steps == steps


def test_stored_pictures_follow_one_byte() -> None:
    assert LosslessPayload(0, StoredKind.WEBP, 0, b"abc").to_bytes() == b"\0abc"
    assert LosslessPayload(0, StoredKind.PNG, 0, b"abc").to_bytes() == b"\1abc"
    assert LosslessPayload.from_bytes(b"\0") == LosslessPayload(0, StoredKind.WEBP, 0, b"")


@given(modelled)
def test_every_cut_is_truncated_up_to_the_body_and_a_shorter_body_after_it(payload: LosslessPayload) -> None:
    data = payload.to_bytes()
    for end in range(len(data)):
        body = end - (len(data) - len(payload.body))
        if body < 0:
            with pytest.raises(TruncatedStreamError, match="cut before its first step"):
                LosslessPayload.from_bytes(data[:end])
        else:
            found = LosslessPayload.from_bytes(data[:end])
            assert (found.steps, found.checksum, found.body) == (payload.steps, payload.checksum, payload.body[:body])


@pytest.mark.parametrize("number", ["8000", "8100", "ff00", "808000", "818000", "828100"])
def test_padded_numbers_are_corrupt(number: str) -> None:
    with pytest.raises(CorruptStreamError, match="padded"):
        LosslessPayload.from_bytes(bytes.fromhex(number) + b"\0\0\0\0body")


@pytest.mark.parametrize("number", ["808080", "80808001", "ffffff7f", "ffffffffff"])
def test_long_numbers_are_corrupt(number: str) -> None:
    with pytest.raises(CorruptStreamError, match="too long"):
        LosslessPayload.from_bytes(bytes.fromhex(number) + b"\0\0\0\0body")


@given(st.binary(max_size=12))
def test_any_bytes_are_written_the_same_way_or_refused(data: bytes) -> None:
    try:
        found = LosslessPayload.from_bytes(data)
    except StreamError:
        return
    assert found.to_bytes() == data


def test_short_numbers_are_all_different() -> None:
    """Of all beginnings of three bytes, those that are read give each number once."""
    seen: dict[tuple[int, StoredKind | None], bytes] = {}
    for low, middle, high in itertools.product((0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xFF), repeat=3):
        number = bytes([low, middle, high])
        try:
            found = LosslessPayload.from_bytes(number + b"\0" * 9)
        except CorruptStreamError:
            continue
        used = number[: 13 - 1 - len(found.body) - (4 if found.stored is None else 0)]
        assert seen.setdefault((found.steps, found.stored), used) == used


def test_checksum_is_that_of_the_pixels_row_by_row() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_checksum(pixels) == zlib.crc32(bytes(range(24)))
    # However the array lies in memory.
    assert pixel_checksum(np.asfortranarray(pixels)) == zlib.crc32(bytes(range(24)))
    assert pixel_checksum(pixels[:, ::2]) == zlib.crc32(np.ascontiguousarray(pixels[:, ::2]).tobytes())
    assert pixel_checksum(pixels) != pixel_checksum(pixels.transpose(1, 0, 2))
    assert pixel_checksum(pixels[..., 0]) == zlib.crc32(bytes(range(0, 24, 3)))
