"""The betas of a schedule, in decimal arithmetic.

Decimal arithmetic, including logarithms and exponentials, gives the same digits on every machine; floating point does
not guarantee this. So integers that files depend on can be computed from these betas if a model has no stored tables
(`diffcodec.model.default_tables`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from itertools import pairwise
from typing import ParamSpec, TypeVar

from diffcodec.config import ModelConfig, NetworkConfig, PredictionKind, ScheduleConfig, VarianceKind

DIGITS = 40
"""Precision of the arithmetic: after thousands of products the relative error is below 1e-35."""

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

LARGEST_COSINE_BETA = Decimal("0.999")
"""Betas of `cosine` are clipped to this, as in Nichol & Dhariwal (2021): the last would be 1."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def exact() -> Iterator[None]:
    """Inside, decimal arithmetic has DIGITS digits, whatever the caller's context is."""
    with localcontext(Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)):
        yield


def exactly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator that runs a function inside `exact`."""

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with exact():
            return function(*args, **kwargs)

    return wrapped


@exactly
def betas(config: ScheduleConfig) -> list[Decimal]:
    """The variance added by each step: T betas, starting with step 1."""
    match config.kind:
        case "linear":
            return _line(Decimal(config.beta_start), Decimal(config.beta_end), config.steps)
        case "scaled_linear":
            start, end = Decimal(config.beta_start).sqrt(), Decimal(config.beta_end).sqrt()
            return [root * root for root in _line(start, end, config.steps)]
        case "cosine":
            kept = [_cosine_alphas_cumprod(Decimal(t) / config.steps) for t in range(config.steps + 1)]
            return [min(1 - kept[t] / kept[t - 1], LARGEST_COSINE_BETA) for t in range(1, config.steps + 1)]
        case "betas":
            return [Decimal(beta) for beta in config.betas]


def _line(start: Decimal, end: Decimal, count: int) -> list[Decimal]:
    """Evenly spaced numbers including both ends; only the start if `count` is 1."""
    return [start + (end - start) * k / max(1, count - 1) for k in range(count)]


def _cosine_alphas_cumprod(time: Decimal) -> Decimal:
    """f(t) of Nichol & Dhariwal (2021), eq. 17, times a constant; time from 0 to 1."""
    offset = Decimal("0.008")
    return _cosine((time + offset) / (1 + offset) * PI / 2) ** 2


def _cosine(angle: Decimal) -> Decimal:
    """Cosine by its Taylor series, for angles from 0 to pi / 2."""
    total, term, order = Decimal(1), Decimal(1), 0
    while total + term != total or not order:
        order += 2
        term *= -angle * angle / (order * (order - 1))
        total += term
    return total


@exactly
def log_snrs(config: ScheduleConfig) -> list[Decimal]:
    """Log SNR of every timestep from 1 to T, in nats: log(alphas_cumprod / (1 - alphas_cumprod)); falling."""
    found, alphas_cumprod = [], Decimal(1)
    for beta in betas(config):
        alphas_cumprod *= 1 - beta
        found.append((alphas_cumprod / (1 - alphas_cumprod)).ln())
    return found


@exactly
def without_pure_noise(config: ScheduleConfig) -> ScheduleConfig:
    """The schedule whose last timestep is rescaled to pure noise (Lin et al. 2023, algorithm 1), without that timestep.

    Raises:
        ConfigError: if that leaves fewer than two timesteps.
    """
    kept, amplitudes = Decimal(1), []
    for beta in betas(config):
        kept *= 1 - beta
        amplitudes.append(kept.sqrt())
    first, last = amplitudes[0], amplitudes[-1]
    rescaled = [((each - last) * first / (first - last)) ** 2 for each in amplitudes[:-1]] if first > last else []
    new = [1 - after / before for before, after in pairwise([Decimal(1), *rescaled])]
    return ScheduleConfig(len(new), kind="betas", betas=tuple(map(float, new)))


def full_range_model(
    network: NetworkConfig, schedule: ScheduleConfig, prediction: PredictionKind, variance: VarianceKind = "fixedsmall"
) -> ModelConfig:
    """The configuration of a model whose network is trained on all timesteps of a schedule.

    Raises:
        ConfigError: if the schedule has only one.
    """
    levels = log_snrs(schedule)
    return ModelConfig(
        network, schedule, prediction, variance, log_snr_min=float(levels[-1]), log_snr_max=float(levels[0])
    )
