"""A channel without a code: true samples of q, sent at no cost. The bound that real channels are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel import ChannelId, Groups, StreamKey
from diffcodec.channel.base import FloatArray, SymbolReader, SymbolWriter


class TrueSampling:
    """Draws y ~ N(m, diag s^2) as nature would and writes nothing; there is nothing to decode.

    Args:
        seed: of the samples.
    """

    channel_id = ChannelId.TRELLIS
    bits_per_length = 1

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)

    def length_for(self, kl_bits: float, dims: int) -> int:
        """The divergence: the receiver takes its variances from the length, as with other channels."""
        return round(kl_bits)

    def information_in(self, length: int) -> int:
        """The length itself."""
        return 256 * length

    def path_bits(self, length: int, dims: int) -> float:
        """No path bits."""
        return 0.0

    def encode(
        self,
        mean: FloatArray,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        writers: Sequence[SymbolWriter],
    ) -> NDArray[np.float32]:
        """True samples, shape (N, D)."""
        noise = self.generator.standard_normal(mean.shape)
        return np.asarray(mean + (1.0 if groups is None else groups.each_std) * noise, np.float32)

    def decode(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        readers: Sequence[SymbolReader],
    ) -> NDArray[np.float32]:
        """There is no message.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("true samples are not coded")
