"""Layers of the U-Net that torch lacks, or that are faster here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.config import UNetConfig


class ChannelNorm(nn.Module):
    """Normalises every pixel over its channels; unlike group normalisation it is local."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), times a scale (C,) and plus a shift (C,)."""
        # torch normalises twice as fast with a scale and a shift, even trivial ones.
        scale = x.new_ones(self.channels) if scale is None else scale
        shift = x.new_zeros(self.channels) if shift is None else shift
        # With channels_last the permuted tensor is contiguous, so nothing is copied.
        return functional.layer_norm(x.permute(0, 2, 3, 1), (self.channels,), scale, shift).permute(0, 3, 1, 2)


class Convolution(nn.Conv2d):
    """A convolution that always uses oneDNN for float32 inference on a CPU.

    With one thread, torch chooses much slower kernels for 1 x 1 convolutions and for single small pictures.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        mkldnn = torch.backends.mkldnn
        if (
            torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
            or x.device.type != "cpu"
            or not x.dtype == self.weight.dtype == torch.float32
            or not (mkldnn.enabled and mkldnn.is_available())  # type: ignore[no-untyped-call]
        ):
            return super().forward(x)
        padding = [int(side) for side in self.padding]
        return torch.mkldnn_convolution(x, self.weight, self.bias, padding, self.stride, self.dilation, self.groups)


def make_norm(config: UNetConfig, channels: int) -> nn.Module:
    """The normalisation layer of the configuration."""
    return (
        ChannelNorm(channels)
        if config.norm == "channel"
        else nn.GroupNorm(config.norm_groups, channels, eps=config.norm_eps)
    )


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that is not used again: in place without gradients."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, initialised to zero, so that its block starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
