"""Shortened files: what they restore, how long they are, and what cannot be shortened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from diffcodec.bitstream.container import Container, Shortened, read_container, read_header, write_container
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.options import CompressOptions
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.truncation import truncate
from diffcodec.errors import (
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    ModelMismatchError,
    TruncatedStreamError,
)
from diffcodec.images import Picture
from diffcodec.images.metadata import Metadata
from diffcodec.model.levels import Level
from tests.conftest import assert_same_picture, smooth_pixels

PICTURE = Picture(smooth_pixels(13, 11), smooth_pixels(13, 11, 3)[..., 0], Metadata(b"profile", b"Exif"))


def every_cut(codec: DiffusionCodec, data: bytes) -> Iterator[bytes]:
    """The data shortened to every length that makes a difference, from long to short."""
    limit = len(data) - 1
    while True:
        try:
            yield (cut := codec.truncate(data, limit))
        except ConfigError:
            return
        limit = len(cut) - 1


@pytest.fixture(
    scope="module",
    params=[
        *("trellis", "between levels", "lossless"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("poisson", "grey", "seed", "few steps")),
    ],
)
def data(request: pytest.FixtureRequest, codec: DiffusionCodec) -> bytes:
    """Files of many kinds."""
    options: dict[str, CompressOptions] = {
        "poisson": {"channel": "poisson"},
        "few steps": {"steps": 4},
        "seed": {"seed": 99},
        "between levels": {"timestep": 3},
        "lossless": {"timestep": 0},
    }
    picture = replace(PICTURE, pixels=PICTURE.pixels[..., 1].copy()) if request.param == "grey" else PICTURE
    chosen: CompressOptions = {"timestep": 2, "effort": 8, "may_store": False}
    chosen.update(options.get(request.param, {}))
    return codec.compress(picture, **chosen).data


def test_every_cut_restores_what_the_original_does(codec: DiffusionCodec, data: bytes) -> None:
    original = read_header(data).header
    tables = codec.tables
    seen = []
    for cut in every_cut(codec, data):
        header = read_container(cut).header
        assert header.shortened is not None
        assert header.shortened.timestep == original.timestep
        seen.append(header.shortened.steps)
        level = tables.lists[header.level_list].levels[header.shortened.steps - 1]
        assert tables.level(header.timestep) == level  # all levels of the tiny model are those of timesteps
        shorter, wanted = codec.decompress(cut), codec.decompress(data, timestep=header.timestep)
        assert_same_picture(shorter.picture, wanted.picture)
        assert shorter.picture.metadata == PICTURE.metadata
        for figure in ("step", "timestep", "payload_bits"):
            assert getattr(shorter, figure) == getattr(wanted, figure)
        assert shorter.steps == header.shortened.steps
        assert shorter.verified
        assert len(list(codec.progressive(cut))) == header.shortened.steps
    assert seen[0] == codec.decompress(data).steps - 1
    assert {step - after for step, after in pairwise(seen)} <= {1, 2}  # the first steps may cost less than a byte


def test_a_file_holds_as_many_steps_as_fit(codec: DiffusionCodec, data: bytes) -> None:
    cuts = list(every_cut(codec, data))
    assert codec.truncate(data, len(data)) == codec.truncate(data, 10**6) == data
    for longer, shorter in pairwise(cuts):
        for size in (len(shorter), len(longer) - 1):
            assert codec.truncate(data, size) == shorter
        # A cut of a cut is a cut of the original.
        assert codec.truncate(longer, len(shorter)) == shorter
        assert codec.truncate(longer, len(longer)) == longer
    with pytest.raises(
        ConfigError, match=rf"^photo\.dfc cannot be truncated to 9 bytes: with one step it takes {len(cuts[-1])}$"
    ):
        codec.truncate(ParsedStream.parse(data, name="photo.dfc"), 9)


def test_versions_of_a_cut(codec: DiffusionCodec) -> None:
    data = codec.compress(PICTURE, timestep=2).data
    cut = codec.truncate(data, len(data) * 2 // 3)
    end = read_header(cut).header.timestep
    assert codec.decompress(cut, timestep=end).timestep == end
    assert_same_picture(codec.decompress(cut, timestep=300).picture, codec.decompress(data, timestep=300).picture)
    with pytest.raises(ConfigError, match=f"timestep {end - 1} is finer than the stream, which ends at {end}"):
        codec.decompress(cut, timestep=end - 1)
    together = codec.decompress_batch([cut, data, cut])
    for found, stream in zip(together, (cut, data, cut), strict=True):
        assert np.abs(found.pixels.astype(int) - codec.decompress(stream).pixels).max() <= 1


def test_metadata_can_be_left_out(codec: DiffusionCodec) -> None:
    data = codec.compress(PICTURE, timestep=20).data
    stripped = codec.truncate(data, len(data), keep_metadata=False)
    assert read_header(stripped).header == read_header(data).header
    assert stripped == codec.compress(replace(PICTURE, metadata=Metadata()), timestep=20).data
    assert codec.truncate(data, len(stripped), keep_metadata=False) == stripped


def test_a_level_between_two_timesteps(codec: DiffusionCodec) -> None:
    """The list has three levels between t = 10 and t = 9: files that end at each of them differ."""
    tables = codec.tables
    high, low = tables.level(10), tables.level(9)
    between = tuple(
        Level(high.log_snr + (low.log_snr - high.log_snr) * k // 4, high.snr + (low.snr - high.snr) * k // 4)
        for k in (1, 2, 3)
    )
    levels = (*(level for level in tables.lists[0].levels if level.log_snr < high.log_snr), *between, tables.level(1))
    finer = replace(tables, lists=(replace(tables.lists[0], levels=levels), *tables.lists[1:]), default_steps=0)
    other = DiffusionCodec(codec.checkpoint.with_tables(finer))
    data = other.compress(PICTURE, timestep=1).data
    every = list(other.progressive(data))
    for cut in every_cut(other, data):
        header, restored = read_header(cut).header, other.decompress(cut)
        assert_same_picture(restored.picture, every[restored.steps - 1].picture)
        assert header.timestep - 1 < restored.timestep <= header.timestep


def test_neither_codec_nor_network_is_needed(codec: DiffusionCodec) -> None:
    data = codec.compress(PICTURE, timestep=20).data
    parsed = ParsedStream.parse(data)
    for keep in (True, False):
        cut = truncate(parsed, codec.model, len(data) - 1, keep_metadata=keep)
        assert cut == codec.truncate(data, len(data) - 1, keep_metadata=keep)
    other = replace(codec.model, fingerprint=b"\1\2\3\4")
    with pytest.raises(ModelMismatchError, match="01020304"):
        truncate(parsed, other, len(data))


def test_a_stored_picture_cannot_be_cut(codec: DiffusionCodec) -> None:
    data = codec.compress(Picture(np.full((9, 9, 3), 7, np.uint8)), timestep=0).data
    assert codec.truncate(data, len(data)) == data
    with pytest.raises(ConfigError, match=r"flat\.dfc stores its picture as a whole"):
        codec.truncate(ParsedStream.parse(data, name="flat.dfc"), len(data) - 1)


def test_a_cut_file_is_salvaged(codec: DiffusionCodec) -> None:
    data = codec.compress(Picture(PICTURE.pixels), timestep=2).data
    broken = data[: len(data) * 2 // 3]
    with pytest.raises(TruncatedStreamError):
        codec.truncate(broken, 10**6)
    mended = codec.truncate(ParsedStream.parse(broken, partial=True), 10**6)
    assert len(mended) <= len(broken) + 8
    assert_same_picture(codec.decompress(mended).picture, codec.decompress(broken, partial=True).picture)
    assert codec.truncate(ParsedStream.parse(data[:-2], partial=True), 10**6) == data
    with pytest.raises(TruncatedStreamError, match="does not hold a single complete step"):
        codec.truncate(ParsedStream.parse(data[:14], partial=True), 10**6)


def test_headers_that_no_shortened_file_has(codec: DiffusionCodec) -> None:
    container = read_container(codec.truncate(data := codec.compress(PICTURE, timestep=2).data, len(data) // 2))
    header = container.header
    assert header.shortened is not None
    for wrong in (
        replace(header, shortened=Shortened(2, 12)),
        replace(header, shortened=Shortened(2, header.shortened.steps - 1)),
        replace(header, timestep=header.timestep + 1),
    ):
        with pytest.raises(CorruptStreamError, match="do not lead to timestep"):
            codec.decompress(write_container(Container(wrong, container.payload)))
    with pytest.raises(ImageTooLargeError):
        codec.truncate(ParsedStream.parse(data, max_pixels=100), 99)
    with pytest.raises(ConfigError, match="max_bytes: expected an integer"):
        codec.truncate(data, 99.5)  # type: ignore[arg-type]
