"""The U-Net that estimates an image from its noisy version.

One class covers the paper's network (Ho et al. 2020, appendix B) and the small local one that ships: scales
of residual blocks with skip connections, around an optional pixel-unshuffled trunk with a shallow
full-resolution branch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.config import UNetConfig


class ChannelNorm(nn.Module):
    """Normalises every pixel over its channels; unlike group normalisation it looks at no other pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # channels_last makes the permuted tensor contiguous: no copy either way.
        return functional.layer_norm(x.permute(0, 2, 3, 1), (self.channels,)).permute(0, 3, 1, 2)


def make_norm(config: UNetConfig, channels: int) -> nn.Module:
    """The normalisation layer that the configuration names."""
    return ChannelNorm(channels) if config.norm == "channel" else nn.GroupNorm(32, channels, eps=1e-6)


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that starts at zero, so that its block starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class NoiseEmbedding(nn.Module):
    """Sinusoids of the noise level through a two-layer perceptron."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if config.conditioning == "timestep":
            features = config.channels  # Ho et al.: as in the Transformer, periods up to 10,000
            frequencies = torch.exp(-math.log(10_000) * torch.arange(features // 2) / (features // 2 - 1))
        else:
            features = 64  # the log SNR spans about 20 nats: periods from 50 down to 0.8
            frequencies = torch.logspace(-3, 3, features // 2, base=2)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * (features // 2), config.embedding_channels),
            nn.SiLU(),
            nn.Linear(config.embedding_channels, config.embedding_channels),
            nn.SiLU(),
        )

    def forward(self, condition: Tensor) -> Tensor:
        """Noise levels (B,) -> embeddings (B, embedding_channels)."""
        angles = condition.float()[:, None] * self.get_buffer("frequencies")
        embedding: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedding


class ResidualBlock(nn.Module):
    """norm, SiLU, convolution, noise level, norm, SiLU, convolution; plus the input."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.scale_shift = config.modulation == "scale_shift"
        self.norm_in = make_norm(config, in_channels)
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(config.embedding_channels, out_channels * (2 if self.scale_shift else 1))
        self.norm_out = make_norm(config, out_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, in_channels, H, W) and (B, embedding_channels) -> (B, out_channels, H, W)."""
        modulation = self.embedding(embedding)[:, :, None, None]
        h = self.conv_in(functional.silu(self.norm_in(x)))
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.norm_out(h) * (1 + scale) + shift
        else:
            h = self.norm_out(h + modulation)
        h = self.conv_out(self.dropout(functional.silu(h)))
        result: Tensor = self.skip(x) + h
        return result


class Attention(nn.Module):
    """Single-head self-attention over all pixels, added to the input."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.norm = make_norm(config, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); the embedding is not used."""
        query, key, value = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        h = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = x + self.out(h.transpose(1, 2).reshape(x.shape))
        return result


class Downsample(nn.Module):
    """Halves the resolution by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        result: Tensor = self.conv(x)
        return result


class Upsample(nn.Module):
    """Doubles the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        result: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class Stage(nn.Module):
    """A residual block, with attention after it where the scale has any."""

    def __init__(self, config: UNetConfig, scale: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = ResidualBlock(config, in_channels, out_channels)
        self.attention = Attention(config, out_channels) if scale in config.attention_scales else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        h: Tensor = self.block(x, embedding)
        return h if self.attention is None else self.attention(h, embedding)


class Trunk(nn.Module):
    """The U: scales downwards, a middle, scales upwards with skip connections."""

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
                down.append(Downsample(channels))
                skips.append(channels)
        self.down = nn.ModuleList(down)
        self.middle_in = ResidualBlock(config, channels, channels)
        self.middle_attention = Attention(config, channels) if config.attention_scales else None
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
            h = layer(torch.cat([h, skips.pop()], dim=1) if isinstance(layer, Stage) else h, embedding)
        return h


class UNet(nn.Module):
    """Network from (x_t, noise level) to its raw output, whose meaning `ModelConfig.prediction` names."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        image, full, area = config.image_channels, config.full_resolution_channels, config.patch**2
        self.embedding = NoiseEmbedding(config)
        self.trunk = Trunk(config)
        if full:
            self.full_stem = nn.Conv2d(image, full, 3, padding=1)
            self.full_in = ResidualBlock(config, full, full)
            self.full_out = ResidualBlock(config, 2 * full, full)
            self.trunk_out = nn.Conv2d(config.channels, full * area, 1)
            self.stem = nn.Conv2d((image + full) * area, config.channels, 1)
            last = full
        else:
            self.stem = nn.Conv2d(image * area, config.channels, 3, padding=1)
            last = config.channels
        self.norm = make_norm(config, last)
        self.out = zero_init(nn.Conv2d(last, image * (1 if full else area), 3, padding=1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Raw output of the network.

        Args:
            x: (B, image_channels, H, W), height and width multiples of `config.stride`.
            condition: (B,), log SNR in nats or timestep.

        Returns:
            (B, image_channels, H, W).
        """
        patch = self.config.patch
        embedding = self.embedding(condition)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.config.full_resolution_channels:
            fine = self.full_in(self.full_stem(x), embedding)
            h = self.stem(functional.pixel_unshuffle(torch.cat([x.to(fine.dtype), fine], dim=1), patch))
            h = functional.pixel_shuffle(self.trunk_out(self.trunk(h, embedding)), patch)
            h = self.full_out(torch.cat([h, fine], dim=1), embedding)
            result: Tensor = self.out(functional.silu(self.norm(h)))
            return result
        h = self.trunk(self.stem(functional.pixel_unshuffle(x, patch)), embedding)
        return functional.pixel_shuffle(self.out(functional.silu(self.norm(h))), patch)
