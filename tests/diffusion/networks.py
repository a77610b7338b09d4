"""Small networks of all kinds."""

from __future__ import annotations

from dataclasses import replace

import torch

from diffcodec.config import UNetConfig
from diffcodec.diffusion.unet import UNet
from diffcodec.training.recipes import named_model

TINY = UNetConfig(channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32)
GROUPED = replace(TINY, channels=32, norm="group", full_resolution_channels=32)

SMALL = named_model("cifar10-small").network
assert isinstance(SMALL, UNetConfig)

LOCAL = {
    "cifar10-small": replace(SMALL, channels=8, full_resolution_channels=8, embedding_channels=16),
    "tiny": replace(TINY, channels=8),
    "one scale": UNetConfig(channels=8, multipliers=(1,), blocks=1, embedding_channels=16),
    "patched trunk": UNetConfig(channels=8, multipliers=(1, 1), blocks=1, patch=2, embedding_channels=16),
    "three scales": UNetConfig(channels=8, multipliers=(1, 1, 1), blocks=1, embedding_channels=16, modulation="add"),
    "patch 4": UNetConfig(
        channels=8, multipliers=(1,), blocks=1, patch=4, full_resolution_channels=4, embedding_channels=16
    ),
}


def randomised(config: UNetConfig) -> UNet:
    """A network without a single weight at zero."""
    torch.manual_seed(5)
    network = UNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1)
    return network
