"""Latent diffusion models as the configurations of their components describe them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcodec.config import ExternalNetworkConfig, LatentConfig, ModelConfig
from diffcodec.diffusers_format.configs import process_of, with_process
from diffcodec.diffusers_format.flows import flow_schedule
from diffcodec.diffusers_format.settings import Settings
from diffcodec.diffusers_format.vocabulary import NETWORK_DEFAULTS as PIXEL_NETWORK_DEFAULTS
from diffcodec.diffusers_format.wrapped import wrapped_model
from diffcodec.diffusion.betas import full_range_model
from diffcodec.errors import CheckpointError, ConfigError

AUTOENCODER_CLASS = "AutoencoderKL"
"""The autoencoders that are supported: Gaussian ones."""

UNET_CLASSES = ("UNet2DConditionModel", "UNet2DModel", "DiffcodecModel")
"""Networks of diffusion processes, which predict noise, v or x_0."""

UNCONDITIONAL = ("UNet2DModel", "DiffcodecModel")
"""Those that take no text."""

FLOW_CLASSES = ("SD3Transformer2DModel", "FluxTransformer2DModel")
"""Networks of flows."""

TOKEN_SIDE = 2
"""Latents along a side of one token of Flux."""

AUTOENCODER_DEFAULTS = {
    "block_out_channels": [64],
    "latent_channels": 4,
    "scaling_factor": 0.18215,
    "shift_factor": None,
}
NETWORK_DEFAULTS: dict[str, Mapping[str, Any]] = {
    "UNet2DConditionModel": {"in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280]},
    "UNet2DModel": PIXEL_NETWORK_DEFAULTS,
    "DiffcodecModel": {},
    "SD3Transformer2DModel": {"in_channels": 16, "patch_size": 2},
    "FluxTransformer2DModel": {"in_channels": 64, "patch_size": 1},
}
"""Defaults of diffusers for keys that a configuration lacks, by class."""

CONDITIONS = (
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
    "center_input_sample",
)
"""Keys of UNets that need something else than x_t, the timestep and a text."""


def latent_model_of(network: Settings, scheduler: Settings, autoencoder: Settings) -> ModelConfig:
    """The model of a network, a scheduler and an autoencoder.

    Raises:
        CheckpointError: for anything unsupported; it names the file or class, the key and the value.
    """
    network.require("_class_name", *NETWORK_DEFAULTS)
    network = Settings(network.path, {**NETWORK_DEFAULTS[network.values["_class_name"]], **network.values})
    latents = latents_of(Settings(autoencoder.path, {**AUTOENCODER_DEFAULTS, **autoencoder.values}))
    shape = _network_of(network)
    if shape.image_channels != latents.channels:
        raise CheckpointError(
            f"{network.path}: the network has {shape.image_channels} channels, the autoencoder {latents.channels}"
        )
    try:
        if network.values["_class_name"] in FLOW_CLASSES:
            model = full_range_model(shape, flow_schedule(scheduler), "x0")
        else:
            model = with_process(shape, process_of(scheduler), scheduler)
    except ConfigError as error:
        raise CheckpointError(f"{scheduler.path}: {error}") from error
    return ModelConfig.from_dict({**model.to_dict(), "latent": latents.to_dict()})


def latents_of(autoencoder: Settings) -> LatentConfig:
    """The latents of an autoencoder.

    Raises:
        CheckpointError: if it is not supported.
    """
    autoencoder.require("_class_name", AUTOENCODER_CLASS)
    blocks = autoencoder.get_list("block_out_channels", int)
    shift = autoencoder.values.get("shift_factor")
    try:
        return LatentConfig(
            channels=autoencoder.get("latent_channels", int),
            downscale=1 << (len(blocks) - 1),
            scale=autoencoder.get("scaling_factor", float),
            shift=0.0 if shift is None else autoencoder.get("shift_factor", float),
        )
    except ConfigError as error:
        raise CheckpointError(f"{autoencoder.path}: {error}") from error


def _network_of(network: Settings) -> ExternalNetworkConfig:
    kind = network.values["_class_name"]
    if kind == "DiffcodecModel":
        own = wrapped_model(network.values, network.path).network
        return ExternalNetworkConfig(image_channels=own.image_channels, stride=own.stride)
    channels = network.get("in_channels", int)
    try:
        if kind == "FluxTransformer2DModel":
            channels //= TOKEN_SIDE**2
            return ExternalNetworkConfig(image_channels=channels, stride=TOKEN_SIDE, conditioning="log_snr")
        if kind == "SD3Transformer2DModel":
            stride = network.get("patch_size", int)
            return ExternalNetworkConfig(image_channels=channels, stride=stride, conditioning="log_snr")
        for key in CONDITIONS:
            if network.values.get(key):
                raise network.unsupported(key, "none: a codec knows nothing but the picture")
        network.require("addition_embed_type", None, "text_time")
        halvings = len(network.get_list("block_out_channels", int)) - 1
        return ExternalNetworkConfig(image_channels=channels, stride=1 << halvings)
    except ConfigError as error:
        raise CheckpointError(f"{network.path}: {error}") from error
