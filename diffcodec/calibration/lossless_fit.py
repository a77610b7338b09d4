"""Fits the integer model of lossless coding (t = 0) to the residuals of a network's estimates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import ndtr
from torch import Tensor

from diffcodec.calibration.error_curve import noisy
from diffcodec.config import GREY_LEVELS_PER_UNIT
from diffcodec.devices import device_of
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_unit
from diffcodec.lossless.context import Contexts, Pass, passes_for
from diffcodec.lossless.residuals import SHAPE_STEPS, corrected_means, spreads
from diffcodec.lossless.rounding import GUARD, UNIT
from diffcodec.lossless.tables import COEFFICIENT_SCALE, SHAPE_TOTAL, LosslessTables, PassFit, ResidualFit
from diffcodec.model.levels import LOG_SNR_SCALE

FIT_TIMESTEPS = (1, 2, 4, 10, 40)
"""Timesteps from which the last step may start."""

CLASSES = 24
SHAPE_REACH = 12
"""Half-width of a shape table, in standard deviations."""

_TAILS = [(0.0, 1.0)] + [(weight, ratio) for weight in (0.03, 0.1, 0.25, 0.5) for ratio in (1.5, 2.0, 3.0)]
"""Candidate shapes, (weight, relative std) of a second, wider normal distribution in the mixture."""

_MAX_ROWS = 60_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Samples:
    """Rounded estimates and pixels of N pictures, (N, C, H, W), in 1 / UNIT grey level and grey levels."""

    means: Integers
    pixels: Integers


@dataclass(frozen=True)
class _Coded:
    """For all pixels of the fitted passes: distances of the pixel's lower and upper edge from its centre, and spread.

    The outermost values, 0 and 255, extend to infinity.
    """

    lower: Floats
    upper: Floats
    spreads: Integers


@torch.no_grad()
def fit_lossless(
    denoiser: Denoiser,
    images: Tensor,
    *,
    timesteps: Sequence[int] = FIT_TIMESTEPS,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> LosslessTables:
    """The lossless model of a network.

    Args:
        denoiser: the network.
        images: (N, C, H, W), uint8, pictures like those to be compressed. With one channel all of them are grey, and
            so are all fits.
        timesteps: levels to fit.
        seed: of the noise.
        progress: called after each fit.
    """
    rng = np.random.default_rng(seed)
    kinds = (False, True) if images.shape[1] > 1 else (True,)
    unfinished: dict[bool, list[tuple[int, int, tuple[PassFit, ...], _Coded]]] = {grey: [] for grey in kinds}
    for grey in unfinished:
        for timestep in sorted(timesteps, reverse=True):
            level = denoiser.schedule.level(timestep)
            exact, pixels = _estimates(denoiser, images, level, grey, rng)
            spacing = best_spacing(float(np.sqrt(np.mean((pixels - exact) ** 2))))
            offsets = rng.integers(0, spacing // 2, exact.shape) * 2
            means = np.floor((exact * UNIT - offsets) / spacing).astype(np.int64) * spacing + offsets + spacing // 2
            samples = _Samples(means, pixels)
            fits, coded = _fit_passes(samples, rng)
            unfinished[grey].append((round(level.log_snr * LOG_SNR_SCALE), spacing, fits, coded))
            progress()
    everything = [coded for entries in unfinished.values() for *_, coded in entries]
    tail = min(_TAILS, key=lambda tail: sum(_class_scales(coded, tail)[2] for coded in everything))
    fitted = {
        grey: tuple(
            ResidualFit(log_snr, spacing, fits, *_class_scales(coded, tail)[:2])
            for log_snr, spacing, fits, coded in entries
        )
        for grey, entries in unfinished.items()
    }
    return LosslessTables(shape_table(tail), fitted[kinds[0]], fitted[True])


def best_spacing(std: float) -> int:
    """The cheapest spacing of the grid of estimates, in 1 / UNIT grey level: a power of two.

    Boundaries that are clear of a value cost -log2(1 - 2 guard / spacing) bits, and rounding costs
    spacing^2 / 24 std^2 nats.

    Args:
        std: of the residuals, in grey levels.
    """

    def cost_bits(spacing: int) -> float:
        rounding = (spacing / UNIT / max(std, 1e-3)) ** 2 / 24
        return (rounding - math.log1p(-2 * GUARD / spacing)) / math.log(2)

    return min((1 << power for power in range(6, 13)), key=cost_bits)


def shape_table(tail: tuple[float, float]) -> tuple[int, ...]:
    """Cumulative distribution of a mixture of two normal distributions around zero, in the integers of the tables.

    Args:
        tail: weight of the wider one, and its standard deviation relative to that of the narrower one.
    """
    points = np.arange(-SHAPE_REACH * SHAPE_STEPS, SHAPE_REACH * SHAPE_STEPS + 1) / SHAPE_STEPS
    heights = np.rint(SHAPE_TOTAL * _cumulative(points, tail)).astype(int)
    return (0, *heights[1:-1].tolist(), SHAPE_TOTAL)


def _cumulative(points: Floats, tail: tuple[float, float]) -> Floats:
    weight, ratio = tail
    result: Floats = (1 - weight) * ndtr(points) + weight * ndtr(points / ratio)
    return result


def _estimates(
    denoiser: Denoiser, images: Tensor, level: NoiseLevel, grey: bool, rng: np.random.Generator
) -> tuple[Floats, Integers]:
    """The network's unrounded estimates in grey levels, and the pixels; (N, C, H, W), C = 1 if grey."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    if grey:
        images = images.float().mean(dim=1, keepdim=True).round().to(torch.uint8).expand_as(images)
    device = device_of(denoiser)
    parts = []
    pixels = images.shape[2] * images.shape[3]
    for batch in torch.split(images, max(1, min(50, 50 * 1024 // pixels))):
        x_0 = to_unit(batch)
        x_t = noisy(x_0, level, generator).to(device)
        estimate = denoiser.estimate_x_0(x_t, level).cpu()
        parts.append(estimate.mean(dim=1, keepdim=True) if grey else estimate)
    exact = (torch.cat(parts).double().numpy() + 1) * GREY_LEVELS_PER_UNIT
    return exact, images[:, : exact.shape[1]].numpy().astype(np.int64)


def _fit_passes(samples: _Samples, rng: np.random.Generator) -> tuple[tuple[PassFit, ...], _Coded]:
    """Fit the coefficients of all passes."""
    contexts = [Contexts(means) for means in samples.means]
    fits, lower, upper, found = [], [], [], []
    for step in passes_for(samples.means.shape[1]):
        residuals = [context.residuals(step) for context in contexts]
        values = samples.pixels[:, step.channel][:, *step.grid].reshape(len(contexts), -1)
        fit = _fit_pass(contexts, step, residuals, values, rng)
        for context, known, own in zip(contexts, residuals, values, strict=True):
            # From here on, use the same integers as the codec.
            centres = corrected_means(context, step, fit, known)
            lower.append(np.where(own == 0, -math.inf, (own - 0.5) * UNIT - centres))
            upper.append(np.where(own == 255, math.inf, (own + 0.5) * UNIT - centres))
            found.append(spreads(context, step, fit, known))
            context.learn(step, own)
        fits.append(fit)
    return tuple(fits), _Coded(np.concatenate(lower), np.concatenate(upper), np.concatenate(found))


def _fit_pass(
    contexts: Sequence[Contexts], step: Pass, residuals: Sequence[Integers], values: Integers, rng: np.random.Generator
) -> PassFit:
    """Alternate weighted least squares for the prediction and maximum normal likelihood for the spread."""
    known = np.concatenate(residuals).astype(float)
    features = np.concatenate(
        [context.spread_features(step, each) for context, each in zip(contexts, residuals, strict=True)]
    ).astype(float)
    means = np.concatenate([context.centres(step) for context in contexts])
    errors = values.reshape(-1) * float(UNIT) - means
    if len(errors) > _MAX_ROWS:
        chosen = rng.choice(len(errors), _MAX_ROWS, replace=False)
        known, features, errors = known[chosen], features[chosen], errors[chosen]
    prediction = np.zeros(known.shape[1])
    spread = np.zeros(features.shape[1])
    spread[0] = 1.0
    for _ in range(3):
        weights = 1 / np.maximum(features @ spread, 1.0)[:, None] ** 2
        if len(prediction):
            gram = known.T @ (known * weights)
            ridge = 1e-3 * np.trace(gram) / len(gram) + 1e-9
            prediction = np.linalg.solve(gram + ridge * np.eye(len(gram)), known.T @ (errors * weights[:, 0]))
        spread = _fit_spread(features, errors - known @ prediction, spread)
    return PassFit(_as_integers(prediction), _as_integers(spread))


def _fit_spread(features: Floats, errors: Floats, start: Floats) -> Floats:
    """Coefficients w >= 0 that minimise the mean of log s + e^2 / 2 s^2 with s = features @ w."""
    # Rounding adds its own variance to a pixel.
    squares = errors**2 + UNIT**2 / 12

    def objective(w: Floats) -> tuple[float, Floats]:
        s = np.maximum(features @ w, 1.0)
        slope = (1 / s - squares / s**3) / len(s)
        return float(np.mean(np.log(s) + squares / (2 * s**2))), slope @ features

    bounds = [(0.02, 64.0)] + [(0.0, 64.0)] * (features.shape[1] - 1)
    result = minimize(
        objective, np.clip(start, 0.02, 64), jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 40}
    )
    fitted: Floats = result.x
    return fitted


def _class_scales(coded: _Coded, tail: tuple[float, float]) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Thresholds between classes of spreads, the most likely scale of each class, and the total bits of the pixels."""
    low, high = np.quantile(coded.spreads, [0.002, 0.998]).clip(1)
    thresholds = np.unique(np.rint(np.geomspace(low, high + 1, CLASSES - 1)).astype(int))
    classes = np.searchsorted(thresholds, coded.spreads, side="right")
    scales, total, scale = [], 0.0, 1.0
    for index in range(len(thresholds) + 1):
        lower, upper = coded.lower[classes == index], coded.upper[classes == index]

        def bits(log_scale: float, lower: Floats = lower, upper: Floats = upper) -> float:
            std = math.exp(log_scale) * UNIT
            probability = _cumulative(upper / std, tail) - _cumulative(lower / std, tail)
            return float(-np.log2(np.maximum(probability, 2.0**-24)).sum())

        if len(lower) >= 20:
            result = minimize_scalar(
                bits, bounds=(math.log(0.02), math.log(200)), method="bounded", options={"xatol": 1e-3}
            )
            scale, total = math.exp(result.x), total + result.fun
        scales.append(max(1, round(SHAPE_STEPS * COEFFICIENT_SCALE / scale)))
    return tuple(thresholds.tolist()), tuple(scales), total


def _as_integers(values: Floats) -> tuple[int, ...]:
    return tuple(int(value) for value in np.rint(values * COEFFICIENT_SCALE))
