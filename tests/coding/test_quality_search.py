"""A quality from 0 to 100: the timestep whose picture has the score that it stands for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.quality_search import score_of
from diffcodec.coding.targets import Target
from diffcodec.errors import ConfigError
from diffcodec.images import Picture, read_picture
from diffcodec.images.visibility import SAMPLED_PIXELS, SampledSsimulacra2, measure_ssimulacra2
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels
from tests.counting import counting

PHOTOGRAPH = Path(__file__).parents[2] / "benchmarks" / "data" / "chelsea-192.png"


@pytest.fixture(scope="module")
def trained() -> DiffusionCodec:
    return DiffusionCodec.from_pretrained("cifar10-small-v3")


@pytest.fixture(scope="module")
def eye() -> Picture:
    return Picture(np.ascontiguousarray(read_picture(PHOTOGRAPH).pixels[40:88, 50:114]))


def test_scores_of_qualities_rise_to_visually_lossless() -> None:
    scores = [score_of(quality) for quality in range(101)]
    assert all(low < high for low, high in pairwise(scores))
    assert scores[50] == pytest.approx(57)
    assert scores[100] == pytest.approx(90)


def test_better_quality_takes_more_bytes_and_looks_better(trained: DiffusionCodec, eye: Picture) -> None:
    streams = [trained.compress(eye, quality=quality, speed=9) for quality in range(10, 100, 20)]
    scorer = SampledSsimulacra2(eye.pixels)
    scores = [scorer.score(trained.decompress(stream).pixels) for stream in streams]
    assert all(len(low.data) < len(high.data) for low, high in pairwise(streams))
    for quality, score in zip(range(10, 100, 20), scores, strict=True):
        assert score == pytest.approx(score_of(quality), abs=4)


@pytest.mark.parametrize("quality", [0, 33.3, 60, 100])
def test_the_file_is_that_of_its_timestep(quality: float, trained: DiffusionCodec, eye: Picture) -> None:
    found = trained.compress(eye, quality=quality, speed=9)
    assert found.data == trained.compress(eye, timestep=found.report.timestep, speed=9).data
    assert found.data == trained.compress(eye, target=Target.quality(quality), speed=9).data
    assert found.report.psnr_db > 15  # it was measured


def test_every_picture_of_a_batch_has_a_timestep_of_its_own(trained: DiffusionCodec, eye: Picture) -> None:
    flat = Picture(np.full_like(eye.pixels, 120))
    busy, smooth = trained.compress_batch([eye, flat], quality=50, speed=10)
    assert busy.data == trained.compress(eye, quality=50, speed=10).data
    assert smooth.report.timestep != busy.report.timestep
    assert smooth.report.file_bytes < busy.report.file_bytes / 4


def test_it_evaluates_the_network_as_often_as_encoding_does_and_once_more(tiny_checkpoint: Checkpoint) -> None:
    codec, network = counting(tiny_checkpoint)
    picture = Picture(smooth_pixels(20, 24))
    for quality in (5, 30, 60):
        timestep = codec.compress(picture, quality=quality, measure=False).report.timestep
        searched = len(network.batch_sizes())
        codec.compress(picture, timestep=timestep, measure=False)
        # One level is measured beyond those that the file needs.
        assert searched <= len(network.batch_sizes()) + 2


def test_what_no_level_reaches_ends_at_the_finest_one(trained: DiffusionCodec) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    assert trained.compress(noise, quality=100, speed=10).report.timestep == 1


@pytest.mark.parametrize("quality", [-1, 101, float("nan"), "high"])
def test_other_numbers_are_no_quality(quality: float, codec: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(ConfigError, match=r"quality: expected 0 to 100, found "):
        codec.compress(picture, quality=quality)


def test_a_quality_and_a_timestep_exclude_each_other(codec: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(ConfigError, match="found quality and timestep"):
        codec.compress(picture, quality=3, timestep=3)


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 200), (112, 130, 3)])
def test_small_pictures_are_scored_by_their_mirrored_continuation(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    scorer = SampledSsimulacra2(pixels)
    assert scorer.score(pixels) == 100
    assert scorer.score(pixels // 8 * 8) > scorer.score(pixels // 64 * 64)


def test_large_pictures_are_scored_in_windows() -> None:
    pixels = smooth_pixels(1024, 1100)
    assert pixels[..., 0].size > SAMPLED_PIXELS
    scorer = SampledSsimulacra2(pixels)
    assert len(scorer.scorers) == 4
    coarse = np.asarray(pixels // 32 * 32, np.uint8)
    assert abs(scorer.score(coarse) - (measure_ssimulacra2(pixels, coarse) or 0)) < 6
    assert len(SampledSsimulacra2(smooth_pixels(300, 4000)).scorers) == 2
