"""What calibration measures, how it rounds, and that its level lists are the best there are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.calibration import (
    CLASS_SIDES,
    END_WEIGHTS,
    SIDE_BITS,
    SIZE_CLASSES,
    STEPS,
    ErrorCurve,
    LevelPlanner,
    calibrate,
    candidate_levels,
    end_weights,
    expected_divergence,
    make_level,
    make_level_lists,
    make_variances,
    mean_colour,
    measure_error_curve,
)
from diffcodec.channel import TrellisChannel
from diffcodec.checkpoint import Checkpoint, ModelCard
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.images import Picture
from diffcodec.tables import INFORMATION_FROM, INFORMATION_SCALE, LOG_SNR_SCALE, MAX_LISTS, OCTAVE_STEPS, SNR_SCALE
from diffcodec.transform import BANDS, BlockTransform
from tests.conftest import make_tiny_checkpoint, smooth_pixels

SCHEDULE = NoiseSchedule(ScheduleConfig())


def images_of(side: int, count: int) -> Tensor:
    pictures = np.stack([smooth_pixels(side, side, seed) for seed in range(count)])
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def made_up_curve() -> ErrorCurve:
    """Errors that fall with the SNR, the sooner the lower the band."""
    log_snr = np.linspace(-8, 9, 18)
    variances = 0.25 / (1 + np.exp(log_snr[:, None] + np.linspace(0, 6, BANDS)))
    return ErrorCurve(log_snr, variances, np.full(BANDS, 0.3))


# --------------------------------------------------------------------------------------- error curve


class Blind:
    """A denoiser that takes every picture for black, and says at which levels it was asked."""

    def __init__(self) -> None:
        self.config = make_tiny_checkpoint().config
        self.asked: list[float] = []

    def estimate_x_0(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        self.asked.append(level.log_snr)
        return torch.full_like(x_t, -1.0)


@pytest.mark.parametrize("side", [32, 5])
def test_the_error_curve_is_the_mean_square_of_the_error_in_every_band(side: int) -> None:
    blind, images, done = Blind(), images_of(side, 3), list[int]()
    curve = measure_error_curve(cast(Denoiser, blind), images, points=4, progress=done.append)
    assert done == [1, 2, 3, 4]
    assert blind.asked == pytest.approx(np.linspace(-8.5, 9.6, 4))
    transform = BlockTransform(3, side, side)

    def by_band(errors: Tensor) -> NDArray[np.float64]:
        squares = transform.forward(errors.reshape(3, -1).numpy()).astype(np.float64) ** 2
        whole = squares.mean()
        bands = [squares[:, transform.band == band] for band in range(BANDS)]
        return np.array([own.mean() if own.size else whole for own in bands])

    for row in curve.variances:
        np.testing.assert_allclose(row, by_band(images.float() / 127.5), rtol=1e-4)
    colour = torch.tensor(mean_colour(images))[:, None, None] / (128 * 127.5) - 1
    np.testing.assert_allclose(curve.start, by_band(images.float() / 127.5 - 1 - colour), rtol=1e-4)


def test_the_error_curve_falls() -> None:
    curve = measure_error_curve(make_tiny_checkpoint().denoiser(), images_of(8, 2), points=12)
    assert curve.variances.shape == (12, BANDS)
    assert np.all(np.diff(curve.variances, axis=0) <= 1e-15)
    assert curve.variances.min() > 0
    assert curve.variances[-1].mean() < 0.1 * curve.variances[0].mean()


def test_the_error_curve_is_interpolated_geometrically() -> None:
    curve = made_up_curve()
    np.testing.assert_allclose(curve.at(curve.log_snr[3]), curve.variances[3])
    between = curve.at((curve.log_snr[3] + curve.log_snr[4]) / 2)
    np.testing.assert_allclose(between, np.sqrt(curve.variances[3] * curve.variances[4]))
    np.testing.assert_allclose(curve.at(-50.0), curve.variances[0])
    np.testing.assert_allclose(curve.at(50.0), curve.variances[-1])
    np.testing.assert_array_equal(curve.at(-math.inf), curve.start)


def test_mean_colour_is_in_units_of_the_tables() -> None:
    images = torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    images[0, 0], images[1, 2] = 255, 1
    assert mean_colour(images) == (128 * 255 // 2, 0, 64)


# ------------------------------------------------------------------------------------ integer tables


def test_variances_are_rounded_to_eighths_of_an_octave() -> None:
    curve = made_up_curve()
    found = make_variances(curve)
    np.testing.assert_allclose(np.array(found.log_snr) / LOG_SNR_SCALE, curve.log_snr, atol=0.5 / LOG_SNR_SCALE)
    for octaves, variances in ((found.octaves, curve.variances), (found.start, curve.start)):
        assert np.abs(np.array(octaves) - OCTAVE_STEPS * np.log2(variances)).max() <= 0.5 + 1e-9


def test_information_is_the_formula_rounded() -> None:
    found = make_variances(made_up_curve())
    for place, value in enumerate(found.information):
        bits = 0.5 * math.log2(1 + 2 ** ((place + INFORMATION_FROM) / OCTAVE_STEPS))
        assert abs(value - max(1, INFORMATION_SCALE * bits)) <= 0.5
    assert found.expected(0) == INFORMATION_SCALE // 2


@pytest.mark.parametrize("log_snr", [-8.5, -0.3, 0.0, 9.6])
def test_levels_are_rounded(log_snr: float) -> None:
    level = make_level(log_snr)
    assert abs(level.log_snr - log_snr * LOG_SNR_SCALE) <= 0.5
    assert abs(level.snr - SNR_SCALE * math.exp(level.log_snr / LOG_SNR_SCALE)) <= 0.5


# --------------------------------------------------------------------------------------- level lists


def test_candidates_are_dense_and_hold_the_timesteps_where_files_end() -> None:
    found = candidate_levels(SCHEDULE)
    gaps = np.diff([SCHEDULE.log_snr[SCHEDULE.steps], *found])
    assert gaps.min() > 0
    assert gaps.max() <= 0.1 + 1e-9
    assert found[-1] == SCHEDULE.log_snr[1]
    assert set(found) >= {SCHEDULE.log_snr[t] for t in END_WEIGHTS}
    # Most are timesteps, whose files are then prefixes of finer ones.
    assert len(set(found) & set(SCHEDULE.log_snr.tolist())) > len(found) / 2


LOG_SNR = np.array([-math.inf, -5.0, -3.5, -2.0, -0.5, 0.5, 2.0, 3.5, 5.0, 7.0])
COUNTS = np.array(BlockTransform(3, 16, 16).counts)
DIMS = 3 * 16 * 16


@cache
def divergence_of(start: float, end: float) -> float:
    """Expected KL of a step in bits, by the definition."""
    gained = (math.exp(end) - math.exp(start)) * made_up_curve().at(start)
    return sum(count / 2 * math.log2(1 + each) for count, each in zip(COUNTS.tolist(), gained.tolist(), strict=True))


DIVERGENCE = np.array([[divergence_of(a, b) if a < b else 0.0 for b in LOG_SNR] for a in LOG_SNR])


def mean_length(path: Sequence[float], ends: Mapping[int, float]) -> float:
    """Weighted mean of the lengths of files that follow a list to their ends, relative to the least."""
    channel, total = TrellisChannel(12), 0.0
    for end, weight in ends.items():
        stop = float(LOG_SNR[end])
        visited = [-math.inf, *(level for level in path if level < stop), stop]
        divergences = [divergence_of(a, b) for a, b in itertools.pairwise(visited)]
        paid = [channel.path_bits(channel.length_for(each, DIMS), DIMS) + SIDE_BITS for each in divergences]
        total += weight * sum(paid) / sum(divergence_of(a, b) for a, b in itertools.pairwise(LOG_SNR[: end + 1]))
    return total


def test_expected_divergence_is_the_formula() -> None:
    np.testing.assert_allclose(expected_divergence(made_up_curve(), LOG_SNR, COUNTS), DIVERGENCE)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("ends", [{9: 1.0}, {9: 0.1, 5: 1.0}, {9: 1.0, 7: 0.3, 3: 0.5}])
def test_the_planner_finds_the_best_of_all_lists(steps: int, ends: dict[int, float]) -> None:
    found = LevelPlanner(LOG_SNR, DIVERGENCE, DIMS, ends).plan(steps)
    last = float(LOG_SNR[-1])
    paths = [(*chosen, last) for chosen in itertools.combinations(LOG_SNR[1:-1].tolist(), steps - 1)]
    every = {path: mean_length(path, ends) for path in paths}
    # The planner interpolates what the trellis pays, and does not round it to bits.
    assert every[tuple(found)] <= 1.003 * min(every.values())
    if 1 < steps < len(LOG_SNR) - 1:
        assert np.median(list(every.values())) > 1.02 * min(every.values())


def test_where_files_end_decides_where_the_levels_are() -> None:
    fine, coarse = (LevelPlanner(LOG_SNR, DIVERGENCE, DIMS, ends).plan(3) for ends in ({9: 1.0}, {9: 0.01, 4: 1.0}))
    assert sum(coarse) < sum(fine)


def test_the_planner_has_no_more_levels_than_candidates() -> None:
    assert LevelPlanner(LOG_SNR, DIVERGENCE, DIMS, {9: 1.0}).plan(50) == LOG_SNR[1:].tolist()


def test_files_end_at_the_levels_nearest_to_their_timesteps() -> None:
    log_snr = np.array([-math.inf, *candidate_levels(SCHEDULE)])
    found = end_weights(SCHEDULE, log_snr)
    assert {float(log_snr[end]): weight for end, weight in found.items()} == {
        float(SCHEDULE.log_snr[t]): weight for t, weight in END_WEIGHTS.items()
    }
    short = NoiseSchedule(ScheduleConfig(steps=30))
    assert sorted(end_weights(short, short.log_snr[::-1]).items()) == [(10, END_WEIGHTS[20]), (29, END_WEIGHTS[1])]


def test_there_is_a_list_of_every_length_for_every_size() -> None:
    lists = make_level_lists(made_up_curve(), SCHEDULE)
    assert [(each.max_pixels, len(each.levels)) for each in lists] == list(itertools.product(SIZE_CLASSES, STEPS))
    assert len(lists) <= MAX_LISTS
    assert len(SIZE_CLASSES) == len(CLASS_SIDES)
    assert {each.levels[-1] for each in lists} == {make_level(float(SCHEDULE.log_snr[1]))}
    assert all(each.mse == () for each in lists)


# ---------------------------------------------------------------------------------------- calibrate


def test_calibrated_tables_are_those_of_the_pictures(tiny_checkpoint: Checkpoint) -> None:
    tables = tiny_checkpoint.tables
    assert tables is not None
    assert tables.variances is not None
    assert tables.start == mean_colour(images_of(16, 8))
    octaves = np.array(tables.variances.octaves)
    assert np.all(np.diff(octaves, axis=0) <= 0)
    assert [level.log_snr for level in tables.timesteps] == [
        make_level(float(value)).log_snr for value in SCHEDULE.log_snr[1:]
    ]


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [(0, {}, "needs pictures"), (1, {"default_steps": 5}, "steps: expected one of 4, 8, 12, 16, 24, 32, 64, found 5")],
)
def test_calibration_checks_what_it_is_given(count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calibrate(make_tiny_checkpoint(), images_of(8, 1)[:count], **options)


def checkpoint_of(schedule: ScheduleConfig, **network: Any) -> Checkpoint:
    """Untrained, and told the timestep, as imported models are."""
    config = ModelConfig(
        UNetConfig(channels=8, multipliers=(1,), blocks=1, conditioning="timestep", embedding_channels=8, **network),
        schedule,
    )
    return Checkpoint(config, ModelCard("untrained"), dict(Denoiser(config).named_parameters()))


@pytest.mark.parametrize(("steps", "default_steps", "lengths"), [(100, 16, STEPS), (20, 8, (4, 8, 12, 16, 19))])
def test_short_schedules_are_calibrated_too(steps: int, default_steps: int, lengths: tuple[int, ...]) -> None:
    checkpoint = checkpoint_of(ScheduleConfig(steps, 0.1 / steps, 20 / steps if steps > 20 else 0.5))
    calibrated = calibrate(
        checkpoint, images_of(8, 2), default_steps=default_steps, points=8, length_pictures=1, effort=8
    )
    assert calibrated.tables is not None
    assert tuple(len(each.levels) for each in calibrated.tables.lists) == 2 * lengths
    picture = Picture(smooth_pixels(8, 8), None)
    codec = DiffusionCodec(calibrated)
    for timestep in (0, 1, steps):
        restored = codec.decompress(codec.compress(picture, timestep=timestep, effort=8))
        assert restored.pixels.shape == picture.pixels.shape
        assert timestep or np.array_equal(restored.pixels, picture.pixels)


def test_schedules_that_are_too_short_for_a_list_say_how_long_theirs_are() -> None:
    with pytest.raises(ConfigError, match="steps: the model's schedule is for lists of 4, 8, 9 levels, found 16"):
        calibrate(checkpoint_of(ScheduleConfig(10, 0.01, 0.5)), images_of(8, 1), points=4)


def test_only_models_of_colour_pictures_are_calibrated() -> None:
    with pytest.raises(CheckpointError, match="untrained: expected a model of 3 channels, RGB, found 1"):
        calibrate(checkpoint_of(ScheduleConfig(), image_channels=1), images_of(8, 1))
