"""What a channel is: the protocol, its law, and the information that a sample carries.

A channel conveys one sample y of N(m, diag s^2) to a receiver who knows only the prior N(0, I) and a shared
seed.
All quantities are in units of the prior: m = (mean_q - mean_p) / std_p and s = std_q / std_p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Std = float | FloatArray
"""Standard deviation of the target in units of the prior: a float or an array (D,), in (0, 1]."""

LOG_2 = float(np.log(2.0))


class ChannelId(IntEnum):
    """Wire ids; they are written to files and never change meaning."""

    TRELLIS = 0
    POISSON = 1


@dataclass(frozen=True)
class StreamKey:
    """Names the shared randomness of one step of one file.

    Args:
        seed: the file's seed, 0 <= seed < 2**64.
        step: the running number of the step in the file, 0 <= step < 2**64.

    Raises:
        ValueError: if a number is out of range.
    """

    seed: int
    step: int

    def __post_init__(self) -> None:
        if not (0 <= self.seed < 2**64 and 0 <= self.step < 2**64):
            raise ValueError(f"seed and step must lie in [0, 2**64), got {self.seed} and {self.step}")


class SymbolWriter(Protocol):
    """Takes symbols; `diffcodec.bitstream.entropy` implements it."""

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        """Append fair bits, each 0 or 1, shape (count,)."""

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Append symbols in [0, len(weights)), each with probability weights[symbol] / sum(weights)."""


class SymbolReader(Protocol):
    """Gives back what a `SymbolWriter` took, in the same order."""

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        """The next `count` fair bits, shape (count,)."""

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """The next `count` symbols of the categorical with these weights, shape (count,)."""


class Channel(Protocol):
    """Sends samples of N(m, diag s^2) from shared randomness, for a batch of N images of D numbers.

    Law: `decode` returns what `encode` returned, bit for bit in the same process, and up to floating-point
        rounding
    elsewhere. Which symbols are read, and where each one goes, depends on integers only: lengths, dims,
    effort, seed, step and integer weights. (And on which entries of `std` are equal, so both sides must pass
    the same table.)
    """

    channel_id: ChannelId
    bits_per_length: int
    """Information that one unit of a message's length stands for, in bits."""

    def length_for(self, kl_bits: float, dims: int) -> int:
        """The length at which the information delivered equals `kl_bits`; the encoder sends it."""

    def path_bits(self, length: int, dims: int) -> float:
        """Nominal cost in bits of a message of this length."""

    def encode(
        self,
        mean: FloatArray,
        std: Std,
        lengths: Sequence[int],
        key: StreamKey,
        writers: Sequence[SymbolWriter],
        weights: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Send one sample for each image.

        Args:
            mean: m, shape (N, D).
            std: s in (0, 1], a float or shape (D,).
            lengths: N message lengths, see `length_for`; the receiver must learn them by other means.
            key: names the shared randomness.
            writers: N writers, one for each image.
            weights: expected information of each coefficient in any unit, positive integers of shape (D,), or
                None for equal shares. A static table: it lays out the message.

        Returns:
            The samples y, shape (N, D).

        Raises:
            ValueError: if shapes disagree or a value is out of range.
        """

    def decode(
        self,
        dims: int,
        std: Std,
        lengths: Sequence[int],
        key: StreamKey,
        readers: Sequence[SymbolReader],
        weights: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Receive the samples that `encode` returned, shape (N, dims)."""


def kl_bits(mean: FloatArray, std: Std) -> NDArray[np.float64]:
    """KL(N(m, diag s^2) || N(0, I)) in bits, shape (N,), for m of shape (N, D)."""
    m = np.asarray(mean, np.float64)
    s_squared = np.broadcast_to(np.asarray(std, np.float64) ** 2, m.shape[1:])
    base = np.sum(s_squared - 1.0 - np.log(s_squared))
    total: NDArray[np.float64] = (np.sum(m * m, axis=1) + base) / (2.0 * LOG_2)
    return total


def delivered_bits(y: FloatArray, mean: FloatArray, std: Std) -> NDArray[np.float64]:
    """The information that arrived: sum over dims of log2 q(y) / p(y), shape (N,), for y and m of shape (N,
    D).

    Its mean over true samples of q is the KL divergence. A coder that pays little because its samples are
    biased towards the prior shows up here, though hardly in the variance of its noise.
    """
    sample, m = np.asarray(y, np.float64), np.asarray(mean, np.float64)
    s = np.broadcast_to(np.asarray(std, np.float64), m.shape[1:])
    nats = 0.5 * sample**2 - 0.5 * ((sample - m) / s) ** 2 - np.log(s)
    total: NDArray[np.float64] = np.sum(nats, axis=1) / LOG_2
    return total


def check_request(
    dims: int, std: Std, lengths: Sequence[int], ports: int, weights: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Check what every channel is given; `ports` is the number of readers or writers.

    Returns:
        std as float64: shape () where it is one number for all dims, else (dims,).

    Raises:
        ValueError: if shapes disagree or a value is out of range.
    """
    if dims < 1:
        raise ValueError(f"need at least one dimension, got {dims}")
    if len(lengths) != ports:
        raise ValueError(f"need one length for each reader or writer, got {len(lengths)} lengths for {ports}")
    if any(length < 0 for length in lengths):
        raise ValueError(f"lengths must not be negative, got {min(lengths)}")
    s = np.asarray(std, np.float64)
    if s.shape not in ((), (dims,)):
        raise ValueError(f"std must be a number or of shape ({dims},), got shape {s.shape}")
    if not bool(np.all((s > 0.0) & (s <= 1.0))):
        raise ValueError("std must lie in (0, 1]")
    if weights is not None and (weights.shape != (dims,) or weights.dtype.kind not in "iu" or weights.min() < 1):
        raise ValueError(f"weights must be positive integers of shape ({dims},)")
    return s


def check_mean(mean: FloatArray, ports: int) -> tuple[int, int]:
    """Check what encoders are given besides; `ports` is the number of writers.

    Returns:
        N and D.

    Raises:
        ValueError: if the shape is not (ports, D) or a value is not finite.
    """
    if mean.ndim != 2:
        raise ValueError(f"mean must have shape (N, D), got {mean.shape}")
    count, dims = mean.shape
    if count != ports:
        raise ValueError(f"need one writer for each of {count} images, got {ports}")
    if not bool(np.all(np.isfinite(mean))):
        raise ValueError("mean must be finite")
    return count, dims
