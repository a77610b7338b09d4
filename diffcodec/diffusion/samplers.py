"""Samplers: trajectories from noise to an image down a list of noise levels, for any model of the noise.

Every sampler is an iterator of states, which include the intermediate x_0 estimates. All randomness comes from a
callable of the caller; nothing uses torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from diffcodec.config import VarianceKind
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, posterior
from diffcodec.errors import ConfigError

Noise = Callable[[], Tensor]
"""Standard normal noise for a step, of the shape of x_t; new at every call."""

SamplerKind = Literal["ancestral", "flow", "langevin"]
Spacing = Literal["timestep", "log_snr"]

UPDATES = 4
"""Default number of updates of Langevin dynamics per level."""

IMAGE = NoiseLevel(math.inf)
"""The level at which every trajectory to an image ends."""


@dataclass(frozen=True)
class State:
    """A state of a trajectory.

    Args:
        level: the noise level.
        x_t: (B, C, H, W).
        x_0: the model's latest estimate of the images, same shape; at the image it is `x_t` itself.
    """

    level: NoiseLevel
    x_t: Tensor
    x_0: Tensor


def levels_below(
    schedule: NoiseSchedule, start: NoiseLevel, steps: int | None = None, spacing: Spacing = "timestep"
) -> list[NoiseLevel]:
    """The levels of a trajectory from `start` to the image, both included.

    They are those levels of a grid of `steps` levels from t = T to t = 1 that are cleaner than `start`: so the density
    of levels does not depend on the start.

    Args:
        schedule: of the model.
        start: first level; may lie between the timesteps.
        steps: levels of the grid; all T timesteps if None.
        spacing: evenly in timesteps, rounded to integers, or evenly in log SNR, not rounded.

    Raises:
        ConfigError: if there are fewer than `steps` levels.
    """
    steps = schedule.steps if steps is None else steps
    if steps < 1 or (steps > schedule.steps and spacing == "timestep"):
        raise ConfigError(f"steps: expected 1 to the model's {schedule.steps}, found {steps}", parameters=["steps"])
    if spacing == "timestep":
        grid = schedule.log_snr[np.linspace(schedule.steps, 1, steps).round().astype(int)]
    else:
        grid = np.linspace(schedule.log_snr[-1], schedule.log_snr[1], steps)
    # The levels at which files end are rounded (`tables.LOG_SNR_SCALE`): skip the timestep that `start` rounds.
    cleaner = [NoiseLevel(float(log_snr)) for log_snr in grid if log_snr > start.log_snr + 1e-5]
    return [start, *cleaner, IMAGE]


def ancestral(diffusion: GaussianDiffusion, x_t: Tensor, levels: Sequence[NoiseLevel], noise: Noise) -> Iterator[State]:
    """Samples x_s ~ p(x_s | x_t) from level to level: Ho et al. (2020), algorithm 2, for any levels.

    Args:
        diffusion: the model, with its variances.
        x_t: (B, C, H, W) at `levels[0]`.
        levels: falling. If the last is the image, no noise is added there.
        noise: for every step but one to the image.

    Yields:
        The state at every level.
    """
    x_0 = x_t
    for t, s in pairwise(levels):
        estimate = diffusion.estimate(x_t, t)
        x_0 = estimate.x_0
        yield State(t, x_t, x_0)
        p = diffusion.p_between(estimate, x_t, t, s)
        x_t = p.mean if s == IMAGE else p.mean + p.std * noise()
    yield State(levels[-1], x_t, x_0)


def flow(
    diffusion: GaussianDiffusion,
    x_t: Tensor,
    levels: Sequence[NoiseLevel],
    noise: Noise | None = None,
    *,
    eta: float = 0.0,
) -> Iterator[State]:
    """DDIM (Song, Meng & Ermon 2021), eqs. 12 and 16: the noise in x_t is kept, or partly renewed.

    With eta = 0 these are deterministic steps along the probability flow; the levels may then also rise, which leads
    from an image to its noise. With eta = 1 it is `ancestral` with variances `fixedsmall`.

    Args:
        diffusion: the model; its variances do not matter.
        x_t: (B, C, H, W) at `levels[0]`, which is not the image.
        levels: falling; with eta = 0 also rising.
        noise: for every step, if eta is not 0.
        eta: which part of the standard deviation of q(x_s | x_t, x_0) is new noise, 0 to 1.

    Yields:
        The state at every level.
    """
    x_0 = x_t
    for t, s in pairwise(levels):
        x_0 = diffusion.estimate(x_t, t).x_0
        yield State(t, x_t, x_0)
        fresh = eta * posterior(t, s).std if eta else 0.0
        eps = (x_t - t.alpha * x_0) / t.sigma
        x_t = s.alpha * x_0 + math.sqrt(s.sigma**2 - fresh**2) * eps
        if fresh:
            assert noise is not None
            x_t = x_t + fresh * noise()
    yield State(levels[-1], x_t, x_0)


def langevin(
    diffusion: GaussianDiffusion,
    x_t: Tensor,
    levels: Sequence[NoiseLevel],
    noise: Noise,
    *,
    updates: int = UPDATES,
    step_size: float = 0.2,
) -> Iterator[State]:
    """Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1) with the score of q(x_t) computed from eps.

    At every level x moves several times by delta / 2 * score + sqrt(delta) * noise, with score = -eps / sigma and
    delta = step_size * sigma^2. From level to level it steps like `flow`, which makes this a predictor-corrector
    method (Song et al. 2021, section 4.2). If x were kept unchanged, as in 2019, its noise would be too strong
    at every level; networks interpret that as texture, and pictures get cluttered.

    Args:
        diffusion: the model; its variances do not matter.
        x_t: (B, C, H, W) at `levels[0]`.
        levels: falling; a level may be repeated, which doubles its updates.
        noise: for every update.
        updates: per level, one evaluation each; one more evaluation leads to the next level.
        step_size: much less than 4, where the iteration diverges: the variance of the noise is 1 / (1 - step_size / 4)
            times too large.

    Yields:
        The state after the updates of every level, and that at the last level.
    """
    x_0 = x_t
    for t, s in pairwise(levels):
        delta = step_size * t.sigma**2
        for _ in range(updates):
            score = (t.alpha * diffusion.estimate(x_t, t).x_0 - x_t) / t.sigma**2
            x_t = x_t + delta / 2 * score + math.sqrt(delta) * noise()
        x_0 = diffusion.estimate(x_t, t).x_0
        yield State(t, x_t, x_0)
        x_t = s.alpha * x_0 + s.sigma / t.sigma * (x_t - t.alpha * x_0)
    yield State(levels[-1], x_t, x_0)


@dataclass(frozen=True)
class Sampler:
    """A sampler with its options.

    Args:
        kind: `ancestral` (algorithm 2 of the paper), `flow` (DDIM) or `langevin` (annealed Langevin dynamics).
        steps: noise levels from t = T to t = 1, of which a trajectory visits those below its start. By default all T
            for ancestral sampling, and 100 for the others.
        variance: of ancestral steps; None: the model's.
        eta: of flow: 0 is deterministic, 1 is ancestral.
        updates: of Langevin dynamics per level, by default 4; each is an evaluation of the network.
        spacing: of the levels; by default in log SNR for Langevin dynamics, as in Song & Ermon (2019), and in timesteps
            for the others.

    Raises:
        ConfigError: if a value is invalid.
    """

    kind: SamplerKind = "ancestral"
    steps: int | None = None
    variance: VarianceKind | None = None
    eta: float = 0.0
    updates: int | None = None
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(SamplerKind):
            raise ConfigError(f"sampler: expected one of {', '.join(get_args(SamplerKind))}, found {self.kind!r}")
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta: expected 0 to 1, found {self.eta}")
        if self.eta and self.kind != "flow":
            raise ConfigError(f"eta: only for the sampler flow, found {self.eta} for {self.kind}")
        if self.variance and self.kind != "ancestral":
            raise ConfigError(f"variance: only for the sampler ancestral, found {self.variance} for {self.kind}")
        if self.updates is not None and self.kind != "langevin":
            raise ConfigError(f"updates: only for the sampler langevin, found {self.updates} for {self.kind}")
        if self.updates is not None and self.updates < 1:
            raise ConfigError(f"updates: expected at least 1, found {self.updates}")

    def levels(self, schedule: NoiseSchedule, start: NoiseLevel | None = None) -> list[NoiseLevel]:
        """The levels of a trajectory from `start`, by default t = T, to the image.

        Raises:
            ConfigError: if the schedule has fewer than `steps` levels.
        """
        steps = self.steps
        if steps is None and self.kind != "ancestral":
            steps = min(100, schedule.steps)
        spacing = self.spacing or ("log_snr" if self.kind == "langevin" else "timestep")
        return levels_below(schedule, start or schedule.level(schedule.steps), steps, spacing)

    def states(
        self, process: GaussianDiffusion, x_t: Tensor, levels: Sequence[NoiseLevel], noise: Noise
    ) -> Iterator[State]:
        """The states from x_t, (B, C, H, W) at `levels[0]`, to the image."""
        match self.kind:
            case "ancestral":
                return ancestral(process, x_t, levels, noise)
            case "flow":
                return flow(process, x_t, levels, noise, eta=self.eta)
            case "langevin":
                return langevin(process, x_t, levels, noise, updates=self.updates or UPDATES)
