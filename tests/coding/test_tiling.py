"""Divisions of pictures, and files whose steps have several messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding import step_plan
from diffcodec.coding.canvas import RGB, Canvas
from diffcodec.coding.step_plan import StepPlan
from diffcodec.coding.tiling import Tiling, by_shape
from diffcodec.images import Picture
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import PHOTO_MODEL
from tests.conftest import assert_same_picture, smooth_pixels

tilings = st.builds(Tiling, st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([0, 32, 100, 512]))


@given(tilings, st.data())
def test_the_tiles_of_every_division_cover_the_picture_once(tiling: Tiling, data: st.DataObject) -> None:
    division = data.draw(st.integers(0, tiling.depth))
    tiles = tiling.tiles(division)
    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert len(tiles) == np.prod(tiling.counts(division))
    assert sum(tile.height * tile.width for tile in tiles) == tiling.width * tiling.height
    seen = np.zeros((tiling.height, tiling.width), np.uint8) if tiling.width * tiling.height < 10**6 else None
    for tile in tiles:
        assert min(tile.shape) > 0
        if seen is not None:
            seen[tile.rows, tile.columns] += 1
    assert seen is None or (seen == 1).all()
    assert sorted(tile.number for shape in by_shape(tiles) for tile in shape) == list(range(len(tiles)))
    assert len(by_shape(tiles)) <= 9


@given(tilings, st.data())
def test_parents_hold_their_tiles(tiling: Tiling, data: st.DataObject) -> None:
    fine = data.draw(st.integers(0, tiling.depth))
    coarse = data.draw(st.integers(0, fine))
    parents = tiling.tiles(coarse)
    for tile, parent in zip(tiling.tiles(fine), tiling.parents(coarse, fine), strict=True):
        outer = parents[parent]
        assert outer.top <= tile.top <= tile.top + tile.height <= outer.top + outer.height
        assert outer.left <= tile.left <= tile.left + tile.width <= outer.left + outer.width


@given(st.integers(1, 5000), st.integers(32, 600))
def test_finest_tiles_are_about_as_large_as_wanted(length: int, side: int) -> None:
    widths = [tile.width for tile in Tiling(length, 1, side).tiles(Tiling(length, 1, side).depth)]
    if len(widths) > 1:
        # Borders lie between blocks of 32 pixels.
        assert max(widths) < 1.5 * side + 64
        assert len(widths) * 0.75 * side <= length


SLOW_KINDS = [pytest.param(name, marks=pytest.mark.slow) for name in ("grey", "poisson")]


@pytest.fixture(scope="module", params=["colour", *SLOW_KINDS])
def large(request: pytest.FixtureRequest) -> tuple[Picture, dict[str, str]]:
    pixels = smooth_pixels(70, 133)
    pixels[:, 64:] = 90  # a calm part
    if request.param == "grey":
        return Picture(pixels[..., 0].copy()), {}
    if request.param == "poisson":
        return Picture(pixels[:40, 30:131].copy()), {"channel": "poisson"}  # it is slow
    return Picture(pixels), {}


def test_a_tiled_file_is_restored_and_its_prefixes_too(
    tiled_codec: DiffusionCodec, large: tuple[Picture, dict[str, str]]
) -> None:
    picture, options = large
    timestep = 50 if options else 20  # the Poisson channel is slow
    stream = tiled_codec.compress(picture, timestep=timestep, effort=8, **options)  # type: ignore[arg-type]
    restored = tiled_codec.decompress(stream)
    error = np.mean((restored.pixels.astype(float) - picture.pixels) ** 2)
    assert error == pytest.approx(stream.report.rmse**2, rel=0.02)
    assert stream.report.delivered_bits == pytest.approx(stream.report.ideal_bits, rel=0.25)  # a rough model
    cut = tiled_codec.truncate(stream.data, len(stream.data) * 2 // 3)
    shortened = read_header(cut).header.shortened
    assert shortened is not None
    every = list(tiled_codec.progressive(stream))
    assert_same_picture(tiled_codec.decompress(cut).picture, every[shortened.steps - 1].picture)


def test_the_calm_part_takes_few_bits(tiled_codec: DiffusionCodec, codec: DiffusionCodec) -> None:
    """Its tiles have short messages, and hence small variances."""
    busy = smooth_pixels(64, 192)
    calm = busy.copy()
    calm[:, 64:] = 100
    sizes = [len(tiled_codec.compress(Picture(each), timestep=20, effort=8).data) for each in (busy, calm)]
    assert sizes[1] < sizes[0]


def test_tiles_share_no_noise(tiled_codec: DiffusionCodec) -> None:
    canvas = tiled_codec.canvas_for(Picture(smooth_pixels(64, 64)))
    levels = tiled_codec.tables.lists[0]
    plan = StepPlan(tiled_codec.tables, levels, canvas, seed=7)
    keys = [key for step, end in enumerate(levels.levels) for batch in plan.batches(step, end) for key in batch.keys]
    assert len(keys) == len(set(keys)) > len(levels.levels)


def test_divisions_only_get_finer_and_follow_what_steps_say(tiled_codec: DiffusionCodec) -> None:
    levels = tiled_codec.tables.lists[0]
    plan = StepPlan(tiled_codec.tables, levels, tiled_codec.canvas_for(Picture(smooth_pixels(256, 256))), seed=0)
    divisions = [plan.division(step, end) for step, end in enumerate(levels.levels)]
    assert divisions == sorted(divisions)
    assert divisions[0] < divisions[-1] == plan.canvas.tiling.depth


@pytest.mark.parametrize(("side", "first"), [(1024, 0), (2048, 1), (4096, 2)])
def test_divisions_of_large_pictures_are_part_of_the_format(side: int, first: int) -> None:
    """From 2048 pixels on even a step without information has tiles, as one would be too large for memory."""
    tables = load_checkpoint(PHOTO_MODEL).tables
    assert tables is not None
    levels = tables.lists[tables.list_for(side * side)]
    plan = StepPlan(tables, levels, Canvas(RGB, side, side, 8, tables.tile_side), seed=0)
    divisions = [plan.division(step, end) for step, end in enumerate(levels.levels)]
    assert divisions == [first] * 2 + [first + 1] * 14


def test_what_goes_through_the_channel_at_once_changes_nothing(
    tiled_codec: DiffusionCodec, large: tuple[Picture, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, options = large
    timestep = 300 if options else 100
    data = tiled_codec.compress(picture, timestep=timestep, effort=8, **options).data  # type: ignore[arg-type]
    together = tiled_codec.decompress(data)
    monkeypatch.setattr(step_plan, "PIXELS_AT_ONCE", 1)
    again = tiled_codec.compress(picture, timestep=timestep, effort=8, **options)  # type: ignore[arg-type]
    assert again.data == data
    assert_same_picture(tiled_codec.decompress(data).picture, together.picture)


def test_batches_of_tiled_pictures(tiled_codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(64, 96, seed)) for seed in range(3)]
    streams = tiled_codec.compress_batch(pictures, timestep=40, effort=8)
    alone = [tiled_codec.compress(picture, timestep=40, effort=8) for picture in pictures]
    for one, other in zip(streams, alone, strict=True):
        assert len(one.data) == pytest.approx(len(other.data), rel=0.02)
        assert one.report.path_bits == pytest.approx(other.report.path_bits, rel=0.02)
    for restored, stream in zip(tiled_codec.decompress_batch(streams), streams, strict=True):
        expected = tiled_codec.decompress(stream).pixels.astype(int)
        assert np.abs(restored.pixels - expected).max() <= 1


def test_without_tiles_nothing_is_divided(codec: DiffusionCodec) -> None:
    tiling = codec.canvas_for(Picture(smooth_pixels(300, 200))).tiling
    assert tiling.depth == 0
    assert [tile.shape for tile in tiling.tiles(0)] == [(300, 200)]
