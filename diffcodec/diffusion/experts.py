"""Several networks of one shape, each for a range of noise levels: more capacity at the same cost of an evaluation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from diffcodec.config import NetworkConfig, PlainUNetConfig
from diffcodec.diffusion.plain_unet import PlainUNet

NETWORK = "network."
"""Prefix of the names of a denoiser's weights."""


class Experts(nn.Module):
    """Evaluates for every image the network of its noise level.

    Args:
        config: shape of each network, and the levels at which the next one takes over.
        out_channels: of the raw output.
    """

    def __init__(self, config: PlainUNetConfig, out_channels: int) -> None:
        super().__init__()
        self.edges = config.expert_edges
        shape = replace(config, expert_edges=())
        self.experts = nn.ModuleList(PlainUNet(shape, out_channels) for _ in range(len(self.edges) + 1))

    def forward(self, x: Tensor, condition: Tensor, levels: Sequence[float] | None = None) -> Tensor:
        """Raw output of the networks.

        Args:
            x: (B, image_channels, H, W).
            condition: (B,), or (1,) for all images, log SNR in nats.
            levels: the same numbers, if they are known without waiting for the device of `condition`.

        Returns:
            (B, out_channels, H, W).
        """
        owners = [bisect_right(self.edges, level) for level in (condition.tolist() if levels is None else levels)]
        if len(set(owners)) == 1:
            result: Tensor = self.experts[owners[0]](x, condition)
            return result
        by_owner = {owner: [i for i, each in enumerate(owners) if each == owner] for owner in sorted(set(owners))}
        parts = [self.experts[owner](x[images], condition[images]) for owner, images in by_owner.items()]
        order = torch.tensor([i for images in by_owner.values() for i in images], device=x.device)
        return torch.cat(parts)[order.argsort()]


def weights_as_expert(weights: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """A single network's weights, by parameter name of a denoiser, named as those of an expert."""
    return {f"{NETWORK}experts.{number}.{name.removeprefix(NETWORK)}": value for name, value in weights.items()}


def edges_of(network: NetworkConfig) -> tuple[float, ...]:
    """The log SNRs, in nats, at which the next expert takes over; none for a single network."""
    return network.expert_edges if isinstance(network, PlainUNetConfig) else ()


def weights_of_expert(weights: Mapping[str, Tensor], edges: Sequence[float], log_snr: float) -> dict[str, Tensor]:
    """The weights of the expert for a level in nats, named as those of a denoiser with a single network."""
    prefix = f"{NETWORK}experts.{bisect_right(edges, log_snr)}."
    return {NETWORK + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
