"""Shortened files: what they restore, how long they are, and what cannot be shortened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from diffcodec import compression
from diffcodec.bitstream.container import Container, Cut, read_container, read_header, write_container
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, CorruptStreamError, ImageTooLargeError, TruncatedStreamError
from diffcodec.images import Picture
from diffcodec.lossless.stored import StoredKind
from diffcodec.metadata import Metadata
from diffcodec.tables import Level
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
    scope="module", params=["trellis", "poisson", "few steps", "grey", "seed", "between levels", "lossless"]
)
def data(request: pytest.FixtureRequest, codec: DiffusionCodec) -> bytes:
    """Files of many kinds."""
    options: dict[str, dict[str, int | str]] = {
        "poisson": {"channel": "poisson"}, "few steps": {"steps": 4}, "seed": {"seed": 99},
        "between levels": {"timestep": 3}, "lossless": {"timestep": 0},
    }  # fmt: skip
    picture = replace(PICTURE, pixels=PICTURE.pixels[..., 1].copy()) if request.param == "grey" else PICTURE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "store", lambda picture: (StoredKind.PNG, bytes(10**6)))
        return codec.compress(picture, **{"timestep": 2, "effort": 8} | options.get(request.param, {})).data  # type: ignore[arg-type]


def test_every_cut_restores_what_the_original_does(codec: DiffusionCodec, data: bytes) -> None:
    original = read_header(data).header
    tables = codec.tables
    seen = []
    for cut in every_cut(codec, data):
        header = read_container(cut).header
        assert header.cut is not None
        assert header.cut.timestep == original.timestep
        seen.append(header.cut.steps)
        level = tables.lists[header.level_list].levels[header.cut.steps - 1]
        assert tables.level(header.timestep) == level  # all levels of the tiny model are those of timesteps
        shorter, wanted = codec.restore(cut), codec.restore(data, timestep=header.timestep)
        assert_same_picture(shorter.picture, wanted.picture)
        assert shorter.picture.metadata == PICTURE.metadata
        for figure in ("step", "timestep", "payload_bits"):
            assert getattr(shorter, figure) == getattr(wanted, figure)
        assert shorter.steps == header.cut.steps
        assert shorter.verified
        assert len(list(codec.progressive(cut))) == header.cut.steps
    assert seen[0] == codec.restore(data).steps - 1
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
    with pytest.raises(ConfigError, match=f"photo.dfc cannot be cut to 9 bytes: its first step takes {len(cuts[-1])}$"):
        codec.truncate(data, 9, name="photo.dfc")


def test_versions_of_a_cut(codec: DiffusionCodec) -> None:
    data = codec.compress(PICTURE, timestep=2).data
    cut = codec.truncate(data, len(data) * 2 // 3)
    end = read_header(cut).header.timestep
    assert codec.restore(cut, timestep=end).timestep == end
    assert_same_picture(codec.decompress(cut, timestep=300), codec.decompress(data, timestep=300))
    with pytest.raises(ConfigError, match=f"timestep {end - 1} is finer than the stream, which ends at {end}"):
        codec.restore(cut, timestep=end - 1)
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
    """The list has three levels between t = 10 and t = 9: a cut after each of them is still told from the others."""
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
    previews = list(other.progressive(data))
    for cut in every_cut(other, data):
        header, preview = read_header(cut).header, other.restore(cut)
        assert_same_picture(preview.picture, previews[preview.steps - 1].picture)
        assert header.timestep - 1 < preview.timestep <= header.timestep


def test_a_stored_picture_cannot_be_cut(codec: DiffusionCodec) -> None:
    data = codec.compress(Picture(np.full((9, 9, 3), 7, np.uint8)), timestep=0).data
    assert codec.truncate(data, len(data)) == data
    with pytest.raises(ConfigError, match=r"flat\.dfc stores its picture as a whole"):
        codec.truncate(data, len(data) - 1, name="flat.dfc")


def test_a_cut_file_is_salvaged(codec: DiffusionCodec) -> None:
    data = codec.compress(Picture(PICTURE.pixels), timestep=2).data
    broken = data[: len(data) * 2 // 3]
    with pytest.raises(TruncatedStreamError):
        codec.truncate(broken, 10**6)
    mended = codec.truncate(broken, 10**6, partial=True)
    assert len(mended) <= len(broken) + 8
    assert_same_picture(codec.decompress(mended), codec.decompress(broken, partial=True))
    assert codec.truncate(data[:-2], 10**6, partial=True) == data
    with pytest.raises(TruncatedStreamError, match="does not hold a single step"):
        codec.truncate(data[:14], 10**6, partial=True)


def test_what_no_cut_looks_like(codec: DiffusionCodec) -> None:
    container = read_container(codec.truncate(data := codec.compress(PICTURE, timestep=2).data, len(data) // 2))
    header = container.header
    assert header.cut is not None
    for wrong in (
        replace(header, cut=Cut(2, 12)),
        replace(header, cut=Cut(2, header.cut.steps - 1)),
        replace(header, timestep=header.timestep + 1),
    ):
        with pytest.raises(CorruptStreamError, match="do not lead to timestep"):
            codec.decompress(write_container(Container(wrong, container.payload)))
    with pytest.raises(ImageTooLargeError):
        codec.truncate(data, 99, max_pixels=100)
    with pytest.raises(ConfigError, match="max_bytes: expected an integer"):
        codec.truncate(data, 99.5)  # type: ignore[arg-type]
