"""Noise levels of the forward process, in float64.

`x_t = alpha_t x_0 + sigma_t eps` with `alpha^2 + sigma^2 = 1`, so the log SNR determines a level, and
levels may lie between the integer timesteps of the schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.betas import betas


@dataclass(frozen=True)
class NoiseLevel:
    """A level of the variance-preserving process: `log_snr = log(alpha^2 / sigma^2)`, in nats.

    `-inf` is pure noise (alpha = 0) and `+inf` the clean image (sigma = 0).
    """

    log_snr: float

    @property
    def snr(self) -> float:
        """alpha^2 / sigma^2."""
        return math.exp(self.log_snr)

    @property
    def alpha(self) -> float:
        """Factor of x_0 in x_t; `alphas_cumprod` is its square."""
        return math.exp(-0.5 * _softplus(-self.log_snr))

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in x_t."""
        return math.exp(-0.5 * _softplus(self.log_snr))


def _softplus(value: float) -> float:
    """log(1 + exp(value)), also at +-inf."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@dataclass(frozen=True)
class Posterior:
    """Coefficients of q(x_s | x_t, x_0) = N(x_0 * of_x_0 + x_t * of_x_t, std^2).

    Ho et al. (2020), eqs. 6-7, generalised from s = t - 1 to any s < t.
    """

    of_x_0: float
    of_x_t: float
    std: float


def posterior(t: NoiseLevel, s: NoiseLevel) -> Posterior:
    """Coefficients of q(x_s | x_t, x_0) for a cleaner level s.

    Args:
        t: the noisier level; may be pure noise (SNR 0), where x_t has no information.
        s: the cleaner level; may be the image itself (SNR infinite), where the std is 0.

    Raises:
        ValueError: if s is not cleaner than t.
    """
    if not s.log_snr > t.log_snr:
        raise ValueError(f"expected a cleaner level than log SNR {t.log_snr}, found {s.log_snr}")
    gain = -math.expm1(t.log_snr - s.log_snr)  # 1 - SNR(t) / SNR(s)
    return Posterior(
        of_x_0=s.alpha * gain, of_x_t=(t.alpha / s.alpha) * (s.sigma / t.sigma) ** 2, std=s.sigma * math.sqrt(gain)
    )


def forward_std(t: NoiseLevel, s: NoiseLevel) -> float:
    """Standard deviation of q(x_t | x_s) for a cleaner level s; its square is beta_t for s = t - 1."""
    # From the log of alphas_cumprod, because 1 - alpha_t^2 / alpha_s^2 would lose digits.
    return math.sqrt(-math.expm1(_softplus(-s.log_snr) - _softplus(-t.log_snr)))


@dataclass(frozen=True)
class NoiseSchedule:
    """The timesteps 0 (the image) to `steps` (noise) of a discrete schedule, as noise levels."""

    config: ScheduleConfig

    @property
    def steps(self) -> int:
        """T, the number of the noisiest timestep."""
        return self.config.steps

    @cached_property
    def betas(self) -> NDArray[np.float64]:
        """Shape (T + 1,); `betas[t]` is the variance added by step t, `betas[0] = 0`."""
        return np.array([0.0, *map(float, betas(self.config))])

    @cached_property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """Shape (T + 1,); the square of alpha at every timestep, 1 at t = 0."""
        return np.asarray(np.cumprod(1 - self.betas), np.float64)

    @cached_property
    def log_snr(self) -> NDArray[np.float64]:
        """Shape (T + 1,), falling; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            # From a sum of logs, because 1 - alphas_cumprod loses digits where it is small.
            log_alphas_cumprod = np.cumsum(np.log1p(-self.betas))
            log_snr: NDArray[np.float64] = log_alphas_cumprod - np.log(-np.expm1(log_alphas_cumprod))
        return log_snr

    def level(self, t: int) -> NoiseLevel:
        """The noise level of timestep t.

        Raises:
            ValueError: if not 0 <= t <= T.
        """
        if not 0 <= t <= self.steps:
            raise ValueError(f"expected a timestep from 0 to {self.steps}, found {t}")
        return NoiseLevel(float(self.log_snr[t]))

    def before(self, log_snr: float) -> NoiseLevel:
        """The noisiest timestep that is cleaner than a log SNR: t - 1 for that of t; the image for t = 1."""
        return self.level(math.ceil(self.timestep_nearby(log_snr)) - 1)

    def timestep(self, log_snr: float) -> float:
        """The (fractional) timestep of a log SNR, clipped to 1...T: the input of imported networks."""
        return float(np.interp(-log_snr, -self.log_snr[1:], np.arange(1, self.steps + 1)))

    def timestep_nearby(self, log_snr: float) -> float:
        """`timestep`, rounded if it is within 0.01 of an integer, so that rounded levels keep their timestep."""
        timestep = self.timestep(log_snr)
        return float(round(timestep)) if abs(timestep - round(timestep)) < 0.01 else timestep
