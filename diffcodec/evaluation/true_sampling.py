"""A channel without a code: exact samples of q, sent at no cost, as an ideal for real channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel import Channel, ChannelId, Groups, StreamKey
from diffcodec.channel.base import FloatArray, Message, SymbolReader, SymbolWriter


class TrueSampling(Channel):
    """Draws y ~ N(m, diag s^2) with local randomness and writes nothing; there is nothing to decode.

    Args:
        seed: of the samples.
    """

    channel_id = ChannelId.TRELLIS
    bits_per_length = 1

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)

    def length_for(self, kl_bits: float, dims: int) -> int:
        """The divergence, rounded: as with other channels, the receiver derives its variances from the length."""
        return round(kl_bits)

    def information_in(self, length: int) -> int:
        """The length itself, in 1 / 256 bits."""
        return 256 * length

    def path_bits(self, length: int, dims: int) -> float:
        """Always 0."""
        return 0.0

    def select(
        self, mean: FloatArray, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey]
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """Exact samples, shape (N, D), and empty messages."""
        noise = self.generator.standard_normal(mean.shape)
        std = 1.0 if groups is None else groups.each_std
        return [np.empty(0, np.uint8) for _ in mean], np.asarray(mean + std * noise, np.float32)

    def write(self, message: Message, writer: SymbolWriter) -> None:
        """Writes nothing."""

    def read(
        self, dims: int, groups: Callable[[], Groups | None], length: int, key: StreamKey, reader: SymbolReader
    ) -> Message:
        """There is no message.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("true samples are not coded")

    def samples(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        messages: Sequence[Message],
    ) -> NDArray[np.float32]:
        """As `read`."""
        raise NotImplementedError("true samples are not coded")
