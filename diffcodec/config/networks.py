"""Configurations of networks."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Literal

from diffcodec.json_config import JsonConfig, require


@dataclasses.dataclass(frozen=True)
class UNetConfig(JsonConfig):
    """Shape of the network (`diffcodec.diffusion.unet.UNet`).

    Args:
        image_channels: 3 for RGB.
        channels: width of the first scale of the trunk.
        multipliers: width of every scale in units of `channels`; each scale halves the resolution.
        blocks: residual blocks per scale on the way down; one more on the way up.
        attention_scales: indices of the scales with self-attention. Attention is global, so a network with it cannot
            be evaluated in windows.
        norm: `channel` normalises every pixel over its channels, which keeps the network local;
            `group` is the paper's group normalisation over space.
        modulation: how the noise level enters a block: `add` (the paper) or `scale_shift`.
        conditioning: the network's input is the log SNR or, as in the paper, the integer timestep.
        embedding_channels: width of the noise-level embedding.
        patch: the trunk works on patches of patch x patch pixels (pixel unshuffle); 1 disables this.
        full_resolution_channels: width of the shallow full-resolution branch around a patched trunk.
        dropout: probability in training.
        norm_groups, norm_eps: of group normalisation.
        attention_head_channels: width of an attention head; 0: one head as wide as the scale.
        middle_attention: whether there is self-attention in the middle, too; None: if any scale has it.
        downsampling: zero padding of strided convolutions: `symmetric`, or `asymmetric`, only on the right and below
            (as in the paper and in TensorFlow).
        frequency_shift: of the sinusoids of a timestep: their periods are 2 pi 10000^(k / (K - frequency_shift)).
        cosines_first: the cosines of a timestep come before its sines.
    """

    image_channels: int = 3
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention_scales: tuple[int, ...] = ()
    norm: Literal["channel", "group"] = "channel"
    modulation: Literal["add", "scale_shift"] = "scale_shift"
    conditioning: Literal["log_snr", "timestep"] = "log_snr"
    embedding_channels: int = 256
    patch: int = 1
    full_resolution_channels: int = 0
    dropout: float = 0.0
    norm_groups: int = 32
    norm_eps: float = 1e-6
    attention_head_channels: int = 0
    middle_attention: bool | None = None
    downsampling: Literal["symmetric", "asymmetric"] = "symmetric"
    frequency_shift: int = 1
    cosines_first: bool = False

    def __post_init__(self) -> None:
        # The upper bounds are far above any sensible network: they guard against malicious files.
        require(1 <= self.image_channels <= 64, f"image_channels: expected 1 to 64, found {self.image_channels}")
        require(1 <= self.channels <= 1 << 14, f"channels: expected 1 to 16384, found {self.channels}")
        require(
            1 <= len(self.multipliers) <= 8 and min(self.multipliers) >= 1 and max(self.multipliers) <= 64,
            f"multipliers: expected 1 to 8 integers from 1 to 64, found {self.multipliers}",
        )
        require(1 <= self.blocks <= 64, f"blocks: expected 1 to 64, found {self.blocks}")
        require(
            1 <= self.embedding_channels <= 1 << 14,
            f"embedding_channels: expected 1 to 16384, found {self.embedding_channels}",
        )
        require(
            0 <= self.full_resolution_channels <= 1 << 14,
            f"full_resolution_channels: expected 0 to 16384, found {self.full_resolution_channels}",
        )
        require(
            all(0 <= scale < len(self.multipliers) for scale in self.attention_scales),
            f"attention_scales: expected indices below {len(self.multipliers)}, found {self.attention_scales}",
        )
        require(1 <= self.norm_groups <= 1 << 14, f"norm_groups: expected 1 to 16384, found {self.norm_groups}")
        require(0 < self.norm_eps < 1, f"norm_eps: expected a small positive number, found {self.norm_eps}")
        require(
            self.norm == "channel" or self.channels % self.norm_groups == 0,
            f"channels: group normalisation has {self.norm_groups} groups, found {self.channels} channels",
        )
        head = self.attention_head_channels
        require(
            head >= 0 and all(width % head == 0 for width in self.attention_widths if head),
            f"attention_head_channels: expected a divisor of {self.attention_widths}, found {head}",
        )
        require(self.frequency_shift in (0, 1), f"frequency_shift: expected 0 or 1, found {self.frequency_shift}")
        require(
            self.conditioning == "log_snr" or self.channels >= 4,
            f"channels: the sinusoids of a timestep need at least 4, found {self.channels}",
        )
        require(self.patch in (1, 2, 4), f"patch: expected 1, 2 or 4, found {self.patch}")
        require(
            self.full_resolution_channels == 0 or self.patch > 1,
            "full_resolution_channels: only a patched trunk (patch > 1) has a full-resolution branch",
        )
        require(0 <= self.dropout < 1, f"dropout: expected 0 <= dropout < 1, found {self.dropout}")

    @property
    def stride(self) -> int:
        """Height and width of the network's input must be multiples of this, in pixels."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))

    @property
    def has_middle_attention(self) -> bool:
        """Whether there is self-attention between the way down and the way up."""
        return bool(self.attention_scales) if self.middle_attention is None else self.middle_attention

    @property
    def attention_widths(self) -> list[int]:
        """Widths of the scales with self-attention."""
        scales = {*self.attention_scales, *([len(self.multipliers) - 1] if self.has_middle_attention else [])}
        return [self.channels * self.multipliers[scale] for scale in sorted(scales)]

    @property
    def is_local(self) -> bool:
        """Whether an output pixel depends only on a bounded neighbourhood of the input."""
        return self.norm == "channel" and not self.attention_widths

    @property
    def receptive_radius(self) -> int:
        """Largest distance of an input pixel that affects an output pixel, in pixels, rounded up to the stride.

        Counts 3 x 3 convolutions: each adds one pixel of its scale.

        Raises:
            ValueError: for a network with attention or normalisation over space, whose receptive field is unbounded.
        """
        if not self.is_local:
            raise ValueError("a network with attention or group normalisation has an unbounded receptive field")
        scales = len(self.multipliers)
        full = 2 + 2 * 2 if self.full_resolution_channels else 0  # stem, out, and two blocks of two
        radius = full * 1
        for scale in range(scales):
            pixel = self.patch * 2**scale
            convolutions = 2 * (2 * self.blocks + 1)  # down and up
            convolutions += 4 if scale == scales - 1 else 0  # the middle
            convolutions += 1 if scale < scales - 1 else 0  # the strided one, which reads this scale
            convolutions += 1 if scale < scales - 1 else 0  # the one after upsampling, which writes it
            convolutions += 0 if full or scale else 2  # stem and out of a trunk without a full-resolution branch
            radius += convolutions * pixel + pixel  # plus up to one pixel of this scale for its grid
        return -(-radius // self.stride) * self.stride


@dataclasses.dataclass(frozen=True)
class PlainUNetConfig(JsonConfig):
    """Shape of a network of plain convolutions (`diffcodec.diffusion.plain_unet.PlainUNet`).

    Args:
        kind: distinguishes it from other networks in JSON.
        image_channels: 3 for RGB.
        widths: channels of every scale; each scale halves the resolution.
        blocks: residual blocks of every scale, on the way down and again on the way up; the last scale has them once.
        embedding_channels: width of the noise-level embedding.
        expert_edges: log SNRs, in nats and ascending, at which another network of this shape takes over
            (`diffcodec.diffusion.experts`); empty: one network for all levels.
    """

    kind: Literal["plain"] = "plain"
    image_channels: int = 3
    widths: tuple[int, ...] = (48, 80, 128)
    blocks: tuple[int, ...] = (1, 1, 3)
    embedding_channels: int = 128
    expert_edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(1 <= self.image_channels <= 64, f"image_channels: expected 1 to 64, found {self.image_channels}")
        require(
            1 <= len(self.widths) <= 8 and all(1 <= width <= 1 << 14 for width in self.widths),
            f"widths: expected 1 to 8 integers from 1 to 16384, found {self.widths}",
        )
        require(
            len(self.blocks) == len(self.widths) and all(0 <= blocks <= 64 for blocks in self.blocks),
            f"blocks: expected {len(self.widths)} integers from 0 to 64, found {self.blocks}",
        )
        require(
            1 <= self.embedding_channels <= 1 << 14,
            f"embedding_channels: expected 1 to 16384, found {self.embedding_channels}",
        )
        edges = (-math.inf, *self.expert_edges, math.inf)
        require(
            len(self.expert_edges) < 8 and all(low < high for low, high in pairwise(edges)),
            f"expert_edges: expected at most 7 increasing log SNRs, found {self.expert_edges}",
        )

    @property
    def stride(self) -> int:
        """Height and width of the network's input must be multiples of this, in pixels."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def conditioning(self) -> Literal["log_snr"]:
        """The network's input is the log SNR."""
        return "log_snr"

    @property
    def is_local(self) -> bool:
        """Always true: an output pixel depends only on a bounded neighbourhood of the input."""
        return True

    @property
    def receptive_radius(self) -> int:
        """Largest distance of an input pixel that affects an output pixel, in pixels, rounded up to the stride.

        Every 3 x 3 convolution adds one pixel of its scale; changes of scale stay inside their 2 x 2 pixels.
        """
        last = len(self.widths) - 1
        radius = 2  # the first and the last convolution
        for scale, blocks in enumerate(self.blocks):
            convolutions = 2 * blocks * (1 if scale == last else 2)
            radius += convolutions * 2**scale + (2**scale - 1)
        return -(-radius // self.stride) * self.stride


@dataclasses.dataclass(frozen=True)
class ExternalNetworkConfig(JsonConfig):
    """A network that is made elsewhere, of which only the form of inputs and outputs is known.

    Args:
        kind: distinguishes it from other networks in JSON.
        image_channels: 3 for RGB, 1 for grey.
        stride: height and width of its input must be multiples of this, in pixels.
        conditioning: its second input is the log SNR in nats, or the timestep, counted from 0.
        name: tells functions apart, whose weights cannot be seen.
    """

    kind: Literal["external"] = "external"
    image_channels: int = 3
    stride: int = 8
    conditioning: Literal["log_snr", "timestep"] = "timestep"
    name: str = ""

    def __post_init__(self) -> None:
        require(1 <= self.image_channels <= 64, f"image_channels: expected 1 to 64, found {self.image_channels}")
        require(1 <= self.stride <= 1 << 14, f"stride: expected 1 to 16384, found {self.stride}")
        known = ("log_snr", "timestep")
        require(
            self.conditioning in known, f"conditioning: expected one of {', '.join(known)}, found {self.conditioning!r}"
        )

    @property
    def is_local(self) -> bool:
        """Always false: nothing is known about what an output pixel depends on."""
        return False

    @property
    def receptive_radius(self) -> int:
        """Not known.

        Raises:
            ValueError: always.
        """
        raise ValueError("the receptive field of an external network is not known")


NetworkConfig = UNetConfig | PlainUNetConfig | ExternalNetworkConfig
"""Any network."""
