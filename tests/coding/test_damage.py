"""Large files that are cut or damaged: the part before the damage is restored, and the damage is named."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from diffcodec.bitstream.container import read_container, read_header, read_partial
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream, Restoration
from diffcodec.coding.stream import ParsedStream
from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError
from diffcodec.images import Picture
from diffcodec.images.metadata import Metadata
from tests.conftest import assert_same_picture, smooth_pixels


@pytest.fixture(scope="module", params=["codec", pytest.param("tiled_codec", marks=pytest.mark.slow)])
def codec(request: pytest.FixtureRequest) -> DiffusionCodec:
    """A message a step, and one for each tile."""
    found: DiffusionCodec = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def large(codec: DiffusionCodec) -> Bitstream:
    """A file of some blocks, with alpha plane and metadata."""
    noisy = smooth_pixels(48, 64).astype(int) + np.random.default_rng(0).integers(-30, 31, (48, 64, 3))
    alpha = smooth_pixels(48, 64, 3)[..., 0]
    picture = Picture(np.clip(noisy, 0, 255).astype(np.uint8), alpha, Metadata(b"profile", b"Exif"))
    return codec.compress(picture, timestep=2, effort=8)


@pytest.fixture(scope="module")
def steps(codec: DiffusionCodec, large: Bitstream) -> list[Restoration]:
    """What its steps restore."""
    return list(codec.progressive(large))


def test_report_adds_up(large: Bitstream) -> None:
    report, info = large.report, read_header(large.data)
    assert info.has_blocks
    assert info.blocks >= 3
    assert report.metadata_bytes == info.metadata_bytes
    assert report.header_bytes == info.header_bytes + info.check_bytes
    parts = report.header_bytes + info.payload_bytes + report.alpha_bytes + report.metadata_bytes
    assert parts == report.file_bytes == len(large.data)


def test_metadata_comes_back(codec: DiffusionCodec, large: Bitstream) -> None:
    assert codec.decompress(large).picture.metadata == Metadata(b"profile", b"Exif")


def check_prefix(found: Restoration, steps: list[Restoration]) -> None:
    """Whether pixels and figures are those of the intact file after as many steps."""
    expected = steps[found.step - 1]
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.timestep, found.steps) == (expected.timestep, expected.steps)


def test_20_cuts(codec: DiffusionCodec, large: Bitstream, steps: list[Restoration]) -> None:
    data = large.data
    for cut in random.Random(0).sample(range(len(data)), 20):
        with pytest.raises(TruncatedStreamError, match=r"photo\.dfc is cut"):
            codec.decompress(ParsedStream.parse(data[:cut], name="photo.dfc"))
        found = codec.decompress(data[:cut], partial=True)
        assert found.problem == f"is cut: it has {cut} of its {len(data)} bytes"
        assert found.picture.metadata == Metadata()
        if found.step:
            check_prefix(found, steps)


def test_100_flips(codec: DiffusionCodec, large: Bitstream, steps: list[Restoration]) -> None:
    data, info = large.data, read_header(large.data)
    generator, reached = random.Random(0), set()
    for position in generator.sample(range(len(data)), 100):
        damaged = bytearray(data)
        damaged[position] ^= generator.choice((0x03, 0x50, 0x81, 0xFF))  # a single bit would be corrected
        with pytest.raises(StreamError, match=r"photo\.dfc is damaged: bytes"):
            codec.decompress(ParsedStream.parse(bytes(damaged), name="photo.dfc"))
        if position < info.header_bytes + 2048 + 4:
            with pytest.raises(CorruptStreamError, match="nothing of it can be restored"):
                codec.decompress(bytes(damaged), partial=True)
            continue
        # All steps once for each block; two of them after each flip.
        payload = len(read_partial(bytes(damaged)).container.payload)
        found = codec.decompress(bytes(damaged), partial=True, timestep=None if payload not in reached else 500)
        reached.add(payload)
        assert found.verified
        first, last = (int(number) for number in re.findall(r"\d+", str(found.problem))[:2])
        assert first <= position <= last
        check_prefix(found, steps)
        alpha, metadata = found.picture.alpha, found.picture.metadata
        assert (alpha is None) + (not metadata) <= 1
        if alpha is not None:
            assert np.array_equal(alpha, steps[0].picture.alpha)  # type: ignore[arg-type]
    assert len(reached) >= info.blocks - 1


def test_damaged_files_are_salvaged(codec: DiffusionCodec, large: Bitstream) -> None:
    data = large.data
    damaged = data[:4500] + b"????" + data[4504:]
    mended = codec.truncate(ParsedStream.parse(damaged, partial=True), 10**6)
    assert len(mended) < len(damaged)
    container = read_container(mended)
    assert container.alpha == read_container(data).alpha
    assert_same_picture(codec.decompress(mended).picture, codec.decompress(damaged, partial=True).picture)
    alone = data[:-3] + b"???"
    mended = codec.truncate(ParsedStream.parse(alone, partial=True), 10**6)
    assert read_container(mended).payload == read_container(data).payload
    assert read_container(mended).metadata is None


def test_a_damaged_stored_picture_is_not_restored(codec: DiffusionCodec) -> None:
    """But one that is whole is, its alpha plane included, if what is damaged is only its empty alpha packet."""
    noise = np.random.default_rng(0).integers(0, 256, (44, 40, 4), np.uint8)
    picture = Picture(noise[..., :3].copy(), noise[..., 3].copy())
    data = codec.compress(picture, timestep=0, effort=8).data
    assert ParsedStream.parse(data).is_stored
    assert_same_picture(codec.decompress(data).picture, picture)
    damaged = data[:3000] + b"????" + data[3004:]
    with pytest.raises(TruncatedStreamError, match=r"photo\.dfc is damaged and stores its picture as a whole"):
        codec.decompress(ParsedStream.parse(damaged, partial=True, name="photo.dfc"))
    with pytest.raises(TruncatedStreamError, match=r"photo\.dfc is cut and stores its picture as a whole"):
        codec.decompress(ParsedStream.parse(data[:3000], partial=True, name="photo.dfc"))
    damaged = data[:-1] + bytes([data[-1] ^ 3])
    found = codec.decompress(damaged, partial=True)
    assert_same_picture(found.picture, picture)
    assert codec.truncate(ParsedStream.parse(damaged, partial=True), len(data)) == data
    assert "the alpha plane" in str(found.problem)


def test_a_file_that_repeats_its_front(codec: DiffusionCodec, large: Bitstream, steps: list[Restoration]) -> None:
    noisy = smooth_pixels(48, 64).astype(int) + np.random.default_rng(0).integers(-30, 31, (48, 64, 3))
    picture = Picture(np.clip(noisy, 0, 255).astype(np.uint8))
    plain, repeated = (codec.compress(picture, timestep=2, effort=8, repeat_front=each).data for each in (False, True))
    info = read_header(repeated)
    assert info.header.repeats_front
    assert len(repeated) == info.total_bytes
    # One byte of flags, the copy, and checksums if there were no blocks without it.
    assert len(repeated) - len(plain) - info.front_bytes <= 1 + info.check_bytes
    assert_same_picture(codec.decompress(repeated).picture, codec.decompress(plain).picture)
    lost = bytes(200) + repeated[200:]
    with pytest.raises(StreamError):
        codec.decompress(lost)
    assert_same_picture(codec.decompress(lost, partial=True).picture, codec.decompress(plain).picture)
    shorter = codec.truncate(repeated, len(repeated) * 2 // 3)
    assert len(shorter) <= len(repeated) * 2 // 3
    assert read_header(shorter).header.repeats_front
    found = codec.decompress(bytes(100) + shorter[100:], partial=True)
    assert_same_picture(found.picture, codec.decompress(shorter).picture)


def test_one_wrong_bit_loses_nothing(codec: DiffusionCodec, large: Bitstream, steps: list[Restoration]) -> None:
    for position in (3, 30, 1500, 2500, len(large.data) - 2):
        damaged = bytearray(large.data)
        damaged[position] ^= 0x20
        found = codec.decompress(bytes(damaged), partial=True)
        assert found.problem == "is damaged: 1 bit is wrong, which its checksums correct"
        assert_same_picture(found.picture, codec.decompress(large.data).picture)
