"""Makes the integer tables of a model: error curve, level lists, and the code for step lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.lengths import DEFAULT_WEIGHTS, fit_weights, histogram
from diffcodec.channel import TrellisChannel
from diffcodec.checkpoint import Checkpoint
from diffcodec.codec import DiffusionCodec
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import ConfigError
from diffcodec.fitting import FIT_TIMESTEPS, fit_lossless
from diffcodec.images import Picture
from diffcodec.lossless.rounding import UNIT
from diffcodec.tables import LOG_SNR_SCALE, MSE_SCALE, SNR_SCALE, CodecTables, Level, LevelList

SIZE_CLASSES = (64 * 64, 256 * 256, 0)
"""Largest number of pixels of each size class; 0 is no bound."""

CLASS_SIDES = (32, 128, 512)
"""Side of a typical square picture of each class: what its level list is made for."""

FIT_PICTURES = 400
"""Pictures to which the lossless model is fitted."""

LENGTH_TIMESTEPS = (1, 50, 150, 300)
"""Where the files end to whose step lengths the code is fitted."""

SIDE_BITS = 3.0
"""Measured cost of one step's length, in bits."""


@dataclass(frozen=True)
class ErrorCurve:
    """Mean squared error of the x_0 estimate over the log SNR.

    Args:
        log_snr: rising, (n,).
        mse: per subpixel, [-1, 1] units, (n,).
        start_mse: of the constant estimate that stands for pure noise, log SNR -inf.
    """

    log_snr: NDArray[np.float64]
    mse: NDArray[np.float64]
    start_mse: float

    def at(self, log_snr: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Interpolated geometrically; constant beyond the ends."""
        mse = np.exp(np.interp(log_snr, self.log_snr, np.log(self.mse)))
        return np.where(np.isneginf(log_snr), self.start_mse, mse)


@torch.no_grad()
def measure_error_curve(
    denoiser: Denoiser, images: Tensor, *, points: int = 96, seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> ErrorCurve:  # fmt: skip
    """Measure the error curve on images.

    Args:
        denoiser: the model.
        images: (N, 3, H, W), uint8; pictures that the model was not tested on.
        points: log SNRs at which to measure, evenly spaced over the model's range.
        seed: of the noise.
        progress: told the number of points done.
    """
    generator = torch.Generator().manual_seed(seed)
    x_0 = images.float() / 127.5 - 1
    log_snr = np.linspace(denoiser.config.log_snr_min, denoiser.config.log_snr_max, points)
    mse = []
    for index, value in enumerate(log_snr):
        level = NoiseLevel(float(value))
        errors = []
        for batch in torch.split(x_0, 64):
            noise = torch.randn(batch.shape, generator=generator)
            x_t = level.alpha * batch + level.sigma * noise
            estimate = denoiser.estimate_x_0(x_t, level)
            errors.append(((batch - estimate) ** 2).mean(dim=(1, 2, 3)))
        mse.append(torch.cat(errors).double().mean().item())
        progress(index + 1)
    # The true curve falls; what rises is noise of the measurement.
    curve = np.minimum.accumulate(np.array(mse))
    constant = torch.tensor(mean_colour(images))[:, None, None] / (UNIT * 127.5) - 1
    return ErrorCurve(log_snr, curve, max(float(curve[0]), ((x_0 - constant) ** 2).double().mean().item()))


def mean_colour(images: Tensor) -> tuple[int, ...]:
    """Mean of images (N, 3, H, W), uint8, in 1 / UNIT grey level."""
    return tuple(round(value) for value in (images.double().mean(dim=(0, 2, 3)) * UNIT).tolist())


def candidate_levels(schedule: NoiseSchedule) -> list[float]:
    """Log SNRs at which a level may lie, rising: integer timesteps, and points between where those are sparse.

    Levels on integer timesteps are worth having: a file for such a t is a prefix of every finer one. Near
    t = 1 the SNR doubles from one timestep to the next, which is too coarse.
    """
    grid = schedule.log_snr
    values = [float(grid[schedule.steps])]
    for t in range(schedule.steps - 1, 0, -1):
        gap = grid[t] - values[-1]
        if gap < 0.05 and t not in (1, 20, 50, 100, 200, 300, 500):
            continue
        pieces = math.ceil(gap / 0.1)
        values += [float(values[-1] + gap * (k + 1) / pieces) for k in range(pieces - 1)] + [float(grid[t])]
    return values[1:]


def plan_levels(
    curve: ErrorCurve, candidates: Sequence[float], dims: int, *, effort: int = 12, step_bits: float = 0.0
) -> list[float]:
    """The level list with the least expected file length, by dynamic programming (Watson et al. 2021).

    The cost of a step from t to s is what the trellis pays for KL = 1/2 (SNR(s) - SNR(t)) mse(t), plus the
    cost of its length, plus `step_bits`.

    Args:
        curve: error over log SNR.
        candidates: log SNRs, rising; the list ends at the last.
        dims: subpixels of a typical picture.
        effort: of the trellis.
        step_bits: what a step's network evaluation is worth in bits.

    Returns:
        Log SNRs, rising.
    """
    channel = TrellisChannel(effort)
    nodes = np.array([-math.inf, *candidates])
    snr = np.exp(nodes)
    mse = curve.at(nodes)
    kl = 0.5 * (snr[None, :] - snr[:, None]) * mse[:, None] * dims / math.log(2)
    paid = _paid_bits(channel, kl, dims) + SIDE_BITS + step_bits
    best = np.full(len(nodes), math.inf)
    best[0] = 0.0
    previous = np.zeros(len(nodes), dtype=int)
    for stop in range(1, len(nodes)):
        costs = best[:stop] + paid[:stop, stop]
        previous[stop] = int(costs.argmin())
        best[stop] = costs[previous[stop]]
    path = [len(nodes) - 1]
    while previous[path[-1]]:
        path.append(int(previous[path[-1]]))
    return [float(nodes[node]) for node in reversed(path)]


def _paid_bits(channel: TrellisChannel, kl: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """Path bits for divergences in bits, interpolated from a few hundred exact values."""
    top = max(1.0, float(kl.max()))
    grid = np.concatenate([[0.0], np.geomspace(0.5, top, 200)])
    paid = [channel.path_bits(channel.length_for(float(value), dims), dims) for value in grid]
    return np.interp(np.maximum(kl, 0.0), grid, paid)


def make_level(log_snr: float) -> Level:
    """A level in the integer units of the tables."""
    rounded = round(log_snr * LOG_SNR_SCALE)
    return Level(rounded, max(1, round(math.exp(rounded / LOG_SNR_SCALE) * SNR_SCALE)))


def make_level_list(curve: ErrorCurve, log_snrs: Sequence[float], max_pixels: int) -> LevelList:
    """A level list with the expected errors, in the integer units of the tables."""
    starts = np.array([-math.inf, *log_snrs[:-1]])
    mse = tuple(max(1, round(float(value) * MSE_SCALE)) for value in curve.at(starts))
    return LevelList(max_pixels, tuple(make_level(value) for value in log_snrs), mse)


def calibrate(
    checkpoint: Checkpoint, images: Tensor, *, step_bits: float = 4.0, points: int = 96, length_pictures: int = 48,
    effort: int = 12, progress: Callable[[str], None] = lambda stage: None,
) -> Checkpoint:  # fmt: skip
    """The checkpoint with tables measured on images.

    Args:
        checkpoint: the model; tables that it has are replaced.
        images: (N, 3, H, W), uint8, pictures like those to be compressed, not those of the benchmark.
        step_bits: what one network evaluation is worth in bits for a picture of 32 x 32; for larger ones it
            grows with the area, as the time of an evaluation and the bits do.
        points: of the error curve, see `measure_error_curve`.
        length_pictures: pictures that are compressed to fit the code for step lengths.
        effort: of the trellis for which the lists are planned.
        progress: told each stage.

    Raises:
        ConfigError: if there are no images.
    """
    if len(images) == 0:
        raise ConfigError("calibration needs pictures")
    denoiser = checkpoint.denoiser()
    schedule = denoiser.schedule
    progress("error curve")
    curve = measure_error_curve(denoiser, images, points=points)
    progress("level lists")
    candidates = candidate_levels(schedule)
    lists = tuple(
        make_level_list(
            curve,
            plan_levels(curve, candidates, 3 * side * side, effort=effort, step_bits=step_bits * (side / 32) ** 2),
            max_pixels,
        )
        for max_pixels, side in zip(SIZE_CLASSES, CLASS_SIDES, strict=True)
    )
    timesteps = tuple(make_level(float(value)) for value in schedule.log_snr[1:])
    progress("lossless model")
    fit_timesteps = [t for t in FIT_TIMESTEPS if t <= schedule.steps]
    lossless = fit_lossless(denoiser, images[:FIT_PICTURES], timesteps=fit_timesteps)
    tables = CodecTables(timesteps, lists, DEFAULT_WEIGHTS, mean_colour(images), lossless)
    progress("step lengths")
    codec = DiffusionCodec(checkpoint.with_tables(tables), denoiser=denoiser)
    pictures = [Picture(image.permute(1, 2, 0).numpy(), None) for image in images[:length_pictures]]
    channel = TrellisChannel(effort)
    lengths = [
        message.wanted
        for timestep in LENGTH_TIMESTEPS
        for message in codec.transmit(pictures, timestep=timestep, channel=channel).messages
    ]
    weights = fit_weights(histogram(lengths))
    return checkpoint.with_tables(replace(tables, length_weights=weights))
