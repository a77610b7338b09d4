"""Targets: files that meet a size, a rate or a PSNR, found in one walk."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.coding.targets import Target
from diffcodec.errors import ConfigError, TargetError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels
from tests.counting import counting


@settings(max_examples=4 if settings().max_examples < 100 else settings().max_examples)
@given(
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    grey=st.booleans(),
    alpha=st.booleans(),
    channel=st.sampled_from(["trellis", "poisson"]),
    quantity=st.sampled_from(["file_bytes", "bpp", "psnr_db"]),
    timestep=st.integers(1, 1000),
    excess=st.sampled_from([0.9, 1.0, 1.1]),
    seed=st.sampled_from([0, 7]),
)
def test_the_file_meets_its_target_is_that_of_its_timestep_and_its_neighbour_misses(
    codec: DiffusionCodec,
    width: int,
    height: int,
    grey: bool,
    alpha: bool,
    channel: str,
    quantity: str,
    timestep: int,
    excess: float,
    seed: int,
) -> None:
    pixels = smooth_pixels(height, width, seed=timestep)
    picture = Picture(pixels[..., 1] if grey else pixels, smooth_pixels(height, width)[..., 0] if alpha else None)
    options: dict[str, Any] = {"channel": channel, "effort": 8, "seed": seed}

    def at(t: int) -> Bitstream:
        return codec.compress(picture, timestep=t, **options)

    value = excess * getattr(at(timestep).report, quantity)
    assume(0 < value < math.inf)
    target = Target(quantity, value)  # type: ignore[arg-type]
    try:
        found = codec.compress(picture, target=target, **options)
    except TargetError:
        assert not target.is_met_by(at(1000 if target.is_limit else 1).report)
        return
    report = found.report
    assert target.is_met_by(report)
    same = at(report.timestep)
    assert found.data == same.data
    assert (report.psnr_db, len(report.steps), report.path_bits) == (
        same.report.psnr_db,
        len(same.report.steps),
        same.report.path_bits,
    )
    neighbour = report.timestep + (-1 if target.is_limit else 1)
    if 1 <= neighbour <= 1000:
        assert not target.is_met_by(at(neighbour).report)


@pytest.mark.parametrize("psnr_db", [12, 20, 28, 36])
def test_the_decoder_sees_the_psnr(codec: DiffusionCodec, picture: Picture, psnr_db: float) -> None:
    restored = codec.decompress(codec.compress(picture, target=Target.psnr(psnr_db)))
    error = np.mean((restored.pixels.astype(float) - picture.pixels) ** 2)
    assert psnr_db <= 10 * math.log10(255**2 / error) < psnr_db + 2


def test_a_size_takes_the_evaluations_of_its_timestep_and_of_levels_before_the_next(
    tiny_checkpoint: Checkpoint, picture: Picture
) -> None:
    codec, network = counting(tiny_checkpoint)
    tables = codec.tables
    for most in range(20, 400, 90):
        timestep = codec.compress(picture, target=Target.bytes(most)).report.timestep
        searched = len(network.batch_sizes())
        codec.compress(picture, timestep=timestep)
        here, finer = (tables.level(t).log_snr for t in (timestep, max(1, timestep - 1)))
        assert searched <= len(network.batch_sizes()) + sum(
            here < level.log_snr < finer for level in tables.lists[0].levels
        )


def test_a_psnr_takes_one_evaluation_for_each_halving_of_the_timesteps_between_two_levels(
    tiny_checkpoint: Checkpoint, picture: Picture
) -> None:
    codec, network = counting(tiny_checkpoint)
    stops = [level.log_snr for level in codec.tables.lists[0].levels]
    for least in range(10, 28, 2):
        timestep = codec.compress(picture, target=Target.psnr(least)).report.timestep
        searched = len(network.batch_sizes())
        codec.compress(picture, timestep=timestep)
        above = bisect_left(stops, codec.tables.level(timestep).log_snr)
        between = sum(bisect_left(stops, level.log_snr) == above for level in codec.tables.timesteps)
        assert searched <= len(network.batch_sizes()) + 1 + math.ceil(math.log2(between))


def test_every_picture_of_a_batch_meets_the_target_at_a_timestep_of_its_own(codec: DiffusionCodec) -> None:
    flat, busy = np.full((8, 8, 3), 90, np.uint8), np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    pictures = [Picture(flat), Picture(busy)]
    streams = codec.compress_batch(pictures, target=Target.psnr(20))
    assert all(stream.report.psnr_db >= 20 for stream in streams)
    assert streams[0].report.timestep > streams[1].report.timestep
    assert [stream.data for stream in streams] == [
        codec.compress(picture, target=Target.psnr(20)).data for picture in pictures
    ]
    reached = [codec.compress(picture, timestep=1).report.psnr_db for picture in pictures]
    with pytest.raises(TargetError, match=rf"^picture {reached.index(min(reached)) + 1} of 2: a PSNR of"):
        codec.compress_batch(pictures, target=Target.psnr(max(reached)))
    assert codec.compress_batch([], target=Target.psnr(20)) == []


def test_a_target_that_is_always_met_is_the_end_of_the_range(codec: DiffusionCodec, picture: Picture) -> None:
    assert codec.compress(picture, target=Target.bytes(10**9)).report.timestep == 1
    assert codec.compress(picture, target=Target.bpp(10**400)).report.timestep == 1
    assert codec.compress(picture, target=Target.psnr(0.001)).report.timestep == 1000


def test_a_target_that_cannot_be_met_names_the_nearest_that_can(codec: DiffusionCodec, picture: Picture) -> None:
    coarsest, finest = (codec.compress(picture, timestep=t).report for t in (1000, 1))
    size = f"no file of at most 10 bytes: the coarsest, at t = 1000, takes {coarsest.file_bytes} bytes"
    with pytest.raises(TargetError, match=f"^{size}$"):
        codec.compress(picture, target=Target.bytes(10))
    with pytest.raises(TargetError, match=r"^no file of at most 0.5 bpp: the coarsest, at t = 1000, takes") as caught:
        codec.compress(picture, target=Target.bpp(0.5))
    named = float(re.findall(r"takes (\S+) bpp", str(caught.value))[0])
    assert codec.compress(picture, target=Target.bpp(named)).report.bpp <= named < coarsest.bpp + 0.001
    message = r"^a PSNR of 60 dB cannot be reached: the finest lossy file \(t = 1\) has "
    with pytest.raises(TargetError, match=message) as caught:
        codec.compress(picture, target=Target.psnr(60))
    assert str(caught.value).endswith(" dB; t = 0 is lossless")
    named = float(re.findall(r"has (\S+) dB", str(caught.value))[0])
    assert codec.compress(picture, target=Target.psnr(named)).report.psnr_db >= named > finest.psnr_db - 0.01


@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, -math.inf, "800", None])
@pytest.mark.parametrize("make", [Target.bytes, Target.bpp, Target.psnr])
def test_nonsense_is_no_target(make: Callable[[float], Target], value: float) -> None:
    with pytest.raises(ConfigError, match=r"expected a finite .* above 0, found"):
        make(value)


def test_numbers_of_numpy_are_targets_too(codec: DiffusionCodec, picture: Picture) -> None:
    plain = codec.compress(picture, target=Target.bytes(80))
    assert codec.compress(picture, target=Target.bytes(np.int16(80))).data == plain.data  # type: ignore[arg-type]


def test_a_timestep_and_a_target_exclude_each_other(codec: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(ConfigError, match="found timestep and target"):
        codec.compress(picture, timestep=300, target=Target.bytes(800))


def test_times_of_the_whole_search_are_reported(codec: DiffusionCodec, picture: Picture) -> None:
    report = codec.compress(picture, target=Target.psnr(20)).report
    assert report.network_s > 0
    assert report.coding_s > 0
