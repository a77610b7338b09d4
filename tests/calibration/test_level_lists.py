"""The planned level lists are the best there are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pytest

from diffcodec.calibration.error_curve import BANDS
from diffcodec.calibration.level_lists import (
    CLASS_SIDES,
    END_WEIGHTS,
    SIDE_BITS,
    SIZE_CLASSES,
    STEPS,
    LevelPlanner,
    candidate_levels,
    end_weights,
    expected_divergence,
    make_level,
    make_level_lists,
)
from diffcodec.channel import TrellisChannel
from diffcodec.coding.canvas import RGB
from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.model.levels import LOG_SNR_SCALE, SNR_SCALE
from diffcodec.model.tables import MAX_LISTS
from tests.calibration.measured import made_up_curve

SCHEDULE = NoiseSchedule(ScheduleConfig())


@pytest.mark.parametrize("log_snr", [-8.5, -0.3, 0.0, 9.6])
def test_levels_are_rounded(log_snr: float) -> None:
    level = make_level(log_snr)
    assert abs(level.log_snr - log_snr * LOG_SNR_SCALE) <= 0.5
    assert abs(level.snr - SNR_SCALE * math.exp(level.log_snr / LOG_SNR_SCALE)) <= 0.5


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
COUNTS = RGB.transform(16, 16).counts(BANDS)
DIMS = 3 * 16 * 16


@cache
def divergence_of(start: float, end: float) -> float:
    """Expected KL of a step in bits, by the definition."""
    gained = (math.exp(end) - math.exp(start)) * made_up_curve().at(start)
    bits = [count / 2 * math.log2(1 + each) for count, each in zip(COUNTS.tolist(), gained.tolist(), strict=True)]
    return math.fsum(bits)


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
