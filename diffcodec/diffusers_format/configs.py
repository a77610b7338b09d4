"""Converts configurations of `UNet2DModel` and of diffusers' schedulers to ours and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from diffcodec.config import ModelConfig, NetworkConfig, PredictionKind, ScheduleConfig, UNetConfig, VarianceKind
from diffcodec.diffusers_format.settings import Settings
from diffcodec.diffusers_format.vocabulary import (
    DOWN_BLOCKS,
    MODULATIONS,
    NETWORK_CLASS,
    NETWORK_DEFAULTS,
    PREDICTIONS,
    SCHEDULER_CLASSES,
    SCHEDULER_DEFAULTS,
    SCHEDULES,
    THEIR_KEYS,
    UP_BLOCKS,
    VARIANCES,
)
from diffcodec.diffusion.betas import full_range_model, without_pure_noise
from diffcodec.errors import CheckpointError, ConfigError


def read_model(network_path: Path, scheduler_path: Path) -> ModelConfig:
    """The model of the configuration files of a network and of a scheduler.

    Raises:
        CheckpointError: for anything unsupported; it names the file, the key and the value.
    """
    network = Settings.read(network_path, NETWORK_DEFAULTS)
    return model_of(network, Settings.read(scheduler_path, SCHEDULER_DEFAULTS))


def model_of(network: Settings, scheduler: Settings) -> ModelConfig:
    """The model of the settings of a network and of a scheduler.

    Raises:
        CheckpointError: for anything unsupported.
    """
    unet, process = network_of(network), process_of(scheduler)
    if network.get("out_channels", int) != unet.image_channels * (2 if process.variance == "learned" else 1):
        raise network.unsupported(
            "out_channels",
            f"in_channels ({unet.image_channels}), or twice that with learned_range as the scheduler's variance_type",
        )
    return with_process(unet, process, scheduler)


def network_of(settings: Settings) -> UNetConfig:
    """The network of its settings.

    Raises:
        CheckpointError: for anything unsupported.
    """
    try:
        return _network(settings)
    except ConfigError as error:
        raise _in_their_words(error, settings.path) from error


class Process(NamedTuple):
    """A noise schedule, and the form of a network's output, as in `ModelConfig`."""

    schedule: ScheduleConfig
    prediction: PredictionKind
    variance: VarianceKind


def with_process(network: NetworkConfig, process: Process, scheduler: Settings) -> ModelConfig:
    """The model of a network with the process of a scheduler's settings.

    Raises:
        CheckpointError: if the process has only one level.
    """
    try:
        return full_range_model(network, *process)
    except ConfigError as error:
        raise _in_their_words(error, scheduler.path) from error


def process_of(scheduler: Settings) -> Process:
    """The process that a scheduler's settings describe.

    Raises:
        CheckpointError: for anything unsupported.
    """
    scheduler.require("_class_name", *SCHEDULER_CLASSES)
    scheduler.require("use_flow_sigmas", False)
    variance: VarianceKind = "fixedsmall"
    if scheduler.values["variance_type"] is not None:
        variance = scheduler.choose("variance_type", VARIANCES)
    try:
        schedule, prediction = _schedule(scheduler), scheduler.choose("prediction_type", PREDICTIONS)
        if scheduler.get("rescale_betas_zero_snr", bool):
            # Only v holds x_0 where x_T is pure noise; so networks that predict eps have no use for it.
            scheduler.require("prediction_type", "v_prediction", "sample")
            schedule = without_pure_noise(schedule)
        return Process(schedule, prediction, variance)
    except ConfigError as error:
        raise _in_their_words(error, scheduler.path) from error


def _in_their_words(error: ConfigError, path: Path) -> CheckpointError:
    """An error of our configuration, with their key instead of our field."""
    name, _, reason = str(error).partition(": ")
    return CheckpointError(f"{path}: {THEIR_KEYS.get(name, name)}: {reason}")


def _schedule(settings: Settings) -> ScheduleConfig:
    steps = settings.get("num_train_timesteps", int)
    if settings.values["trained_betas"] is not None:
        return ScheduleConfig(steps, kind="betas", betas=tuple(settings.get_list("trained_betas", float)))
    kind = settings.choose("beta_schedule", SCHEDULES)
    if kind == "cosine":
        return ScheduleConfig(steps, kind=kind)
    return ScheduleConfig(steps, settings.get("beta_start", float), settings.get("beta_end", float), kind)


def _network(settings: Settings) -> UNetConfig:
    _reject_what_we_do_not_have(settings)
    widths = settings.get_list("block_out_channels", int)
    if widths[0] < 1 or any(width % widths[0] for width in widths):
        raise settings.unsupported("block_out_channels", "multiples of the first")
    attends = settings.choose_each("down_block_types", DOWN_BLOCKS)
    if len(attends) != len(widths):
        raise settings.unsupported("down_block_types", f"{len(widths)} of them, as of block_out_channels")
    if settings.choose_each("up_block_types", UP_BLOCKS) != attends[::-1]:
        raise settings.unsupported("up_block_types", "attention at the same scales as in down_block_types")
    if settings.values["attention_head_dim"] == 0:
        raise settings.unsupported("attention_head_dim", "null, or a positive number")
    return UNetConfig(
        image_channels=settings.get("in_channels", int),
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        blocks=settings.get("layers_per_block", int),
        attention_scales=tuple(scale for scale, has_attention in enumerate(attends) if has_attention),
        norm="group",
        modulation=settings.choose("resnet_time_scale_shift", MODULATIONS),
        conditioning="timestep",
        embedding_channels=settings.get_optional("time_embedding_dim", int) or 4 * widths[0],
        dropout=settings.get("dropout", float),
        norm_groups=settings.get("norm_num_groups", int),
        norm_eps=settings.get("norm_eps", float),
        attention_head_channels=settings.get_optional("attention_head_dim", int) or 0,
        middle_attention=settings.get("add_attention", bool),
        downsampling="symmetric" if settings.get("downsample_padding", int) else "asymmetric",
        frequency_shift=settings.get("freq_shift", int),
        cosines_first=settings.get("flip_sin_to_cos", bool),
    )


def _reject_what_we_do_not_have(settings: Settings) -> None:
    for key, *supported in (
        ("_class_name", NETWORK_CLASS),
        ("center_input_sample", False),
        ("time_embedding_type", "positional"),
        ("mid_block_type", "UNetMidBlock2D"),
        ("mid_block_scale_factor", 1),
        ("downsample_padding", 0, 1),
        ("downsample_type", "conv"),
        ("upsample_type", "conv"),
        ("act_fn", "silu", "swish"),
        ("class_embed_type", None),
        ("num_class_embeds", None),
    ):
        settings.require(str(key), *supported)
    if settings.values["add_attention"] is not False:
        # By default the middle attention has as many groups as the rest; with scale_shift it then has no norm.
        groups = settings.values["norm_num_groups"]
        by_default = settings.values["resnet_time_scale_shift"] == "default"
        settings.require("attn_norm_num_groups", groups, *([None] if by_default else []))
    for key, value in settings.values.items():
        if key not in NETWORK_DEFAULTS and not key.startswith("_") and value not in (None, False):
            raise settings.unsupported(key, "no such key")


def what_differs(config: ModelConfig) -> str | None:
    """Why `UNet2DModel` and diffusers' schedulers cannot express a model; None if they can."""
    network = config.network
    if not isinstance(network, UNetConfig):
        return "its network is not a UNet"
    if network.norm != "group":
        return "its normalisation is local"
    if network.patch != 1:
        return "its trunk works on patches"
    if network.conditioning != "timestep":
        return "its network takes the log SNR"
    if network.multipliers[0] != 1:
        return "its first scale is wider than its stem"
    if config.prediction == "mean" or (config.prediction == "v" and config.data_std != 1):
        return "no scheduler supports its parametrisation"
    return None


def network_settings(config: ModelConfig, sample_size: int) -> dict[str, Any]:
    """The configuration of a `UNet2DModel`; the inverse of `read_model`."""
    network = config.network
    assert isinstance(network, UNetConfig), "checked by what_differs"
    attends = [scale in network.attention_scales for scale in range(len(network.multipliers))]
    down, up = (dict(zip(names.values(), names, strict=True)) for names in (DOWN_BLOCKS, UP_BLOCKS))
    return {
        **NETWORK_DEFAULTS,
        "sample_size": sample_size,
        "in_channels": network.image_channels,
        "out_channels": network.image_channels * (2 if config.variance == "learned" else 1),
        "time_embedding_dim": network.embedding_channels,
        "freq_shift": network.frequency_shift,
        "flip_sin_to_cos": network.cosines_first,
        "down_block_types": [down[each] for each in attends],
        "up_block_types": [up[each] for each in reversed(attends)],
        "block_out_channels": [network.channels * multiplier for multiplier in network.multipliers],
        "layers_per_block": network.blocks,
        "downsample_padding": 1 if network.downsampling == "symmetric" else 0,
        "dropout": network.dropout,
        "attention_head_dim": network.attention_head_channels or None,  # null is one head
        "norm_num_groups": network.norm_groups,
        "attn_norm_num_groups": None if network.modulation == "add" else network.norm_groups,
        "norm_eps": network.norm_eps,
        "resnet_time_scale_shift": _key_of(MODULATIONS, network.modulation),
        "add_attention": network.has_middle_attention,
    }


def scheduler_settings(config: ModelConfig, prediction: PredictionKind) -> dict[str, Any]:
    """The configuration of a `DDPMScheduler`.

    Args:
        config: the model.
        prediction: output of its network in diffusers.
    """
    schedule = config.schedule
    given = schedule.kind == "betas"
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": schedule.steps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": "linear" if given else _key_of(SCHEDULES, schedule.kind),
        "trained_betas": list(schedule.betas) if given else None,
        "variance_type": _key_of(VARIANCES, config.variance),
        "prediction_type": _key_of(PREDICTIONS, prediction),
    }


def _key_of(meanings: dict[str, Any], meaning: str) -> str:
    """The first key with this meaning."""
    return next(key for key, value in meanings.items() if value == meaning)
