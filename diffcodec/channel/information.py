"""The information in samples: what an ideal channel would pay, and what arrived."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.base import FloatArray, Groups

LOG_2 = float(np.log(2.0))

Std = float | FloatArray
"""Standard deviation of the target in units of the prior, in (0, 1]: a float, or an array that broadcasts to (N, D)."""


def kl_bits(mean: FloatArray, std: Std) -> NDArray[np.float64]:
    """KL(N(m, diag s^2) || N(0, I)) in bits, shape (N,), for m of shape (N, D)."""
    m = np.asarray(mean, np.float64)
    s_squared = np.square(np.asarray(std, np.float64))
    total: NDArray[np.float64] = np.sum(m * m + (s_squared - 1.0 - np.log(s_squared)), axis=1) / (2.0 * LOG_2)
    return total


def delivered_bits(y: FloatArray, mean: FloatArray, std: Std) -> NDArray[np.float64]:
    """The information that arrived: sum over dims of log2 q(y) / p(y), shape (N,), for y and m of shape (N, D).

    Its mean over true samples of q is the KL divergence. It reveals a coder that is cheap because its samples are
    biased towards the prior, which the variance of its noise hardly shows.
    """
    sample, m, s = np.asarray(y, np.float64), np.asarray(mean, np.float64), np.asarray(std, np.float64)
    nats = 0.5 * sample**2 - 0.5 * ((sample - m) / s) ** 2 - np.log(s)
    total: NDArray[np.float64] = np.sum(nats, axis=1) / LOG_2
    return total


def measure_information(
    sample: NDArray[np.float32], mean: NDArray[np.float32], groups: Groups | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`kl_bits` and `delivered_bits` of samples, shape (N,) each, in one pass and single precision."""
    if groups is None:
        return _in_bits(_squares(mean)), _in_bits(_squares(sample) - _squares(sample - mean))
    log_std = np.log(groups.std)
    deviation = (sample - mean) / groups.each_std
    floor = (np.expm1(2.0 * log_std) - 2.0 * log_std) @ groups.counts
    arrived = _squares(sample) - _squares(deviation) - 2.0 * log_std @ groups.counts
    return _in_bits(_squares(mean) + floor), _in_bits(arrived)


def _squares(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of squares, (N,)."""
    return np.array([np.dot(row, row) for row in x], np.float64)


def _in_bits(twice_nats: NDArray[np.float64]) -> NDArray[np.float64]:
    return twice_nats / (2.0 * LOG_2)
