"""Latent diffusion models: a network over latents, and the autoencoder that makes pictures of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import nn

from diffcodec.config import ExternalNetworkConfig, ModelConfig
from diffcodec.diffusers_format.configs import process_of, with_process
from diffcodec.diffusers_format.flows import flow_schedule
from diffcodec.diffusers_format.objects import settings_of, stride_of
from diffcodec.diffusers_format.vocabulary import SCHEDULER_DEFAULTS
from diffcodec.diffusion.betas import full_range_model
from diffcodec.diffusion.external import ExternalNetwork, Predictor
from diffcodec.errors import CheckpointError
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.latent.conditioned import conditioned
from diffcodec.latent.flow import flow_network
from diffcodec.model.external import ExternalModel
from diffcodec.model.model_file import ModelCard


@dataclass(frozen=True)
class LatentModel(ExternalModel):
    """A latent diffusion model in memory.

    Args:
        autoencoder: from pictures to latents and back.
    """

    autoencoder: Autoencoder = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_latents(cls, pipeline: Any) -> Self:
        """The model of a latent pipeline of diffusers: with a UNet, or with a flow transformer.

        Raises:
            CheckpointError: if it is not supported.
        """
        autoencoder = Autoencoder.of(pipeline.vae)
        for name in ("scheduler", "unet" if hasattr(pipeline, "unet") else "transformer"):
            if getattr(pipeline, name, None) is None:
                raise CheckpointError(f"{type(pipeline).__name__} has no {name}")
        if hasattr(pipeline, "unet"):
            network: nn.Module = conditioned(pipeline, autoencoder.config.downscale)
            config = _unet_config(pipeline.unet, pipeline.scheduler)
        else:
            network = flow = flow_network(pipeline)
            shape = ExternalNetworkConfig(image_channels=flow.channels, stride=flow.stride, conditioning="log_snr")
            config = full_range_model(shape, flow_schedule(settings_of(pipeline.scheduler, {})), "x0")
        channels = config.network.image_channels
        if channels != autoencoder.config.channels:
            raise CheckpointError(
                f"{type(pipeline).__name__}: the network has {channels} channels, the autoencoder "
                f"{autoencoder.config.channels}"
            )
        assert isinstance(config.network, ExternalNetworkConfig)
        made = ExternalNetwork(Predictor.of(network), config.network, channels)
        return cls(
            replace(config, latent=autoencoder.config),
            ModelCard(type(pipeline).__name__, licence="its owner's"),
            made.weights() | autoencoder.weights(),
            None,
            network=made,
            autoencoder=autoencoder,
        )


def _unet_config(unet: Any, scheduler: Any) -> ModelConfig:
    """The model of a `UNet2DConditionModel` and its scheduler."""
    shape = settings_of(unet, {})
    network = ExternalNetworkConfig(image_channels=shape.get("in_channels", int), stride=stride_of(shape.values))
    settings = settings_of(scheduler, SCHEDULER_DEFAULTS)
    return with_process(network, process_of(settings), settings)
