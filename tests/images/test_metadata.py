"""The metadata packet: round trips, lies about its length, damage."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.errors import CorruptStreamError, ImageError, StreamError, UnsupportedVersionError
from diffcodec.images.deflate import deflate
from diffcodec.images.metadata import MAX_METADATA_BYTES, Metadata
from tests.conftest import with_one_byte_changed

items = st.none() | st.binary(max_size=3000)


@given(st.builds(Metadata, items, items).filter(bool))
def test_round_trip(metadata: Metadata) -> None:
    assert Metadata.from_bytes(metadata.to_bytes()) == metadata


def test_known_layout() -> None:
    both = Metadata(b"profile", b"")
    assert both.to_bytes() == b"\x03\0\0\0\x07\0\0\0\0" + deflate(b"profile")
    assert Metadata(exif=b"Exif").to_bytes() == b"\x02\0\0\0\x04" + deflate(b"Exif")
    assert zlib.decompress(both.to_bytes()[9:], wbits=-15) == b"profile"


def test_nothing_and_too_much_are_not_written() -> None:
    with pytest.raises(ImageError, match="no metadata"):
        Metadata().to_bytes()
    with pytest.raises(ImageError, match="compress it without its metadata"):
        Metadata(bytes(MAX_METADATA_BYTES + 1)).to_bytes()
    largest = Metadata(bytes(MAX_METADATA_BYTES))
    assert Metadata.from_bytes(largest.to_bytes()) == largest


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"\0" + deflate(b""),
        b"\x01\0\0\0",
        b"\x03\0\0\0\x01" + deflate(b"a"),
        b"\x01\0\0\0\x01" + deflate(b""),
        b"\x01\0\0\0\x01" + deflate(b"ab"),
        b"\x01\0\0\0\x01" + deflate(b"a") + b"more",
        b"\x01\0\0\0\x01" + deflate(b"a")[:-1],
        b"\x01\x01\0\0\x01" + deflate(b"a"),  # claims more than the limit
        b"\x01\0\0\0\x01" + deflate(bytes(1 << 24)),  # a bomb
    ],
)
def test_other_packets_are_damaged(packet: bytes) -> None:
    with pytest.raises(CorruptStreamError, match="metadata packet is damaged"):
        Metadata.from_bytes(packet)


def test_parts_of_later_releases_are_named() -> None:
    with pytest.raises(UnsupportedVersionError, match="0x4"):
        Metadata.from_bytes(b"\x04\0\0\0\0" + deflate(b""))


def test_every_flip_is_an_error_or_other_metadata() -> None:
    packet = Metadata(b"profile" * 9, b"Exif").to_bytes()
    for damaged in with_one_byte_changed(packet):
        try:
            found = Metadata.from_bytes(damaged)
        except StreamError:
            continue
        assert len(found.icc_profile or b"") + len(found.exif or b"") == 67
