"""Configurations of networks, schedules and models."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from diffcodec.json_config import JsonConfig, require

PredictionKind = Literal["eps", "mean", "x0", "v"]
VarianceKind = Literal["fixedsmall", "fixedlarge", "learned"]
ScheduleKind = Literal["linear", "scaled_linear", "cosine", "betas"]

Precision = Literal["auto", "fp32", "bf16"]
"""Precision of network evaluations; `auto`: bf16 where the hardware has it and the rounding error does not matter."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

GREY_LEVELS_PER_UNIT = 127.5
"""Networks see pixels v as v / GREY_LEVELS_PER_UNIT - 1, in [-1, 1]."""

DEFAULT_MAX_PIXELS = 89_478_485
"""Default limit of a picture's pixels: the number above which Pillow warns."""

MIN_EFFORT, DEFAULT_EFFORT, MAX_EFFORT = 8, 12, 16
"""Search effort of channels: log2 of the number of trellis states."""

LEAST_BETA = 1e-30
"""Smallest beta: far below that of any schedule, but large enough for a finite SNR of the first timestep."""

SMALL_PICTURE_MARGIN = 2.0
"""How far below `ModelConfig.half_resolution_below` the network's training range extends, in nats."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(JsonConfig):
    """The noise added by each step of the forward process (`diffcodec.diffusion.betas`).

    Args:
        steps: T, the number of betas.
        beta_start, beta_end: the first and the last, for `linear` and `scaled_linear`.
        kind: `linear` as in Ho et al. (2020); `scaled_linear` betas have linear square roots (Rombach et al. 2022);
            `cosine` as in Nichol & Dhariwal (2021), eq. 17; `betas` are listed explicitly.
        betas: T values for the kind `betas`, else empty.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    kind: ScheduleKind = "linear"
    betas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(1 <= self.steps <= 4095, f"steps: expected 1 to 4095, found {self.steps}")
        require(
            0 < self.beta_start <= self.beta_end < 1,
            f"betas: expected 0 < beta_start <= beta_end < 1, found {self.beta_start} and {self.beta_end}",
        )
        given = self.steps if self.kind == "betas" else 0
        require(len(self.betas) == given, f"betas: expected {given} for {self.kind!r}, found {len(self.betas)}")
        for beta in (self.beta_start, *self.betas):
            require(LEAST_BETA <= beta < 1, f"betas: expected numbers between {LEAST_BETA:g} and 1, found {beta}")


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


@dataclasses.dataclass(frozen=True)
class PlainUNetConfig(JsonConfig):
    """Shape of a network of plain convolutions (`diffcodec.diffusion.plain_unet.PlainUNet`).

    Args:
        kind: distinguishes it from other networks in JSON.
        image_channels: 3 for RGB.
        widths: channels of every scale; each scale halves the resolution.
        blocks: residual blocks of every scale, on the way down and again on the way up; the last scale has them once.
        embedding_channels: width of the noise-level embedding.
    """

    kind: Literal["plain"] = "plain"
    image_channels: int = 3
    widths: tuple[int, ...] = (48, 80, 128)
    blocks: tuple[int, ...] = (1, 1, 3)
    embedding_channels: int = 128

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


NetworkConfig = UNetConfig | PlainUNetConfig
"""Any network."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(JsonConfig):
    """A diffusion model: network, schedule, and parametrisation of the network's raw output.

    Args:
        prediction: the raw output is the noise `eps`, the image `x0`, `v = alpha eps - sigma x_0` (Salimans & Ho
            2022), or the `mean` of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 8).
        variance: of p(x_s | x_t) in sampling and in the bound: `fixedsmall` is that of q, beta_tilde; `fixedlarge` is
            beta; `learned` is interpolated between the two in log space by a second half of the network's channels
            (Nichol & Dhariwal 2021, eq. 15). The codec measures its own variances.
        data_std: `v` refers to a process whose data have unit variance: pixels in [-1, 1] divided by
            this. With it the raw output has unit variance at every noise level (as in EDM,
            Karras et al. 2022); 1 is the plain v.
        log_snr_min, log_snr_max: range of the network's noise levels, in nats; levels outside are clipped to it
            (beyond these ends the estimate hardly changes).
        half_resolution_below: log SNR below which pictures are estimated at half their resolution, where the log SNR is
            larger by ln 4; repeated as long as it is below this (`diffusion.pyramid`); None: never.
    """

    network: UNetConfig | PlainUNetConfig
    schedule: ScheduleConfig = ScheduleConfig()
    prediction: PredictionKind = "eps"
    variance: VarianceKind = "fixedsmall"
    data_std: float = 1.0
    log_snr_min: float = -8.5
    log_snr_max: float = 9.6
    half_resolution_below: float | None = None

    def __post_init__(self) -> None:
        require(1e-6 <= self.data_std <= 1e6, f"data_std: expected a positive number, found {self.data_std}")
        require(
            -64 <= self.log_snr_min < self.log_snr_max <= 64,
            f"log_snr: expected min < max within 64 of zero, found {self.log_snr_min} and {self.log_snr_max}",
        )
        if self.half_resolution_below is not None:
            require(
                self.log_snr_min <= self.half_resolution_below < self.log_snr_max,
                f"half_resolution_below: expected a log SNR in the model's range, found {self.half_resolution_below}",
            )
            require(
                self.network.conditioning == "log_snr" and self.variance != "learned",
                "half_resolution_below: needs a network with log SNR as input, and variances that are not learned",
            )
            require(
                self.network.stride % 2 == 0,
                f"half_resolution_below: needs a network with an even stride, found {self.network.stride}",
            )

    @property
    def network_log_snr_min(self) -> float:
        """The noisiest level that the network itself is trained on, in nats.

        Pictures that are too small to be halved again are evaluated slightly below `half_resolution_below`.
        """
        if self.half_resolution_below is None:
            return self.log_snr_min
        return max(self.log_snr_min, self.half_resolution_below - SMALL_PICTURE_MARGIN)
