"""The error of the x_0 estimate by noise level and band, from which level lists and variances are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from diffcodec.calibration.samples import Samples
from diffcodec.coding.canvas import RGB, SignalKind
from diffcodec.devices import device_of
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.model.tables import INFORMATION_FROM, INFORMATION_SCALE, INFORMATION_TO, OCTAVE_STEPS, Variances

BANDS = RGB.bands
"""Number of bands of a colour picture."""


@dataclass(frozen=True)
class ErrorCurve:
    """Mean squared error of the x_0 estimate in every band of the transform, over the log SNR.

    Args:
        log_snr: rising, (n,).
        variances: [-1, 1] units, (n, bands), falling; BANDS of them for colour pictures.
        start: of the constant estimate for pure noise, log SNR -inf; (bands,).
        kind: of the signals whose bands these are.
    """

    log_snr: NDArray[np.float64]
    variances: NDArray[np.float64]
    start: NDArray[np.float64]
    kind: SignalKind = RGB

    def at(self, log_snr: float) -> NDArray[np.float64]:
        """Variances at a log SNR, (bands,), interpolated geometrically; constant beyond the ends."""
        if math.isinf(log_snr):
            return self.start
        logs = np.log(self.variances)
        found: NDArray[np.float64] = np.exp([np.interp(log_snr, self.log_snr, column) for column in logs.T])
        return found


@torch.no_grad()
def measure_error_curve(
    denoiser: Denoiser,
    samples: Samples,
    *,
    points: int = 96,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> ErrorCurve:
    """Measure the error curve.

    Args:
        denoiser: the model.
        samples: signals; not those of a benchmark.
        points: number of log SNRs to measure, evenly spaced over the model's range; the nearest timesteps if the
            network supports only these.
        seed: of the noise.
        progress: called with the number of points done.
    """
    generator, device = torch.Generator().manual_seed(seed), device_of(denoiser)
    x_0, kind = samples.x_0, samples.kind
    height, width = x_0.shape[2:]
    transform, bands = kind.transform(width, height), kind.bands
    counts = transform.counts(bands)

    def by_band(errors: Tensor) -> NDArray[np.float64]:
        """Mean square of errors (N, C, H, W) in every band."""
        squares = np.square(transform.forward(errors.reshape(len(errors), -1).numpy()), dtype=np.float64).mean(axis=0)
        # Small pictures lack some bands: these get the mean of all coefficients.
        means = np.bincount(transform.band, squares, bands) / np.maximum(counts, 1)
        found: NDArray[np.float64] = np.where(counts > 0, means, squares.mean())
        return found

    log_snr = np.linspace(denoiser.config.log_snr_min, denoiser.config.log_snr_max, points)
    if denoiser.config.network.conditioning == "timestep":
        grid = denoiser.schedule.log_snr[:0:-1]
        log_snr = grid[np.unique(np.abs(grid - log_snr[:, None]).argmin(axis=1))]
    curve = [by_band(x_0 - samples.constant)]
    for index, value in enumerate(log_snr):
        level = NoiseLevel(float(value))
        errors = []
        for batch in torch.split(x_0, at_once(height, width)):
            x_t = noisy(batch, level, generator)
            errors.append(batch - denoiser.estimate_x_0(x_t.to(device), level).cpu())
        curve.append(by_band(torch.cat(errors)))
        progress(index + 1)
    logs = np.log(np.maximum(curve, 2.0**-40))
    # The true curve falls; rises are measurement noise.
    falling = [isotonic_regression(logs[1:, band], increasing=False).x for band in range(bands)]
    return ErrorCurve(log_snr, np.exp(np.stack(falling, axis=1)), np.exp(logs[0]), kind)


def noisy(x_0: Tensor, level: NoiseLevel, generator: torch.Generator) -> Tensor:
    """x_t of images (B, C, H, W) on the CPU, with noise from the generator."""
    return level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=generator)


def at_once(height: int, width: int) -> int:
    """Batch size for pictures of a size: 64 small ones, at the same number of pixels."""
    return max(1, min(64, (64 * 32 * 32) // (height * width)))


def make_variances(curve: ErrorCurve) -> Variances:
    """The table of variances, in integer units."""

    def octaves(variances: NDArray[np.float64]) -> tuple[int, ...]:
        return tuple(np.rint(OCTAVE_STEPS * np.log2(variances)).astype(int).tolist())

    information = [
        max(1, round(INFORMATION_SCALE * 0.5 * math.log2(1 + 2 ** (x / OCTAVE_STEPS))))
        for x in range(INFORMATION_FROM, INFORMATION_TO + 1)
    ]
    return Variances(
        tuple(round(value * LOG_SNR_SCALE) for value in curve.log_snr),
        tuple(octaves(row) for row in curve.variances),
        octaves(curve.start),
        tuple(information),
    )
