"""Tables for the lossless model, and the model once more with Python's own integers, pixel by pixel."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diffcodec.calibration.lossless_fit import shape_table
from diffcodec.lossless.context import LATTICES, Pass, passes_for
from diffcodec.lossless.tables import PassFit, ResidualFit

SHAPE = shape_table((0.1, 2.0))


def plain_fit(channels: int) -> ResidualFit:
    """No prediction; the spread follows the mean of the neighbours' residuals; 13 classes."""
    passes = []
    for step in passes_for(channels):
        count = max(1, len(step.neighbours))
        weights = [4096 // count] * len(step.neighbours)
        passes.append(PassFit((0,) * len(step.neighbours), (1024, *weights, *[128] * 8)))
    thresholds = tuple(int(32 * 1.4**k) for k in range(12))
    scales = tuple(int(16 * 4096 / (0.4 * 1.4**k)) for k in range(13))
    return ResidualFit(0, 64, tuple(passes), thresholds, scales)


def random_fit(channels: int, rng: np.random.Generator, reach: int) -> ResidualFit:
    """Any coefficients up to `reach`, any classes."""
    passes = tuple(
        PassFit(
            tuple(rng.integers(-reach, reach + 1, len(step.neighbours)).tolist()),
            tuple(rng.integers(0, reach + 1, step.spread_features).tolist()),
        )
        for step in passes_for(channels)
    )
    count = int(rng.integers(0, 40))
    thresholds = tuple(np.sort(rng.integers(0, 1 << 20, count)).tolist())
    scales = tuple(np.exp(rng.uniform(0, np.log(1 << 24), count + 1)).astype(int).tolist())
    return ResidualFit(0, 64, passes, thresholds, scales)


def naive_shares(shape: tuple[int, ...], centre: int, inverse_scale: int) -> list[int]:
    """Code points of the 256 values of one pixel, less one each."""
    heights = [0]
    for value in range(1, 256):
        edge = value * 128 - 64
        place = (edge - centre) * inverse_scale // 2048 + len(shape) // 2 * 256
        place = min(max(place, 0), (len(shape) - 1) * 256 - 1)
        index, fraction = divmod(place, 256)
        heights.append(shape[index] + (shape[index + 1] - shape[index]) * fraction // 256)
    heights.append(shape[-1])
    return [high - low for low, high in pairwise(heights)]


def naive_message(
    shape: tuple[int, ...], fit: ResidualFit, pixels: NDArray[np.uint8], means: NDArray[np.int64]
) -> list[tuple[int, list[int]]]:
    """Value and shares of every pixel, in the order in which they are coded."""
    channels, height, width = means.shape
    coded: dict[tuple[int, int, int], int] = {}
    message = []
    for step, pass_fit in zip(passes_for(channels), fit.passes, strict=True):
        row, column = LATTICES[step.lattice]
        fresh = {}
        for y in range(row, height, 2):
            for x in range(column, width, 2):
                known = [coded.get((c, y + down, x + right), 0) for c, down, right in step.neighbours]
                centre, spread = _centre_and_spread(means, step, pass_fit, known, y, x)
                scale = fit.inverse_scales[bisect_right(fit.thresholds, spread)]
                value = int(pixels[step.channel, y, x])
                message.append((value, naive_shares(shape, centre, scale)))
                fresh[step.channel, y, x] = value * 128 - int(means[step.channel, y, x])
        coded |= fresh
    return message


def _centre_and_spread(
    means: NDArray[np.int64], step: Pass, fit: PassFit, known: list[int], y: int, x: int
) -> tuple[int, int]:
    channels, height, width = means.shape

    def gradients(c: int) -> list[int]:
        sides = ((y, x - 1), (y - 1, x), (y, x + 1), (y + 1, x))
        return [
            abs(int(means[c, y, x]) - int(means[c, min(max(b, 0), height - 1), min(max(a, 0), width - 1)]))
            for b, a in sides
        ]

    correction = sum(a * b for a, b in zip(known, fit.prediction, strict=True))
    own = gradients(step.channel)
    others = [sum(gradients(c)[k] for c in range(channels) if c != step.channel) for k in range(4)]
    features = [128, *map(abs, known), *own, *others]
    spread = sum(a * b for a, b in zip(features, fit.spread, strict=True)) // 4096
    return int(means[step.channel, y, x]) + (correction + 2048) // 4096, spread
