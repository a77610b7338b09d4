"""Makes the integer tables of a model: error curve, level lists, and the code for step lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from diffcodec.bitstream.lengths import DEFAULT_WEIGHTS, fit_weights
from diffcodec.channel import TrellisChannel
from diffcodec.checkpoint import Checkpoint
from diffcodec.codec import DiffusionCodec, check_channels
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import ConfigError
from diffcodec.fitting import FIT_TIMESTEPS, fit_lossless
from diffcodec.images import Picture
from diffcodec.lossless.rounding import UNIT
from diffcodec.tables import (
    INFORMATION_FROM,
    INFORMATION_SCALE,
    INFORMATION_TO,
    LOG_SNR_SCALE,
    OCTAVE_STEPS,
    SNR_SCALE,
    CodecTables,
    Level,
    LevelList,
    Variances,
)
from diffcodec.transform import BANDS, BlockTransform

SIZE_CLASSES = (128 * 128, 0)
"""Largest number of pixels of each size class; 0 is no bound."""

CLASS_SIDES = (32, 256)
"""Side of a typical square picture of each class: what its level lists are made for."""

STEPS = (4, 8, 12, 16, 24, 32, 64)
"""Numbers of levels for which there are lists."""

END_WEIGHTS = {1: 1.0, 20: 0.3, 50: 0.2, 100: 0.2, 300: 0.1}
"""Timesteps at which files of small pictures may end, and how much their length, relative to its least, counts in a
level list."""

PHOTO_END_WEIGHTS = {1: 0.3, 5: 0.3, 20: 1.0, 50: 1.0, 100: 1.0, 200: 0.6, 400: 0.3}
"""The same for photographs, which nobody keeps to the last bit."""

FIT_PICTURES = 400
"""Pictures to which the lossless model is fitted."""

LENGTH_TIMESTEPS = (1, 50, 150, 300)
"""Where the files end to whose step lengths the code is fitted."""

SIDE_BITS = 3.0
"""Measured cost of one step's length, in bits."""


@dataclass(frozen=True)
class Plan:
    """What files of a kind of pictures are for.

    Args:
        steps: levels of the list that is taken where none is asked for.
        weights: timesteps at which files may end, and how much their length counts.
        longest_step: most that a step adds to the log SNR, in nats. The parts of a large picture differ, and the
            table's variances are those of the average part: what another one is told in too large a step is not what it
            lacks.
        tile_side: see `CodecTables`.
    """

    steps: int
    weights: Mapping[int, float]
    longest_step: float = math.inf
    tile_side: int = 0


PLAN = Plan(16, END_WEIGHTS)
PHOTO_PLAN = Plan(24, PHOTO_END_WEIGHTS, longest_step=1.5, tile_side=512)


@dataclass(frozen=True)
class ErrorCurve:
    """Mean squared error of the x_0 estimate in every band of the transform, over the log SNR.

    Args:
        log_snr: rising, (n,).
        variances: [-1, 1] units, (n, BANDS), falling.
        start: of the constant estimate that stands for pure noise, log SNR -inf; (BANDS,).
    """

    log_snr: NDArray[np.float64]
    variances: NDArray[np.float64]
    start: NDArray[np.float64]

    def at(self, log_snr: float) -> NDArray[np.float64]:
        """(BANDS,), interpolated geometrically; constant beyond the ends."""
        if math.isinf(log_snr):
            return self.start
        logs = np.log(self.variances)
        found: NDArray[np.float64] = np.exp([np.interp(log_snr, self.log_snr, logs[:, k]) for k in range(BANDS)])
        return found


@torch.no_grad()
def measure_error_curve(
    denoiser: Denoiser, images: Tensor, *, points: int = 96, seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> ErrorCurve:  # fmt: skip
    """Measure the error curve on images.

    Args:
        denoiser: the model.
        images: (N, 3, H, W), uint8; pictures that the model was not tested on.
        points: log SNRs at which to measure, evenly spaced over the model's range, or the timesteps nearest to them
            where the network knows only those.
        seed: of the noise.
        progress: told the number of points done.
    """
    generator = torch.Generator().manual_seed(seed)
    x_0 = images.float() / 127.5 - 1
    height, width = images.shape[2:]
    transform = BlockTransform(3, width, height)
    counts = np.array(transform.counts)

    def by_band(errors: Tensor) -> NDArray[np.float64]:
        """Mean square of errors (N, 3, H, W) in every band."""
        squares = np.square(transform.forward(errors.reshape(len(errors), -1).numpy()), dtype=np.float64).mean(axis=0)
        # Small pictures lack some bands: these take what the picture's coefficients have on average.
        means = np.bincount(transform.band, squares, BANDS) / np.maximum(counts, 1)
        found: NDArray[np.float64] = np.where(counts > 0, means, squares.mean())
        return found

    constant = torch.tensor(mean_colour(images))[:, None, None] / (UNIT * 127.5) - 1
    log_snr = np.linspace(denoiser.config.log_snr_min, denoiser.config.log_snr_max, points)
    if denoiser.config.network.conditioning == "timestep":
        grid = denoiser.schedule.log_snr[:0:-1]
        log_snr = grid[np.unique(np.abs(grid - log_snr[:, None]).argmin(axis=1))]
    curve = [by_band(x_0 - constant)]
    for index, value in enumerate(log_snr):
        level = NoiseLevel(float(value))
        errors = []
        for batch in torch.split(x_0, at_once(height, width)):
            x_t = level.alpha * batch + level.sigma * torch.randn(batch.shape, generator=generator)
            errors.append(batch - denoiser.estimate_x_0(x_t, level))
        curve.append(by_band(torch.cat(errors)))
        progress(index + 1)
    logs = np.log(np.maximum(curve, 2.0**-40))
    # The true curve falls; what rises is noise of the measurement.
    falling = [isotonic_regression(logs[1:, band], increasing=False).x for band in range(BANDS)]
    return ErrorCurve(log_snr, np.exp(np.stack(falling, axis=1)), np.exp(logs[0]))


def at_once(height: int, width: int) -> int:
    """How many pictures of a size are estimated together: 64 small ones."""
    return max(1, min(64, (64 * 32 * 32) // (height * width)))


def mean_colour(images: Tensor) -> tuple[int, ...]:
    """Mean of images (N, 3, H, W), uint8, in 1 / UNIT grey level."""
    return tuple(round(value) for value in (images.double().mean(dim=(0, 2, 3)) * UNIT).tolist())


def candidate_levels(schedule: NoiseSchedule, *, between: bool = True) -> list[float]:
    """Log SNRs at which a level may lie, rising: integer timesteps, and points between where those are sparse.

    Levels on integer timesteps are worth having: a file for such a t is a prefix of every finer one. Near
    t = 1 the SNR doubles from one timestep to the next, which is too coarse.

    Args:
        schedule: the model's.
        between: whether the network knows of levels between the timesteps.
    """
    grid = schedule.log_snr
    values = [float(grid[schedule.steps])]
    for t in range(schedule.steps - 1, 0, -1):
        gap = grid[t] - values[-1]
        if gap < 0.05 and t not in (1, 20, 50, 100, 200, 300, 500):
            continue
        pieces = math.ceil(gap / 0.1) if between else 1
        values += [float(values[-1] + gap * (k + 1) / pieces) for k in range(pieces - 1)] + [float(grid[t])]
    return values[1:]


class LevelPlanner:
    """Chooses the levels with the least expected file length, by dynamic programming (Watson et al. 2021).

    The cost of a step is what the trellis pays for its expected KL, plus the cost of its length. A list serves files
    that end at any timestep: what counts is the weighted mean of their lengths, each relative to the least that it
    could be.

    Args:
        log_snr: where levels may lie, rising: -inf (pure noise), then the candidates; a list ends at the last.
        divergence: expected KL in bits of the step from each to each cleaner one, (n, n).
        dims: coded coordinates of a typical picture.
        ends: index in `log_snr` at which files may end, and its weight.
        effort: of the trellis.
        longest_step: most that a step may add to the log SNR, in nats; the first step leads at most so far beyond the
            noisiest candidate.
    """

    def __init__(
        self, log_snr: NDArray[np.float64], divergence: NDArray[np.float64], dims: int, ends: Mapping[int, float],
        *, effort: int = 12, longest_step: float = math.inf,
    ) -> None:  # fmt: skip
        self.log_snr = log_snr
        paid = _paid_bits(TrellisChannel(effort), divergence, dims) + SIDE_BITS
        nodes = len(self.log_snr)
        later = np.arange(nodes)[:, None] < np.arange(nodes)
        # The least that a file could be: the finest steps, without overhead.
        least = np.cumsum([0.0, *(divergence[node, node + 1] for node in range(nodes - 1))])
        self._cost = np.where(later, 0.0, math.inf)
        for end, weight in ends.items():
            whole = later & (np.arange(nodes) <= end)
            # A step beyond the end is cut there.
            cut = later & (np.arange(nodes)[:, None] < end) & (np.arange(nodes) > end)
            part = np.where(whole, paid, 0.0) + np.where(cut, paid[:, [end]], 0.0)
            self._cost += weight / least[end] * part
        starts = np.maximum(log_snr, log_snr[1])
        self._cost[starts - starts[:, None] > longest_step + 1e-9] = math.inf
        hops = [0]
        while hops[-1] < nodes - 1:
            hops.append(int(np.flatnonzero(np.isfinite(self._cost[hops[-1]]))[-1]))
        self.fewest = len(hops) - 1
        """Steps that a list has at least."""

    def plan(self, steps: int) -> list[float]:
        """The best list of so many levels, `fewest` or more: log SNRs, rising. Fewer if there are not as many
        candidates."""
        nodes = len(self.log_snr)
        assert steps >= self.fewest
        steps = min(steps, nodes - 1)
        best = np.full(nodes, math.inf)
        best[0] = 0.0
        previous = np.zeros((steps, nodes), dtype=int)
        for step in range(steps):
            through = best[:, None] + self._cost
            previous[step] = through.argmin(axis=0)
            best = through.min(axis=0)
        node, path = nodes - 1, []
        for step in reversed(range(steps)):
            path.append(float(self.log_snr[node]))
            node = previous[step, node]
        return path[::-1]


def expected_divergence(
    curve: ErrorCurve, log_snr: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Expected KL in bits of the step from each level to each cleaner one, (n, n); 0 elsewhere.

    The sum over coefficients, `counts` of each band, of 1/2 log2(1 + (SNR(s) - SNR(t)) v(t)).
    """
    snr = np.exp(log_snr)
    found = np.zeros((len(snr), len(snr)))
    for start in range(len(snr) - 1):
        gained = (snr[start + 1 :] - snr[start])[:, None] * curve.at(float(log_snr[start]))
        found[start, start + 1 :] = np.log1p(gained) @ counts / (2 * math.log(2))
    return found


def _paid_bits(channel: TrellisChannel, kl: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """Path bits for divergences in bits, interpolated from a few hundred exact values."""
    top = max(1.0, float(kl.max()))
    grid = np.concatenate([[0.0], np.geomspace(0.5, top, 200)])
    paid = [channel.path_bits(channel.length_for(float(value), dims), dims) for value in grid]
    return np.interp(np.maximum(kl, 0.0), grid, paid)


def end_weights(
    schedule: NoiseSchedule, log_snr: NDArray[np.float64], weights: Mapping[int, float] = END_WEIGHTS
) -> dict[int, float]:
    """Weights of timesteps, by the index of the nearest level."""
    return {
        int(np.abs(log_snr - schedule.log_snr[t]).argmin()): weight
        for t, weight in weights.items()
        if t <= schedule.steps
    }


def make_level(log_snr: float) -> Level:
    """A level in the integer units of the tables."""
    rounded = round(log_snr * LOG_SNR_SCALE)
    return Level(rounded, max(1, round(math.exp(rounded / LOG_SNR_SCALE) * SNR_SCALE)))


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


def list_lengths(schedule: NoiseSchedule, *, between: bool = True) -> list[int]:
    """STEPS, as far as the schedule has levels; `between` as for `candidate_levels`."""
    most = len(candidate_levels(schedule, between=between))
    return sorted({min(steps, most) for steps in STEPS})


def make_level_lists(
    curve: ErrorCurve, schedule: NoiseSchedule, *, between: bool = True, effort: int = 12,
    weights: Mapping[int, float] = END_WEIGHTS, longest_step: float = math.inf,
) -> tuple[LevelList, ...]:  # fmt: skip
    """Lists of all `list_lengths` that can be for every size class; `between` as for `candidate_levels`.

    `weights` says how much files that end at a timestep count, as END_WEIGHTS does; for the rest see `LevelPlanner`.
    """
    log_snr = np.array([-math.inf, *candidate_levels(schedule, between=between)])
    lists = []
    for max_pixels, side in zip(SIZE_CLASSES, CLASS_SIDES, strict=True):
        counts = np.array(BlockTransform(3, side, side).counts)
        divergence = expected_divergence(curve, log_snr, counts)
        ends = end_weights(schedule, log_snr, weights)
        planner = LevelPlanner(log_snr, divergence, int(counts.sum()), ends, effort=effort, longest_step=longest_step)
        for steps in list_lengths(schedule, between=between):
            if steps < planner.fewest:
                continue
            lists.append(LevelList(max_pixels, tuple(make_level(value) for value in planner.plan(steps)), ()))
    return tuple(lists)


def calibrate(
    checkpoint: Checkpoint, images: Tensor, *, default_steps: int | None = None, points: int = 96,
    length_pictures: int = 48, effort: int = 12, progress: Callable[[str], None] = lambda stage: None,
) -> Checkpoint:  # fmt: skip
    """The checkpoint with tables measured on images.

    Args:
        checkpoint: the model; tables that it has are replaced.
        images: (N, 3, H, W), uint8, pictures like those to be compressed, not those of the benchmark.
        default_steps: levels of the list that is taken where none is asked for, one of STEPS; by default that of
            `PLAN`, or of `PHOTO_PLAN` for a model with lower resolutions.
        points: of the error curve, see `measure_error_curve`.
        length_pictures: pictures that are compressed to fit the code for step lengths.
        effort: of the trellis for which the lists are planned.
        progress: told each stage.

    Raises:
        ConfigError: if there are no images, they do not fit the network, or there are no lists of so many levels.
        CheckpointError: if the model is not one of colour pictures.
    """
    check_channels(checkpoint)
    if len(images) == 0:
        raise ConfigError("calibration needs pictures")
    if any(side % (stride := checkpoint.config.network.stride) for side in images.shape[2:]):
        raise ConfigError(f"size: expected a multiple of {stride}, found {' x '.join(map(str, images.shape[2:]))}")
    plan = PLAN if checkpoint.config.half_resolution_below is None else PHOTO_PLAN
    default_steps = plan.steps if default_steps is None else default_steps
    if default_steps not in STEPS:
        raise ConfigError(f"steps: expected one of {', '.join(map(str, STEPS))}, found {default_steps}")
    denoiser = checkpoint.denoiser()
    schedule = denoiser.schedule
    between = checkpoint.config.network.conditioning == "log_snr"
    lengths_of_lists = list_lengths(schedule, between=between)
    if default_steps not in lengths_of_lists:
        known = ", ".join(map(str, lengths_of_lists))
        raise ConfigError(f"steps: the model's schedule is for lists of {known} levels, found {default_steps}")
    progress("error curve")
    curve = measure_error_curve(denoiser, images, points=points)
    progress("level lists")
    lists = make_level_lists(
        curve, schedule, between=between, effort=effort, weights=plan.weights, longest_step=plan.longest_step
    )
    if default_steps not in {len(levels.levels) for levels in lists}:
        known = ", ".join(str(len(levels.levels)) for levels in lists if levels.max_pixels == 0)
        raise ConfigError(f"steps: the model is for lists of {known} levels, found {default_steps}")
    timesteps = tuple(make_level(float(value)) for value in schedule.log_snr[1:])
    progress("lossless model")
    fit_timesteps = [t for t in FIT_TIMESTEPS if t <= schedule.steps]
    lossless = fit_lossless(denoiser, images[:FIT_PICTURES], timesteps=fit_timesteps)
    tables = CodecTables(
        timesteps,
        lists,
        DEFAULT_WEIGHTS,
        mean_colour(images),
        lossless,
        make_variances(curve),
        default_steps,
        plan.tile_side,
    )
    progress("step lengths")
    codec = DiffusionCodec(checkpoint.with_tables(tables), denoiser=denoiser)
    pictures = [Picture(image.permute(1, 2, 0).numpy(), None) for image in images[:length_pictures]]
    channel = TrellisChannel(effort)
    # Once over the fewest steps, once over many: lengths scatter more where steps are few.
    counts = [
        message.lengths.counts
        for steps in (8, default_steps, 32)
        if steps in {len(levels.levels) for levels in lists}
        for timestep in LENGTH_TIMESTEPS
        if timestep <= schedule.steps
        for message in codec.transmit(pictures, timestep=timestep, channel=channel, steps=steps).messages
    ]
    return checkpoint.with_tables(replace(tables, length_weights=fit_weights(np.sum(counts, axis=0))))
