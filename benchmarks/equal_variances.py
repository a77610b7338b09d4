"""The codec as it would be if p had the variance of q: what variances by band are held against."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from diffcodec.calibration import LevelPlanner, candidate_levels, end_weights, make_level
from diffcodec.codec import DiffusionCodec
from diffcodec.tables import MAX_MSE, MSE_SCALE, OCTAVE_STEPS, SNR_SCALE, LevelList
from diffcodec.transform import BlockTransform


def with_equal_variances(codec: DiffusionCodec, steps: int, *, side: int = 32) -> DiffusionCodec:
    """The same network with equal variances, and the best list of so many levels for these.

    Args:
        codec: of a model with variances by band, which give the error curve.
        steps: number of levels.
        side: of a typical picture.
    """
    tables = codec.tables
    assert tables.variances is not None
    counts = np.array(BlockTransform(3, side, side).counts)
    candidates = [make_level(value) for value in candidate_levels(codec.denoiser.schedule)]
    octaves = [tables.variances.at(level) for level in (None, *candidates)]
    mse = np.exp2(np.array(octaves) / OCTAVE_STEPS) @ counts / counts.sum()
    snr = np.array([0, *(level.snr for level in candidates)]) / SNR_SCALE
    log_snr = np.array([-math.inf, *candidate_levels(codec.denoiser.schedule)])
    divergence = np.maximum(snr - snr[:, None], 0) * mse[:, None] * counts.sum() / (2 * math.log(2))
    planned = LevelPlanner(log_snr, divergence, int(counts.sum()), end_weights(codec.denoiser.schedule, log_snr))
    levels = tuple(make_level(value) for value in planned.plan(steps))
    place = {level: index for index, level in enumerate((None, *candidates))}
    errors = [mse[place[start]] for start in (None, *levels[:-1])]
    stored = tuple(min(max(1, round(MSE_SCALE * float(error))), MAX_MSE) for error in errors)
    equal = replace(tables, variances=None, lists=(LevelList(0, levels, stored),), default_steps=0)
    return DiffusionCodec(codec.checkpoint.with_tables(equal), device=codec.device, denoiser=codec.denoiser)
