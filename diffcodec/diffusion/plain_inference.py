"""Fast evaluation of a `PlainUNet` on a CPU: without gradients, at one noise level for all pictures.

At one level a block's modulation is the same everywhere, so it becomes part of the convolution before it:
(1 + scale) * (w * x + b) + shift = ((1 + scale) w) * x + ((1 + scale) b + shift). Activations and sums work in place.
What is left are convolutions and two cheap passes over memory a block.

In bfloat16 the first and the last convolution stay in float32: they cost 1 % of the operations, and would cause most of
the rounding error, up to a tenth of the estimate's own error where noise is weak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.diffusion.strips import in_strips

if TYPE_CHECKING:
    from diffcodec.diffusion.plain_unet import PlainBlock, PlainUNet


@dataclass(frozen=True)
class Convolution:
    """Weights of a convolution, channels last, and its bias, in the precision of the evaluation."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype) -> Convolution:
        """A layer's convolution."""
        return cls._in(layer.weight, cast(Tensor, layer.bias), dtype)

    @classmethod
    def modulated(cls, layer: nn.Conv2d, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Convolution:
        """A layer's convolution followed by (1 + scale) * h + shift, (channels,) each."""
        bias = cast(Tensor, layer.bias) * (1 + scale) + shift
        return cls._in(layer.weight * (1 + scale)[:, None, None, None], bias, dtype)

    @classmethod
    def _in(cls, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Convolution:
        return cls(weight.to(dtype).contiguous(memory_format=torch.channels_last), bias.to(dtype))

    def same_size(self, x: Tensor) -> Tensor:
        """The 3 x 3 convolution, with zeros around the picture."""
        return functional.conv2d(x, self.weight, self.bias, padding=1)

    def halved(self, x: Tensor) -> Tensor:
        """The 2 x 2 convolution of stride 2."""
        return functional.conv2d(x, self.weight, self.bias, stride=2)

    def doubled(self, x: Tensor) -> Tensor:
        """The transposed 2 x 2 convolution of stride 2."""
        return functional.conv_transpose2d(x, self.weight, self.bias, stride=2)


class PlainUNetAtLevel:
    """A network with the modulation of one noise level.

    Args:
        network: the trained network.
        condition: log SNR in nats, (1,).
        dtype: of weights and intermediate tensors, except in the first and the last layer.
    """

    def __init__(self, network: PlainUNet, condition: Tensor, dtype: torch.dtype) -> None:
        embedding = network.embedding(condition)

        def folded(blocks: nn.Module) -> list[tuple[Convolution, Convolution]]:
            found = []
            for module in cast(nn.ModuleList, blocks):
                block = cast("PlainBlock", module)
                scale, shift = block.modulation(embedding)[0].chunk(2)
                modulated = Convolution.modulated(block.conv_in, scale, shift, dtype)
                found.append((modulated, Convolution.of(block.conv_out, dtype)))
            return found

        self._dtype = dtype
        self._stem = Convolution.of(network.stem, torch.float32)
        self._down = [folded(blocks) for blocks in network.down]
        self._up = [folded(blocks) for blocks in network.up]
        self._shrink = [Convolution.of(cast(nn.Conv2d, layer), dtype) for layer in network.shrink]
        self._enlarge = [Convolution.of(cast(nn.ConvTranspose2d, layer), dtype) for layer in network.enlarge]
        self._out = Convolution.of(network.out, torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """Raw output of the network: (B, image_channels, H, W) -> (B, out_channels, H, W)."""
        with torch.autocast("cpu", enabled=False):
            return self._raw(x.float().contiguous(memory_format=torch.channels_last))

    def _raw(self, x: Tensor) -> Tensor:
        h = in_strips(self._first, (x,), margin=1, growth=16)
        skips = []
        for shrink, blocks in zip(self._shrink, self._down, strict=False):
            skips.append(_through(blocks, h))
            h = shrink.halved(skips[-1])
        h = _through(self._down[-1], h)
        for enlarge, blocks in zip(reversed(self._enlarge), reversed(self._up), strict=True):
            h = _through(blocks, enlarge.doubled(h).add_(skips.pop()))
        return in_strips(self._last, (h,), margin=1)

    def _first(self, x: Tensor) -> Tensor:
        return self._stem.same_size(x).to(self._dtype)

    def _last(self, h: Tensor) -> Tensor:
        return self._out.same_size(h.float())


def _through(blocks: list[tuple[Convolution, Convolution]], h: Tensor) -> Tensor:
    """`h` after some blocks, in place."""
    for conv_in, conv_out in blocks:
        h.add_(conv_out.same_size(functional.silu(conv_in.same_size(h), inplace=True)))
    return h
