"""Latent diffusion models: a network over latents, and the autoencoder that makes pictures of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import nn

from diffcodec.config import ExternalNetworkConfig
from diffcodec.diffusers_format.configs import process_of, with_process
from diffcodec.diffusers_format.objects import settings_of, stride_of
from diffcodec.diffusers_format.vocabulary import SCHEDULER_DEFAULTS
from diffcodec.diffusion.external import ExternalNetwork, Predictor
from diffcodec.errors import CheckpointError
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.latent.conditioned import conditioned
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
        """The model of a pipeline of diffusers with a UNet and an autoencoder.

        Raises:
            CheckpointError: if it is not supported.
        """
        for name in ("unet", "vae", "scheduler"):
            if getattr(pipeline, name, None) is None:
                raise CheckpointError(f"{type(pipeline).__name__} has no {name}")
        network = conditioned(pipeline, Autoencoder.of(pipeline.vae).config.downscale)
        return cls.of_parts(network, pipeline.unet, pipeline.scheduler, pipeline.vae, type(pipeline).__name__)

    @classmethod
    def of_parts(cls, network: nn.Module, unet: Any, scheduler: Any, vae: Any, name: str) -> Self:
        """The model of a network from (x_t, t) to its prediction.

        Args:
            network: evaluates `unet`.
            unet: of diffusers; its configuration describes the latents.
            scheduler: of diffusers.
            vae: the autoencoder.
            name: for messages.

        Raises:
            CheckpointError: if the network works on other latents than the autoencoder's, or anything is unsupported.
        """
        autoencoder = Autoencoder.of(vae)
        channels = int(unet.config["in_channels"])
        if channels != autoencoder.config.channels:
            raise CheckpointError(
                f"{type(unet).__name__}: in_channels: expected {autoencoder.config.channels}, as the autoencoder has, "
                f"found {channels}"
            )
        shape = ExternalNetworkConfig(image_channels=channels, stride=stride_of(settings_of(unet, {}).values))
        settings = settings_of(scheduler, SCHEDULER_DEFAULTS)
        config = replace(with_process(shape, process_of(settings), settings), latent=autoencoder.config)
        made = ExternalNetwork(Predictor.of(network), shape, channels)
        return cls(
            config,
            ModelCard(name, licence="its owner's"),
            made.weights() | autoencoder.weights(),
            None,
            network=made,
            autoencoder=autoencoder,
        )
