"""The channel protocol and its law.

A channel conveys one sample y of N(m, diag s^2) to a receiver who knows only the prior N(0, I) and a shared seed.
All quantities are in units of the prior: m = (mean_q - mean_p) / std_p and s = std_q / std_p.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
MAX_WEIGHT = 1 << 24
"""Weights are below this, so that the sum over 2**25 coefficients is below 2**49."""


class ChannelId(IntEnum):
    """Channel numbers in the file format; they never change."""

    TRELLIS = 0
    POISSON = 1
    OWN = 3
    """A channel that is not part of diffcodec: the reader must bring it."""


@dataclass(frozen=True)
class StreamKey:
    """Key of the shared randomness of one message.

    Args:
        seed: the file's seed, 0 <= seed < 2**64.
        step: number of the step (and tile) in the file, 0 <= step < 2**64.

    Raises:
        ValueError: if a number is out of range.
    """

    seed: int
    step: int

    def __post_init__(self) -> None:
        if not (0 <= self.seed < 2**64 and 0 <= self.step < 2**64):
            raise ValueError(f"seed and step must lie in [0, 2**64), got {self.seed} and {self.step}")


def key_of(keys: Sequence[StreamKey], image: int) -> StreamKey:
    """The key of an image of a batch, whose keys are one for all or one for each."""
    return keys[min(image, len(keys) - 1)]


@dataclass(frozen=True)
class Groups:
    """Groups of coefficients with equal std.

    Args:
        of: the group of every coefficient, shape (D,), 0 to G - 1. Coefficients of a group have one std, so a channel
            may mix them.
        std: s of every group for every image, shape (N, G), in (0, 1]. It only scales samples.
        weights: expected information of a coefficient of every group for every image, in any unit, shape (N, G),
            positive integers. Together with `of` they determine the layout of the message.

    Raises:
        ValueError: if shapes disagree or a value is out of range.
    """

    of: NDArray[np.integer[Any]]
    std: NDArray[np.float64]
    weights: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.std.ndim != 2 or self.std.shape != self.weights.shape:
            raise ValueError(f"std and weights must have shape (N, G), got {self.std.shape} and {self.weights.shape}")
        if self.of.ndim != 1 or (self.of.size and not 0 <= self.of.min() <= self.of.max() < self.std.shape[1]):
            raise ValueError(f"groups must lie in [0, {self.std.shape[1]})")
        if not bool(np.all((self.std > 0.0) & (self.std <= 1.0))):
            raise ValueError("std must lie in (0, 1]")
        if self.weights.dtype.kind not in "iu" or not bool(np.all((self.weights >= 1) & (self.weights < MAX_WEIGHT))):
            raise ValueError(f"weights must be positive integers below {MAX_WEIGHT}")

    @cached_property
    def each_std(self) -> NDArray[np.float32]:
        """s of every coefficient, shape (N, D)."""
        return self.std.astype(np.float32)[:, self.of]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of coefficients of every group, shape (G,)."""
        return np.bincount(self.of, minlength=self.std.shape[1]).astype(np.int64)


@dataclass(frozen=True)
class PendingGroups:
    """The groups of one image's message; those of every coefficient are made when they are needed.

    A reader who can first reads the message: a damaged length then ends without memory for the coefficients.

    Args:
        make: returns the groups, N = 1; None if there is only one.
        weights: see `Groups`, shape (G,); None if there is only one group.
        counts: number of coefficients of every group, shape (G,).
    """

    make: Callable[[], Groups | None]
    weights: NDArray[np.int64] | None = None
    counts: NDArray[np.int64] | None = None

    @classmethod
    def of_image(cls, groups: Groups | None, image: int) -> PendingGroups:
        """Those of one image of a batch."""
        if groups is None:
            return cls(lambda: None)
        std, weights = groups.std[image : image + 1], groups.weights[image : image + 1]
        return cls(lambda: Groups(groups.of, std, weights), weights[0], groups.counts)

    def __call__(self) -> Groups | None:
        """The groups."""
        return self.make()


class SymbolWriter(Protocol):
    """Writes symbols; `diffcodec.bitstream.entropy` implements it."""

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        """Append fair bits, each 0 or 1, shape (count,)."""

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Append symbols in [0, len(weights)), each with probability weights[symbol] / sum(weights)."""


class SymbolReader(Protocol):
    """Reads the symbols of a `SymbolWriter`, in the same order."""

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        """The next `count` fair bits, shape (count,)."""

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """The next `count` symbols of the categorical distribution with these weights, shape (count,)."""


Message = NDArray[np.integer[Any]]
"""The symbols of one image's message; what they mean is the channel's own affair."""


class Channel(ABC):
    """Sends samples of N(m, diag s^2) with shared randomness, for a batch of N images of D numbers.

    A channel selects a message for each image and writes it; its receiver reads the messages and derives the samples
    that they stand for. Selection and derivation touch no stream, so both can run in threads.

    Law: `decode` returns what `encode` returned, bit-exactly in the same process, and up to floating-point rounding
    elsewhere. Which symbols are read, and what each one determines, depends on integers only: lengths, dims, effort,
    seed, step, groups and weights.
    """

    channel_id: ChannelId = ChannelId.OWN
    bits_per_length: int
    """Information per unit of a message's length, in bits."""

    @abstractmethod
    def length_for(self, kl_bits: float, dims: int) -> int:
        """The length at which the information delivered equals `kl_bits`; the encoder sends it."""

    @abstractmethod
    def information_in(self, length: int) -> int:
        """Approximate information of a message of this length, in 1 / 256 bits; integers only."""

    @abstractmethod
    def path_bits(self, length: int, dims: int) -> float:
        """Nominal cost in bits of a message of this length."""

    @abstractmethod
    def select(
        self, mean: FloatArray, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey]
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """The messages for some images and the samples that they stand for, see `encode`. Encoder-only."""

    @abstractmethod
    def samples(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        messages: Sequence[Message],
    ) -> NDArray[np.float32]:
        """The samples that messages stand for, shape (N, dims)."""

    @abstractmethod
    def write(self, message: Message, writer: SymbolWriter) -> None:
        """Append the message of one image."""

    @abstractmethod
    def read(self, dims: int, groups: PendingGroups, length: int, key: StreamKey, reader: SymbolReader) -> Message:
        """Read the message of one image.

        Args:
            dims: D.
            groups: of this image alone; called only if the message depends on the group of every coefficient.
            length: of the message.
            key: of the shared randomness.
            reader: source.

        Raises:
            StreamError: if the message is malformed, or ends early.
        """

    def encode(
        self,
        mean: FloatArray,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        writers: Sequence[SymbolWriter],
    ) -> NDArray[np.float32]:
        """Send one sample for each image.

        Args:
            mean: m, shape (N, D).
            groups: the std of every coefficient; None if s = 1 for all.
            lengths: N message lengths, see `length_for`; they are sent separately.
            keys: of the shared randomness: one for all images, or one per image.
            writers: N writers, one per image; they are written in order, so that images may share a writer.

        Returns:
            The samples y, shape (N, D).

        Raises:
            ValueError: if shapes disagree or a value is out of range.
        """
        count, _ = check_mean(mean)
        if len(writers) != count:
            raise ValueError(f"need one writer for each of {count} images, got {len(writers)}")
        messages, sample = self.select(mean, groups, lengths, keys)
        for message, writer in zip(messages, writers, strict=True):
            self.write(message, writer)
        return sample

    def decode(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        readers: Sequence[SymbolReader],
    ) -> NDArray[np.float32]:
        """Receive the samples that `encode` returned, shape (N, dims)."""
        check_request(dims, groups, lengths, keys, len(readers))
        messages = [
            self.read(dims, PendingGroups.of_image(groups, i), int(lengths[i]), key_of(keys, i), readers[i])
            for i in range(len(readers))
        ]
        return self.samples(dims, groups, lengths, keys, messages)


def check_request(
    dims: int, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey], images: int
) -> None:
    """Check the arguments of a channel's methods for so many images.

    Raises:
        ValueError: if shapes disagree or a value is out of range.
    """
    if dims < 1:
        raise ValueError(f"need at least one dimension, got {dims}")
    if len(lengths) != images:
        raise ValueError(f"need one length for each image, got {len(lengths)} lengths for {images}")
    if len(keys) not in (1, images):
        raise ValueError(f"need one key, or one for each image, got {len(keys)} for {images}")
    if any(length < 0 for length in lengths):
        raise ValueError(f"lengths must not be negative, got {min(lengths)}")
    if groups is not None and (groups.of.shape != (dims,) or len(groups.std) != images):
        raise ValueError(
            f"groups must be for {images} images of {dims} numbers, got {len(groups.std)} of {len(groups.of)}"
        )


def check_mean(mean: FloatArray) -> tuple[int, int]:
    """Check the mean that a channel receives.

    Returns:
        N and D.

    Raises:
        ValueError: if the shape is not (N, D) or a value is not finite.
    """
    if mean.ndim != 2:
        raise ValueError(f"mean must have shape (N, D), got {mean.shape}")
    if not bool(np.all(np.isfinite(mean))):
        raise ValueError("mean must be finite")
    count, dims = mean.shape
    return count, dims
