"""A U-Net of plain convolutions: no normalisation, additive skip connections, one cheap modulation per block.

As in networks for image restoration (DRUNet, Zhang et al. 2021). All pictures of an evaluation by the codec are at one
noise level, so the modulation can be part of the convolution before it: only convolutions, activations and sums remain,
each a single pass over memory on a CPU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.config import PlainUNetConfig
from diffcodec.diffusion.embedding import NoiseEmbedding
from diffcodec.diffusion.plain_inference import PlainUNetAtLevel


class PlainBlock(nn.Module):
    """x + conv(SiLU(scale * conv(x) + shift)), with scale and shift computed from the noise level.

    Args:
        channels: of input and output.
        embedding_channels: of the noise-level embedding.
    """

    def __init__(self, channels: int, embedding_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding_channels, 2 * channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)  # so that the block starts as the identity
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) and (B or 1, embedding_channels) -> (B, C, H, W)."""
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = functional.silu(self.conv_in(x) * (1 + scale) + shift)
        result: Tensor = x + self.conv_out(h)
        return result


class PlainUNet(nn.Module):
    """Network from (x_t, log SNR) to its raw output, as defined by `ModelConfig.prediction`.

    Args:
        config: its shape.
        out_channels: of the raw output; None: as many as the image has.
    """

    def __init__(self, config: PlainUNetConfig, out_channels: int | None = None) -> None:
        super().__init__()
        self.config = config
        widths, embedding = config.widths, config.embedding_channels

        def scale(width: int, blocks: int) -> nn.ModuleList:
            return nn.ModuleList(PlainBlock(width, embedding) for _ in range(blocks))

        self.embedding = NoiseEmbedding.of_log_snr(embedding)
        self.stem = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(scale(*pair) for pair in zip(widths, config.blocks, strict=True))
        self.up = nn.ModuleList(scale(*pair) for pair in zip(widths[:-1], config.blocks[:-1], strict=True))
        steps = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in steps)
        channels = config.image_channels if out_channels is None else out_channels
        self.out = nn.Conv2d(widths[0], channels, 3, padding=1)
        self._prepared: tuple[object, PlainUNetAtLevel] | None = None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Raw output of the network.

        Args:
            x: (B, image_channels, H, W), height and width multiples of `config.stride`.
            condition: (B,), or (1,) for all images, log SNR in nats.

        Returns:
            (B, out_channels, H, W).
        """
        if not torch.is_grad_enabled() and len(condition) == 1 and x.device.type == "cpu":
            return self._at_level(condition)(x)
        embedding = self.embedding(condition)
        h: Tensor = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for scale, blocks in enumerate(self.down):
            for block in cast(nn.ModuleList, blocks):
                h = block(h, embedding)
            if scale < len(self.shrink):
                skips.append(h)
                h = self.shrink[scale](h)
        for scale in reversed(range(len(self.shrink))):
            h = self.enlarge[scale](h) + skips.pop()
            for block in cast(nn.ModuleList, self.up[scale]):
                h = block(h, embedding)
        result: Tensor = self.out(h)
        return result

    def _at_level(self, condition: Tensor) -> PlainUNetAtLevel:
        """The network prepared for one level, in autocast's precision; kept until the level or the weights change."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        # In-place changes of weights, as by `load_state_dict`, count their versions up.
        key = (float(condition), dtype, tuple((id(weights), weights._version) for weights in self.parameters()))
        prepared = self._prepared  # another thread may replace it
        if prepared is None or prepared[0] != key:
            with torch.autocast("cpu", enabled=False):
                self._prepared = prepared = key, PlainUNetAtLevel(self, condition, dtype)
        return prepared[1]
