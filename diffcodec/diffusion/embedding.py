"""Embeddings of the noise level."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn


class NoiseEmbedding(nn.Module):
    """Sinusoids of the noise level through a two-layer perceptron.

    Args:
        frequencies: of the sinusoids, (K,).
        channels: width of the embedding.
        cosines_first: whether the cosines come before the sines.
    """

    def __init__(self, frequencies: Tensor, channels: int, *, cosines_first: bool = False) -> None:
        super().__init__()
        self.cosines_first = cosines_first
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * len(frequencies), channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )

    @classmethod
    def of_log_snr(cls, channels: int) -> Self:
        """For log SNRs, which span about 20 nats: periods from 50 down to 0.8."""
        # By numpy: on the meta device, where models are checked, torch's own would import sympy for half a second.
        return cls(torch.tensor(np.logspace(-3, 3, 32, base=2).tolist()), channels)

    @classmethod
    def of_timestep(cls, features: int, channels: int, *, shift: int, cosines_first: bool) -> Self:
        """For timesteps, as in Ho et al. (2020): sinusoids as in the Transformer, periods up to 2 pi 10,000.

        Args:
            features: number of sines and cosines together.
            channels: width of the embedding.
            shift, cosines_first: see `UNetConfig`.
        """
        last = features // 2 - shift
        frequencies = torch.exp(-math.log(10_000) * torch.arange(features // 2) / last)
        return cls(frequencies, channels, cosines_first=cosines_first)

    def forward(self, condition: Tensor) -> Tensor:
        """Noise levels (B,) -> embeddings (B, channels)."""
        angles = condition.float()[:, None] * self.get_buffer("frequencies")
        waves = [angles.cos(), angles.sin()] if self.cosines_first else [angles.sin(), angles.cos()]
        embedding: Tensor = self.layers(torch.cat(waves, dim=1))
        return embedding
