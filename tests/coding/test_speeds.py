"""Speeds stand for an effort and a level list; explicit settings take precedence."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.options import CompressionSettings
from diffcodec.coding.speed import DEFAULT_SPEED, SPEEDS, steps_at
from diffcodec.errors import ConfigError
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.tables import CodecTables


@pytest.fixture(scope="module")
def tables() -> CodecTables:
    return DiffusionCodec.for_size(32, 32).tables


def test_faster_is_never_more_work(tables: CodecTables) -> None:
    default = tables.default_steps
    work = [(steps_at(speed, tables, 32 * 32) or default, setting.effort) for speed, setting in enumerate(SPEEDS)]
    assert len(work) == 11
    for slow, fast in pairwise(work):
        assert slow != fast
        assert slow[0] >= fast[0]
        assert slow[0] > fast[0] or slow[1] > fast[1]
    assert work[DEFAULT_SPEED] == (default, 12)
    assert work[0] == (64, 16)


def test_the_default_is_the_default(codec: DiffusionCodec, picture: Picture) -> None:
    assert codec.compress(picture, speed=DEFAULT_SPEED).data == codec.compress(picture).data


def test_what_is_given_takes_precedence(tables: CodecTables) -> None:
    settings = CompressionSettings(speed=10, effort=13, steps=64)
    assert settings.path_effort == 13
    assert len(tables.lists[settings.level_list(tables, 32 * 32)].levels) == 64
    assert CompressionSettings(speed=0).path_effort == 16


def test_a_model_of_few_lists_takes_the_nearest(tables: CodecTables) -> None:
    one = replace(tables, lists=tables.lists[:1], default_steps=len(tables.lists[0].levels))
    assert {steps_at(speed, one, 1) for speed in range(11)} <= {None, one.default_steps}
    assert {steps_at(speed, replace(tables, default_steps=0), 1) for speed in range(11)} == {None}


@pytest.mark.parametrize(
    ("speed", "message"),
    [(-1, "speed: expected 0 to 10, found -1"), (11, "found 11"), ("fast", "speed: expected an integer")],
)
def test_other_speeds_are_refused(speed: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompressionSettings(speed=speed)  # type: ignore[arg-type]


@pytest.mark.parametrize("speed", range(len(SPEEDS)))
def test_files_of_every_speed_are_restored(codec: DiffusionCodec, picture: Picture, speed: int) -> None:
    stream = codec.compress(picture, timestep=4, speed=speed)
    header = read_header(stream.data).header
    assert (header.effort, header.level_list) == (
        SPEEDS[speed].effort,
        CompressionSettings(speed=speed).level_list(codec.tables, header.pixels),
    )
    restored = codec.decompress(stream)
    assert restored.steps == len(stream.report.steps)
    assert psnr_db(squared_error(picture.pixels, restored.pixels)) == pytest.approx(stream.report.psnr_db)
