"""The betas of a schedule, in decimal arithmetic.

Decimal arithmetic is the same to the last digit on every machine, its logarithms and exponentials included, which
floating point does not promise. So integers that files depend on can be computed from these betas where a model has no
stored tables (`diffcodec.uncalibrated`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from diffcodec.config import ScheduleConfig

DIGITS = 40
"""Of the arithmetic: after thousands of products the relative error is below 1e-35."""

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

LARGEST_COSINE_BETA = Decimal("0.999")
"""The betas of `cosine` are cut there, as Nichol & Dhariwal (2021) do: the last would be 1."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def exact() -> Iterator[None]:
    """In this block decimal arithmetic has DIGITS digits, whatever the program around it has set."""
    with localcontext(Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)):
        yield


def exactly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, with `exact` around it."""

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with exact():
            return function(*args, **kwargs)

    return wrapped


@exactly
def betas(config: ScheduleConfig) -> list[Decimal]:
    """The variance that each step adds: T betas, that of step 1 first."""
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
    """Evenly spaced numbers, both ends among them; the start alone if there is but one."""
    return [start + (end - start) * k / max(1, count - 1) for k in range(count)]


def _cosine_alphas_cumprod(time: Decimal) -> Decimal:
    """f(t) of Nichol & Dhariwal (2021), eq. 17, times a constant; time from 0 to 1."""
    offset = Decimal("0.008")
    return _cosine((time + offset) / (1 + offset) * PI / 2) ** 2


def _cosine(angle: Decimal) -> Decimal:
    """By its Taylor series; angles from 0 to pi / 2."""
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
