"""A channel of one's own in two functions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffcodec.channel.base import (
    Channel,
    FloatArray,
    Groups,
    Message,
    PendingGroups,
    StreamKey,
    SymbolReader,
    SymbolWriter,
    check_mean,
    key_of,
)
from diffcodec.channel.randomness import shared_normals
from diffcodec.errors import ConfigError


class SimpleChannel(Channel):
    """A channel whose messages are equally likely symbols, chosen for one image at a time.

    A subclass has `choose` and `sample`, and sets `bits_per_length` if a symbol has more than one bit. For other
    lengths or symbols of unequal weights, derive from `Channel`.
    """

    bits_per_length: int = 1
    """Bits of a symbol: it lies in [0, 2**bits_per_length)."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Check `bits_per_length`.

        Raises:
            ConfigError: if it is not an integer from 1 to 62.
        """
        super().__init_subclass__(**options)
        bits = cls.bits_per_length
        if not isinstance(bits, int) or not 1 <= bits <= 62:
            raise ConfigError(f"bits_per_length: expected an integer from 1 to 62, found {bits!r}")

    @abstractmethod
    def choose(self, mean: FloatArray, std: NDArray[np.float32], length: int, key: StreamKey) -> ArrayLike:
        """The symbols of a message, shape (length,), length >= 1. Encoder-only.

        Args:
            mean: m of q, shape (D,), in units of the prior.
            std: s of q, shape (D,), in (0, 1].
            length: number of symbols.
            key: of the shared randomness, see `shared_normals`.
        """

    @abstractmethod
    def sample(self, dims: int, symbols: NDArray[np.int64], key: StreamKey) -> ArrayLike:
        """The sample that a message stands for, shape (dims,): both sides compute it from the same arguments."""

    def length_for(self, kl_bits: float, dims: int) -> int:
        """A message of as many bits as the KL."""
        return math.ceil(kl_bits / self.bits_per_length)

    def information_in(self, length: int) -> int:
        """One bit of information for each bit of the message."""
        return 256 * self.bits_per_length * length

    def path_bits(self, length: int, dims: int) -> float:
        """The bits of all symbols."""
        return float(self.bits_per_length * length)

    def select(
        self, mean: FloatArray, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey]
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """`choose` for every image."""
        count, dims = check_mean(mean)
        std = np.ones((count, dims), np.float32) if groups is None else groups.each_std
        messages: list[Message] = []
        for i, length in enumerate(lengths):
            if length:
                messages.append(self._checked(self.choose(mean[i], std[i], length, key_of(keys, i)), length))
            else:
                messages.append(np.empty(0, np.int64))
        return messages, self.samples(dims, groups, lengths, keys, messages)

    def samples(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        messages: Sequence[Message],
    ) -> NDArray[np.float32]:
        """`sample` of every image; an empty message stands for a sample of the prior."""
        rows = np.empty((len(messages), dims), np.float32)
        for i, message in enumerate(messages):
            key = key_of(keys, i)
            if len(message):
                rows[i] = _finite_sample(self.sample(dims, message.astype(np.int64), key), dims)
            else:
                rows[i] = shared_normals(key, 0, dims)
        return rows

    def _checked(self, chosen: ArrayLike, length: int) -> Message:
        """The symbols that `choose` returned, (length,)."""
        symbols, end = np.asarray(chosen), 1 << self.bits_per_length
        if symbols.shape != (length,):
            raise ConfigError(f"choose: expected {length} symbols, found an array of shape {symbols.shape}")
        if symbols.dtype.kind not in "iub":
            raise ConfigError(f"choose: expected integers, found {symbols.dtype}")
        outside = symbols[(symbols < 0) | (symbols >= end)]
        if outside.size:
            raise ConfigError(
                f"choose: expected symbols below 2^{self.bits_per_length} = {end}, the range of `bits_per_length`, "
                f"found {outside[0]}"
            )
        return symbols.astype(np.int64)

    def write(self, message: Message, writer: SymbolWriter) -> None:
        """Symbol by symbol, `bits_per_length` fair bits each, highest first."""
        places = np.arange(self.bits_per_length)[::-1]
        writer.write_bits((message[:, None] >> places & 1).astype(np.uint8).ravel())

    def read(self, dims: int, groups: PendingGroups, length: int, key: StreamKey, reader: SymbolReader) -> Message:
        """As they were written."""
        if not length:
            return np.empty(0, np.int64)
        bits = reader.read_bits(length * self.bits_per_length).reshape(length, -1).astype(np.int64)
        return bits @ (1 << np.arange(self.bits_per_length, dtype=np.int64)[::-1])


def _finite_sample(found: ArrayLike, dims: int) -> NDArray[np.float32]:
    """The sample that `sample` returned, (dims,)."""
    try:
        sample = np.asarray(found, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sample: expected {dims} numbers, found {type(found).__name__}") from error
    if sample.shape != (dims,):
        raise ConfigError(f"sample: expected {dims} numbers, found an array of shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ConfigError("sample: expected finite numbers, found NaN or infinity")
    return sample
