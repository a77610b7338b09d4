"""Containers of all kinds, and checksums."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace

from hypothesis import strategies as st

from diffcodec.bitstream.container import ColourMode, Container, Header, Shortened

HEADER = Header(
    fingerprint=b"\x01\x02\x03\x04",
    colour=ColourMode.RGB,
    channel=1,
    effort=12,
    level_list=3,
    timestep=1000,
    width=32,
    height=32,
)

headers = st.builds(
    Header,
    fingerprint=st.binary(min_size=4, max_size=4),
    colour=st.sampled_from(ColourMode),
    channel=st.integers(0, 3),
    effort=st.integers(8, 23),
    level_list=st.integers(0, 15),
    timestep=st.integers(0, 4095),
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    seed=st.integers(0, 2**64 - 1),
    repeats_front=st.booleans(),
)


@st.composite
def cut_headers(draw: st.DrawFn) -> Header:
    """Headers of files that were shortened."""
    header = draw(headers.filter(lambda header: header.timestep > 0))
    return replace(header, shortened=Shortened(draw(st.integers(0, header.timestep)), draw(st.integers(1, 16383))))


@st.composite
def long_bytes(draw: st.DrawFn) -> bytes:
    """Up to five blocks."""
    return random.Random(draw(st.integers(0, 99))).randbytes(draw(st.integers(0, 9000)))


packets = st.none() | st.binary(max_size=20) | long_bytes()
containers = st.builds(Container, headers | cut_headers(), st.binary(max_size=300) | long_bytes(), packets, packets)


def with_crc(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "big")
