"""The codec as it would be if p had the variance of q: what variances by band are held against."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diffcodec.calibration.level_lists import LevelPlanner, candidate_levels, end_weights, make_level
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.canvas import RGB
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.model.levels import MAX_MSE, MSE_SCALE, SNR_SCALE, Level, LevelList
from diffcodec.model.tables import OCTAVE_STEPS, Variances


def band_counts(side: int) -> NDArray[np.int64]:
    """Number of coefficients of every band in a square colour picture."""
    return RGB.transform(side, side).counts(RGB.bands)


def stored_error(variances: Variances, level: Level | None, counts: NDArray[np.int64]) -> int:
    """Squared error of the estimate at a level (None: given nothing), as tables have it."""
    return min(max(1, round(MSE_SCALE * mean_error(variances, level, counts))), MAX_MSE)


def mean_error(variances: Variances, level: Level | None, counts: NDArray[np.int64]) -> float:
    """Squared error of the estimate at a level (None: given nothing), mean of all coefficients.

    Args:
        variances: by band.
        level: where.
        counts: coefficients of every band.
    """
    return float(np.exp2(np.array(variances.at(level)) / OCTAVE_STEPS) @ counts / counts.sum())


def planner_for_equal_variances(
    variances: Variances, schedule: NoiseSchedule, side: int, *, between: bool = True
) -> LevelPlanner:
    """Finds the best level lists for equal variances.

    Args:
        variances: by band, which give the error curve.
        schedule: whose timesteps are candidates.
        side: of a typical picture.
        between: see `candidate_levels`.
    """
    candidates, counts = candidate_levels(schedule, between=between), band_counts(side)
    levels = [make_level(value) for value in candidates]
    snr = np.array([0, *(level.snr for level in levels)]) / SNR_SCALE
    errors = np.array([mean_error(variances, level, counts) for level in (None, *levels)])
    dims = int(counts.sum())
    divergence = np.maximum(snr - snr[:, None], 0) * errors[:, None] * dims / (2 * math.log(2))
    log_snr = np.array([-math.inf, *candidates])
    return LevelPlanner(log_snr, divergence, dims, end_weights(schedule, log_snr))


def with_equal_variances(codec: DiffusionCodec, steps: int, *, side: int = 32) -> DiffusionCodec:
    """The same network with equal variances, and the best list of so many levels for these.

    Args:
        codec: of a model with variances by band, which give the error curve.
        steps: number of levels.
        side: of a typical picture.
    """
    tables, counts = codec.tables, band_counts(side)
    variances = tables.variances
    assert variances is not None
    planner = planner_for_equal_variances(variances, codec.denoiser.schedule, side)
    levels = tuple(make_level(value) for value in planner.plan(steps))
    errors = tuple(stored_error(variances, start, counts) for start in (None, *levels[:-1]))
    equal = replace(tables, variances=None, lists=(LevelList(0, levels, errors),), default_steps=0)
    return DiffusionCodec(codec.checkpoint.with_tables(equal), denoiser=codec.denoiser)
