"""The U-Net that estimates an image from its noisy version.

One class covers the paper's network (Ho et al. 2020, appendix B) and the small local one of the bundled models: scales
of residual blocks with skip connections, optionally as a pixel-unshuffled trunk with a shallow full-resolution
branch.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.config import UNetConfig
from diffcodec.diffusion.embedding import NoiseEmbedding
from diffcodec.diffusion.layers import Convolution, make_norm, silu, zero_init
from diffcodec.diffusion.strips import in_strips


def noise_embedding(config: UNetConfig) -> NoiseEmbedding:
    """The noise-level embedding of the configuration."""
    if config.conditioning == "log_snr":
        return NoiseEmbedding.of_log_snr(config.embedding_channels)
    return NoiseEmbedding.of_timestep(
        config.channels, config.embedding_channels, shift=config.frequency_shift, cosines_first=config.cosines_first
    )


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, noise level, norm, SiLU, convolution; plus the input."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.scale_shift = config.modulation == "scale_shift"
        self.is_local = config.norm == "channel"
        self.norm_in = make_norm(config, in_channels)
        self.conv_in = Convolution(in_channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(config.embedding_channels, out_channels * (2 if self.scale_shift else 1))
        self.norm_out = make_norm(config, out_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.conv_out = zero_init(Convolution(out_channels, out_channels, 3, padding=1))
        self.skip = Convolution(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) and (B or 1, embedding_channels) -> (B, out_channels, H, W).

        The input may be in two parts, to be concatenated along the channels.
        """
        inputs = (x,) if skip is None else (x, skip)
        layers = partial(self.evaluate, embedding)
        return in_strips(layers, inputs, margin=2) if self.is_local else layers(*inputs)

    def evaluate(self, embedding: Tensor, *inputs: Tensor) -> Tensor:
        """`forward` of whole inputs, without strips."""
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)
        h = self.conv_in(silu(self.norm_in(x)))
        modulation = self.embedding(embedding)
        if not self.scale_shift:
            h = self.norm_out(h + modulation[:, :, None, None])
        else:
            scale, shift = modulation.chunk(2, dim=1)
            if self.is_local and len(embedding) == 1:
                h = self.norm_out(h, 1 + scale[0], shift[0])
            else:
                h = self.norm_out(h) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        h = self.conv_out(self.dropout(silu(h)))
        result: Tensor = self.skip(x) + h
        return result


class Attention(nn.Module):
    """Self-attention over all pixels, added to the input."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.heads = channels // (config.attention_head_channels or channels)
        self.norm = make_norm(config, channels)
        self.qkv = Convolution(channels, 3 * channels, 1)
        self.out = zero_init(Convolution(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); the embedding is not used."""
        batch, channels, height, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = parts.transpose(3, 4).unbind(dim=1)  # (B, heads, H W, C / heads) each
        h = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = x + self.out(h.transpose(2, 3).reshape(x.shape))
        return result


class Downsample(nn.Module):
    """Halves the resolution by a strided convolution."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.is_symmetric = config.downsampling == "symmetric"
        self.conv = Convolution(channels, channels, 3, stride=2, padding=1 if self.is_symmetric else 0)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        result: Tensor = self.conv(x if self.is_symmetric else functional.pad(x, (0, 1, 0, 1)))
        return result


class Upsample(nn.Module):
    """Doubles the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        result: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class Stage(nn.Module):
    """A residual block, followed by attention if the scale has it."""

    def __init__(self, config: UNetConfig, scale: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = ResidualBlock(config, in_channels, out_channels)
        self.attention = Attention(config, out_channels) if scale in config.attention_scales else None

    def forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W), possibly in two parts -> (B, out_channels, H, W)."""
        h: Tensor = self.block(x, embedding, skip)
        return h if self.attention is None else self.attention(h, embedding)


class Trunk(nn.Module):
    """The U: scales on the way down, a middle, scales on the way up with skip connections."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        channels, skips = config.channels, [config.channels]
        down: list[nn.Module] = []
        for scale, width in enumerate(widths):
            for _ in range(config.blocks):
                down.append(Stage(config, scale, channels, width))
                channels = width
                skips.append(channels)
            if scale < len(widths) - 1:
                down.append(Downsample(config, channels))
                skips.append(channels)
        self.down = nn.ModuleList(down)
        self.middle_in = ResidualBlock(config, channels, channels)
        self.middle_attention = Attention(config, channels) if config.has_middle_attention else None
        self.middle_out = ResidualBlock(config, channels, channels)
        up: list[nn.Module] = []
        for scale, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                up.append(Stage(config, scale, channels + skips.pop(), width))
                channels = width
            if scale > 0:
                up.append(Upsample(channels))
        self.up = nn.ModuleList(up)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        skips = [x]
        h: Tensor
        for layer in self.down:
            skips.append(layer(skips[-1], embedding))
        h = self.middle_in(skips[-1], embedding)
        if self.middle_attention is not None:
            h = self.middle_attention(h, embedding)
        h = self.middle_out(h, embedding)
        for layer in self.up:
            h = layer(h, embedding, skips.pop()) if isinstance(layer, Stage) else layer(h, embedding)
        return h


class UNet(nn.Module):
    """Network from (x_t, noise level) to its raw output, as defined by `ModelConfig.prediction`.

    Args:
        config: its shape.
        out_channels: of the raw output; None: as many as the image has.
    """

    def __init__(self, config: UNetConfig, out_channels: int | None = None) -> None:
        super().__init__()
        self.config = config
        out_channels = config.image_channels if out_channels is None else out_channels
        image, full, area = config.image_channels, config.full_resolution_channels, config.patch**2
        self.embedding = noise_embedding(config)
        self.trunk = Trunk(config)
        if full:
            self.full_stem = Convolution(image, full, 3, padding=1)
            self.full_in = ResidualBlock(config, full, full)
            self.full_out = ResidualBlock(config, 2 * full, full)
            self.trunk_out = Convolution(config.channels, full * area, 1)
            self.stem = Convolution((image + full) * area, config.channels, 1)
            last = full
        else:
            self.stem = Convolution(image * area, config.channels, 3, padding=1)
            last = config.channels
        self.norm = make_norm(config, last)
        self.out = zero_init(Convolution(last, out_channels * (1 if full else area), 3, padding=1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Raw output of the network.

        Args:
            x: (B, image_channels, H, W), height and width multiples of `config.stride`.
            condition: (B,), or (1,) for all images, log SNR in nats or timestep.

        Returns:
            (B, out_channels, H, W).
        """
        patch = self.config.patch
        embedding = self.embedding(condition)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.config.full_resolution_channels:
            first, last = partial(self._fine, embedding), partial(self._full_resolution, embedding)
            if self.config.norm != "channel":
                fine = first(x)
                return last(self.trunk(self._coarse(x, fine), embedding), fine)
            fine = in_strips(first, (x,), margin=3, growth=self.full_stem.out_channels // self.full_stem.in_channels)
            h = in_strips(self._coarse, (x, fine), margin=0, unit=patch)
            return in_strips(last, (self.trunk(h, embedding), fine), margin=2)
        h = self.trunk(self.stem(functional.pixel_unshuffle(x, patch)), embedding)
        return functional.pixel_shuffle(self.out(silu(self.norm(h))), patch)

    def _fine(self, embedding: Tensor, x: Tensor) -> Tensor:
        """From the image to the full-resolution branch."""
        return self.full_in.evaluate(embedding, self.full_stem(x))

    def _coarse(self, x: Tensor, fine: Tensor) -> Tensor:
        """From the image and the full-resolution branch to the trunk's input."""
        h: Tensor = self.stem(functional.pixel_unshuffle(torch.cat([x.to(fine.dtype), fine], dim=1), self.config.patch))
        return h

    def _full_resolution(self, embedding: Tensor, h: Tensor, fine: Tensor) -> Tensor:
        """From the trunk's output and the full-resolution branch to the end."""
        h = functional.pixel_shuffle(self.trunk_out(h), self.config.patch)
        h = self.full_out.evaluate(embedding, h, fine)
        result: Tensor = self.out(silu(self.norm(h)))
        return result
