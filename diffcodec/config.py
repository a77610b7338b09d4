"""Frozen configuration dataclasses and their strict JSON form."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from diffcodec.errors import ConfigError

PredictionKind = Literal["eps", "mean", "x0", "v"]
VarianceKind = Literal["fixedsmall", "fixedlarge", "learned"]
ScheduleKind = Literal["linear", "scaled_linear", "cosine", "betas"]
LossKind = Literal["simple", "vlb"]
TimeKind = Literal["continuous", "discrete"]
OptimizerKind = Literal["adamw", "muon"]

LEAST_BETA = 1e-30
"""Far below any schedule's, and far enough above 0 for the first timestep to have a finite SNR."""

SMALL_PICTURE_MARGIN = 2.0
"""How far below `ModelConfig.half_resolution_below` a network is trained, in nats."""


class JsonConfig:
    """Mixin for frozen dataclasses: `to_dict` and a `from_dict` that rejects what it does not know."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, ready for `json.dumps`."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def essence(self) -> dict[str, Any]:
        """The same without what is as by default: it stays as it is when later releases add fields."""
        kept = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) != field.default:
                kept[field.name] = _essence(value)
        return kept

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Build the configuration from what `to_dict` returned.

        Raises:
            ConfigError: for a key that does not exist, a missing key without a default, or a wrong type.
        """
        if not isinstance(data, dict):
            raise ConfigError(f"{cls.__name__}: expected an object, found {type(data).__name__}")
        hints = get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(data) - set(fields)):
            raise ConfigError(f"{cls.__name__}: unknown key {unknown[0]!r}; it takes {', '.join(fields)}")
        missing = [
            name
            for name, field in fields.items()
            if name not in data
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise ConfigError(f"{cls.__name__}: missing key {missing[0]!r}")
        return cls(**{key: _convert(value, hints[key], f"{cls.__name__}.{key}") for key, value in data.items()})


def _essence(value: Any) -> Any:
    """A value of a configuration, the configurations in it without what is as by default."""
    if isinstance(value, tuple):
        return tuple(map(_essence, value))
    return value.essence() if isinstance(value, JsonConfig) else value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` from JSON as the annotated type; JSON's arrays become tuples."""
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: expected one of {', '.join(map(repr, get_args(hint)))}, found {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        return tuple(_convert(item, get_args(hint)[0], where) for item in value)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(arg for arg in get_args(hint) if arg is not types.NoneType), where)
    if isinstance(hint, type) and issubclass(hint, JsonConfig):
        return hint.from_dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: a number too large") from error
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(JsonConfig):
    """The noise added by each step of the forward process (`diffcodec.diffusion.betas`).

    Args:
        steps: T, the number of betas.
        beta_start, beta_end: the first and the last, for `linear` and `scaled_linear`.
        kind: `linear` betas are those of Ho et al. (2020); `scaled_linear` ones have square roots that rise linearly
            (Rombach et al. 2022); `cosine` is Nichol & Dhariwal (2021), eq. 17; `betas` are given one by one.
        betas: T of them, if given one by one.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    kind: ScheduleKind = "linear"
    betas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _require(1 <= self.steps <= 4095, f"steps: expected 1 to 4095, found {self.steps}")
        _require(
            0 < self.beta_start <= self.beta_end < 1,
            f"betas: expected 0 < beta_start <= beta_end < 1, found {self.beta_start} and {self.beta_end}",
        )
        given = self.steps if self.kind == "betas" else 0
        _require(len(self.betas) == given, f"betas: expected {given} for {self.kind!r}, found {len(self.betas)}")
        for beta in (self.beta_start, *self.betas):
            _require(LEAST_BETA <= beta < 1, f"betas: expected numbers between {LEAST_BETA:g} and 1, found {beta}")


@dataclasses.dataclass(frozen=True)
class UNetConfig(JsonConfig):
    """Shape of the network (`diffcodec.diffusion.unet.UNet`).

    Args:
        image_channels: 3 for RGB.
        channels: width of the first scale of the trunk.
        multipliers: width of every scale in units of `channels`; each scale halves the resolution.
        blocks: residual blocks a scale on the way down; one more on the way up.
        attention_scales: indices of the scales with self-attention. It sees the whole picture, so a
            network with attention cannot be evaluated in windows.
        norm: `channel` normalises every pixel over its channels, which keeps the network local;
            `group` is the paper's group normalisation over space.
        modulation: how the noise level enters a block: `add` (the paper) or `scale_shift`.
        conditioning: the network is told the log SNR or, as in the paper, the integer timestep.
        embedding_channels: width of the noise-level embedding.
        patch: the trunk works on patch x patch pixels at once (pixel unshuffle); 1 switches it off.
        full_resolution_channels: width of the shallow full-resolution branch around a patched trunk.
        dropout: probability, while training.
        norm_groups, norm_eps: of group normalisation.
        attention_head_channels: width of an attention head; 0 is one head as wide as the scale.
        middle_attention: self-attention in the middle too; None is wherever a scale has it.
        downsampling: where the zeros are that a strided convolution needs: `symmetric` is around the picture,
            `asymmetric` right and below only (the paper's, as TensorFlow pads).
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
        # The upper bounds are far above any sensible network: they are there for files that lie.
        _require(1 <= self.image_channels <= 64, f"image_channels: expected 1 to 64, found {self.image_channels}")
        _require(1 <= self.channels <= 1 << 14, f"channels: expected 1 to 16384, found {self.channels}")
        _require(
            1 <= len(self.multipliers) <= 8 and min(self.multipliers) >= 1 and max(self.multipliers) <= 64,
            f"multipliers: expected 1 to 8 integers from 1 to 64, found {self.multipliers}",
        )
        _require(1 <= self.blocks <= 64, f"blocks: expected 1 to 64, found {self.blocks}")
        _require(
            1 <= self.embedding_channels <= 1 << 14,
            f"embedding_channels: expected 1 to 16384, found {self.embedding_channels}",
        )
        _require(
            0 <= self.full_resolution_channels <= 1 << 14,
            f"full_resolution_channels: expected 0 to 16384, found {self.full_resolution_channels}",
        )
        _require(
            all(0 <= scale < len(self.multipliers) for scale in self.attention_scales),
            f"attention_scales: expected indices below {len(self.multipliers)}, found {self.attention_scales}",
        )
        _require(1 <= self.norm_groups <= 1 << 14, f"norm_groups: expected 1 to 16384, found {self.norm_groups}")
        _require(0 < self.norm_eps < 1, f"norm_eps: expected a small positive number, found {self.norm_eps}")
        _require(
            self.norm == "channel" or self.channels % self.norm_groups == 0,
            f"channels: group normalisation has {self.norm_groups} groups, found {self.channels} channels",
        )
        head = self.attention_head_channels
        _require(
            head >= 0 and all(width % head == 0 for width in self.attention_widths if head),
            f"attention_head_channels: expected a divisor of {self.attention_widths}, found {head}",
        )
        _require(self.frequency_shift in (0, 1), f"frequency_shift: expected 0 or 1, found {self.frequency_shift}")
        _require(
            self.conditioning == "log_snr" or self.channels >= 4,
            f"channels: the sinusoids of a timestep need at least 4, found {self.channels}",
        )
        _require(self.patch in (1, 2, 4), f"patch: expected 1, 2 or 4, found {self.patch}")
        _require(
            self.full_resolution_channels == 0 or self.patch > 1,
            "full_resolution_channels: only a patched trunk (patch > 1) has a full-resolution branch",
        )
        _require(0 <= self.dropout < 1, f"dropout: expected 0 <= dropout < 1, found {self.dropout}")

    @property
    def stride(self) -> int:
        """Height and width of the network's input are multiples of this many pixels."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))

    @property
    def has_middle_attention(self) -> bool:
        """Whether there is self-attention between the way down and the way up."""
        return bool(self.attention_scales) if self.middle_attention is None else self.middle_attention

    @property
    def attention_widths(self) -> list[int]:
        """Channels wherever there is self-attention."""
        scales = {*self.attention_scales, *([len(self.multipliers) - 1] if self.has_middle_attention else [])}
        return [self.channels * self.multipliers[scale] for scale in sorted(scales)]

    @property
    def is_local(self) -> bool:
        """Whether an output pixel depends only on a bounded neighbourhood of the input."""
        return self.norm == "channel" and not self.attention_widths


@dataclasses.dataclass(frozen=True)
class ModelConfig(JsonConfig):
    """A diffusion model: network, schedule, and what the network's raw output means.

    Args:
        prediction: the raw output is the noise `eps`, the image `x0`, `v = alpha eps - sigma x_0` (Salimans & Ho
            2022), or the `mean` of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 8).
        variance: of p(x_s | x_t) in sampling and in the bound: `fixedsmall` is that of q, beta_tilde; `fixedlarge` is
            beta; `learned` lies between the two in log space, where a second half of the network's channels puts it
            (Nichol & Dhariwal 2021, eq. 15). The codec measures variances of its own.
        data_std: `v` refers to a process whose data have unit variance: pixels in [-1, 1] divided by
            this. With it the raw output has unit variance at every noise level (as in EDM,
            Karras et al. 2022); 1 is the plain v.
        log_snr_min, log_snr_max: range of noise levels that the model is asked about, in nats; never about one
            outside (beyond these ends nothing changes that it could tell).
        half_resolution_below: log SNR below which pictures are estimated at half their resolution, where the log SNR is
            larger by ln 4, and again as long as it is below this (`diffusion.pyramid`); None: never.
    """

    network: UNetConfig
    schedule: ScheduleConfig = ScheduleConfig()
    prediction: PredictionKind = "eps"
    variance: VarianceKind = "fixedsmall"
    data_std: float = 1.0
    log_snr_min: float = -8.5
    log_snr_max: float = 9.6
    half_resolution_below: float | None = None

    def __post_init__(self) -> None:
        _require(1e-6 <= self.data_std <= 1e6, f"data_std: expected a positive number, found {self.data_std}")
        _require(
            -64 <= self.log_snr_min < self.log_snr_max <= 64,
            f"log_snr: expected min < max within 64 of zero, found {self.log_snr_min} and {self.log_snr_max}",
        )
        if self.half_resolution_below is not None:
            _require(
                self.log_snr_min <= self.half_resolution_below < self.log_snr_max,
                f"half_resolution_below: expected a log SNR of the model's range, found {self.half_resolution_below}",
            )
            _require(
                self.network.conditioning == "log_snr" and self.variance != "learned",
                "half_resolution_below: needs a network that is told the log SNR, and variances that are not learned",
            )
            _require(
                self.network.stride % 2 == 0,
                f"half_resolution_below: needs a network of an even stride, found {self.network.stride}",
            )

    @property
    def network_log_snr_min(self) -> float:
        """The noisiest level that the network itself is trained on, in nats.

        Pictures that are too small to be halved again come below `half_resolution_below`, by a little.
        """
        if self.half_resolution_below is None:
            return self.log_snr_min
        return max(self.log_snr_min, self.half_resolution_below - SMALL_PICTURE_MARGIN)


@dataclasses.dataclass(frozen=True)
class TrainingConfig(JsonConfig):
    """How a model is trained.

    Args:
        loss: `simple` is the unweighted squared error of what the network predicts (L_simple of Ho et al. 2020 if that
            is eps), and where variances are learned a little of the bound for them (Nichol & Dhariwal 2021, L_hybrid);
            `vlb` is the variational bound. docs/objectives.md has the equations.
        time: of `vlb`: `continuous` is the limit of ever finer steps, for variances that are `fixedsmall`; `discrete`
            the bound of the schedule's timesteps, with its decoder L_0. `simple` draws timesteps either way.
        optimizer: `adamw`, or `muon` for the convolutions with AdamW for the rest.
        learning_rate: peak learning rate (of AdamW; Muon's is `muon_learning_rate`).
        warmup_images: images over which the learning rate rises linearly.
        final_learning_rate: fraction of the peak at the end of the cosine decay; 1 means no decay.
        adam_beta2: AdamW's decay of the mean squared gradient, per step.
        gradient_clip: longest gradient that is followed; longer ones are shortened to it.
        ema_decay: of the weights' exponential moving average, per step.
        coarse_weight: factor of the vlb loss at log SNRs below `coarse_below`. Few bits lie there, and so
            little of the bound, but all that is seen of a picture at low rates.
    """

    loss: LossKind = "vlb"
    time: TimeKind = "continuous"
    optimizer: OptimizerKind = "adamw"
    batch_size: int = 64
    learning_rate: float = 8e-4
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.0
    warmup_images: int = 20_000
    final_learning_rate: float = 0.0
    adam_beta2: float = 0.99
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    coarse_weight: float = 1.0
    coarse_below: float = 3.0
    flips: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, f"batch_size: expected at least 1, found {self.batch_size}")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip", "coarse_weight"):
            value = getattr(self, name)
            _require(0 < value < math.inf, f"{name}: expected a positive number, found {value}")
        _require(0 <= self.weight_decay < math.inf, f"weight_decay: expected 0 or more, found {self.weight_decay}")
        _require(self.warmup_images >= 0, f"warmup_images: expected 0 or more, found {self.warmup_images}")
        _require(math.isfinite(self.coarse_below), f"coarse_below: expected a log SNR, found {self.coarse_below}")
        _require(0 <= self.seed < 1 << 32, f"seed: expected 0 to {(1 << 32) - 1}, found {self.seed}")
        _require(0 <= self.adam_beta2 < 1, f"adam_beta2: expected 0 <= adam_beta2 < 1, found {self.adam_beta2}")
        _require(0 <= self.ema_decay < 1, f"ema_decay: expected 0 <= ema_decay < 1, found {self.ema_decay}")
        _require(
            0 <= self.final_learning_rate <= 1,
            f"final_learning_rate: expected a fraction, found {self.final_learning_rate}",
        )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model, untrained, and how it is best trained.

    Args:
        model: the model.
        training: settings; single ones may be overridden.
        size: height and width of a training image, in pixels.
    """

    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    size: int = 32


def named_recipe(name: str) -> Recipe:
    """The recipe of a named model.

    Raises:
        ConfigError: if there is no such name.
    """
    # Ho et al. (2020), appendix B; warm-up, betas and clipping are those of their code.
    paper = UNetConfig(norm="group", modulation="add", conditioning="timestep", embedding_channels=512)
    paper_training = TrainingConfig(
        loss="simple", final_learning_rate=1.0, adam_beta2=0.999, gradient_clip=1.0, ema_decay=0.9999
    )
    recipes = {
        # The network that ships: half-resolution trunk, shallow full-resolution branch, no operation that
        # reaches further than its receptive field, so that pictures of any size can go through in windows.
        "cifar10-small": Recipe(
            ModelConfig(
                network=UNetConfig(channels=80, multipliers=(1, 2), patch=2, full_resolution_channels=48),
                prediction="v",
                data_std=0.5,
            ),
        ),
        # Photographs: a wider full-resolution branch around a smaller trunk, a third of the operations a pixel. Noisy
        # levels are left to lower resolutions.
        "photo-small": Recipe(
            ModelConfig(
                network=UNetConfig(channels=72, multipliers=(1, 2), patch=4, full_resolution_channels=48),
                prediction="v",
                data_std=0.5,
                log_snr_min=-11.0,
                half_resolution_below=-1.0,
            ),
            TrainingConfig(batch_size=16, optimizer="muon", warmup_images=4_000, coarse_weight=3.0, coarse_below=4.5),
            size=96,
        ),
        # 35.7 M parameters, attention at 16 x 16.
        "cifar10-ddpm": Recipe(
            ModelConfig(network=dataclasses.replace(paper, attention_scales=(1,), dropout=0.1), variance="fixedlarge"),
            dataclasses.replace(paper_training, batch_size=128, learning_rate=2e-4, warmup_images=5_000 * 128),
        ),
        # Bedrooms, churches, cats and faces of 256 x 256: 113.7 M parameters, attention at 16 x 16.
        "lsun256-ddpm": Recipe(
            ModelConfig(
                network=dataclasses.replace(paper, multipliers=(1, 1, 2, 2, 4, 4), attention_scales=(4,)),
            ),
            dataclasses.replace(paper_training, batch_size=64, learning_rate=2e-5, warmup_images=5_000 * 64),
            size=256,
        ),
    }
    if name not in recipes:
        raise ConfigError(f"no model configuration named {name!r}; there are {', '.join(recipes)}")
    return recipes[name]


def named_model(name: str) -> ModelConfig:
    """The configuration of a named model, untrained.

    Raises:
        ConfigError: if there is no such name.
    """
    return named_recipe(name).model
