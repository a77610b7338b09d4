"""Level lists: the noise levels of the steps of files of a size, chosen by dynamic programming."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from diffcodec.calibration.error_curve import ErrorCurve
from diffcodec.channel import TrellisChannel
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.model.levels import LOG_SNR_SCALE, SNR_SCALE, Level, LevelList

SIZE_CLASSES = (128 * 128, 0)
"""Largest number of pixels of each size class; 0 means no bound."""

CLASS_SIDES = (32, 256)
"""Side of the square picture for which each class's level lists are planned."""

STEPS = (4, 8, 12, 16, 24, 32, 64)
"""Numbers of levels of the lists."""

END_WEIGHTS = {1: 1.0, 20: 0.3, 50: 0.2, 100: 0.2, 300: 0.1}
"""Timesteps at which files of small pictures may end, and the weights of their lengths, each relative to its minimum,
when planning a level list."""

RELAXED = 1.3
"""The longest step of a list is at least this many times the mean one."""

SIDE_BITS = 3.0
"""Measured cost of one step's length, in bits."""


def candidate_levels(schedule: NoiseSchedule, *, between: bool = True) -> list[float]:
    """Log SNRs of candidate levels, rising: integer timesteps, and points between where those are sparse.

    Levels on integer timesteps are preferable: a file for such a t is a prefix of every finer one. Near
    t = 1 the SNR doubles from one timestep to the next, which is too coarse.

    Args:
        schedule: the model's.
        between: whether the network supports levels between the timesteps.
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

    The cost of a step is the trellis's bits for its expected KL, plus the cost of its length. Files may end at several
    timesteps: the objective is the weighted mean of their lengths, each relative to its minimum.

    Args:
        log_snr: of the candidates, rising: -inf (pure noise), then the levels; a list ends at the last.
        divergence: expected KL in bits of the step from each to each cleaner one, (n, n).
        dims: coded coordinates of a typical picture.
        ends: weights of the indices in `log_snr` at which files may end.
        effort: of the trellis.
        longest_step: largest increase of the log SNR in a step, in nats; for the first step counted from the noisiest
            candidate.
    """

    def __init__(
        self,
        log_snr: NDArray[np.float64],
        divergence: NDArray[np.float64],
        dims: int,
        ends: Mapping[int, float],
        *,
        effort: int = 12,
        longest_step: float = math.inf,
    ) -> None:
        self.log_snr = log_snr
        paid = _paid_bits(TrellisChannel(effort), divergence, dims) + SIDE_BITS
        nodes = len(self.log_snr)
        later = np.arange(nodes)[:, None] < np.arange(nodes)
        # Lower bound of a file's length: the finest steps, without overhead.
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
        """Least number of steps of a list."""

    def plan(self, steps: int) -> list[float]:
        """Rising log SNRs of the best list of `steps` >= `fewest` levels; fewer if there are too few candidates."""
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

    The sum over coefficients, `counts` per band, of 1/2 log2(1 + (SNR(s) - SNR(t)) v(t)).
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


def list_lengths(schedule: NoiseSchedule, *, between: bool = True) -> list[int]:
    """STEPS, limited to the number of candidates; `between` as for `candidate_levels`."""
    most = len(candidate_levels(schedule, between=between))
    return sorted({min(steps, most) for steps in STEPS})


def make_level_lists(
    curve: ErrorCurve,
    schedule: NoiseSchedule,
    *,
    between: bool = True,
    effort: int = 12,
    weights: Mapping[int, float] = END_WEIGHTS,
    longest_step: float = math.inf,
    pixels_per_point: int = 1,
) -> tuple[LevelList, ...]:
    """Lists of all `list_lengths` for every size class.

    Args:
        curve: of the model.
        schedule: of the model.
        between: as for `candidate_levels`.
        weights: of end timesteps, as END_WEIGHTS.
        effort: as for `LevelPlanner`.
        longest_step: as for `LevelPlanner`; short lists take longer ones, see RELAXED.
        pixels_per_point: along a side, for signals that are no pixels.
    """
    log_snr = np.array([-math.inf, *candidate_levels(schedule, between=between)])
    lists = []
    for max_pixels, side in zip(SIZE_CLASSES, CLASS_SIDES, strict=True):
        points = side // pixels_per_point
        counts = curve.kind.transform(points, points).counts(curve.kind.bands)
        divergence = expected_divergence(curve, log_snr, counts)
        ends = end_weights(schedule, log_snr, weights)
        for steps in list_lengths(schedule, between=between):
            longest = max(longest_step, RELAXED * float(log_snr[-1] - log_snr[1]) / steps)
            planner = LevelPlanner(log_snr, divergence, int(counts.sum()), ends, effort=effort, longest_step=longest)
            lists.append(LevelList(max_pixels, tuple(make_level(value) for value in planner.plan(steps)), ()))
    return tuple(lists)
