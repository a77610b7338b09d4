"""What a latent model is made of: network, embedding and autoencoder, from a pipeline in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from diffcodec.config import ModelConfig, Precision
from diffcodec.diffusers_format.latents import UNCONDITIONAL, latent_model_of
from diffcodec.diffusers_format.objects import settings_of
from diffcodec.diffusers_format.settings import Settings
from diffcodec.diffusers_format.vocabulary import SCHEDULER_DEFAULTS
from diffcodec.errors import CheckpointError
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.latent.networks import predictor_of
from diffcodec.latent.prompt import Embedding, embedding_of, text_weights


@dataclass(frozen=True)
class Identity:
    """What a model's fingerprint covers besides its configuration and tables.

    Args:
        components: settings, and digests of the files, of every component.
        weights: that are in memory, by name.
    """

    components: Mapping[str, Any]
    weights: Mapping[str, Tensor]


class LatentParts(Protocol):
    """The parts of a latent model, loaded when they are needed."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""

    @property
    def device(self) -> torch.device:
        """Where the network is, or will be unless another device is asked for."""

    def identity(self) -> Identity:
        """What the parts are now."""

    def network(self, device: torch.device, precision: Precision) -> nn.Module:
        """The network with the embedding of the empty prompt, as a predictor."""

    def autoencoder(self, device: torch.device) -> Autoencoder:
        """From pictures to latents and back."""

    @property
    def needs_text(self) -> bool:
        """Whether the network takes an embedding."""

    def embedding(self) -> Embedding:
        """The embedding of the empty prompt; empty for networks that take none."""

    def with_embedding(self, embedding: Embedding) -> Self:
        """The same parts with a stored embedding."""


def essential(settings: Settings) -> dict[str, Any]:
    """A component's settings without those that its computation does not depend on, such as the library's version."""
    return {name: value for name, value in settings.values.items() if name == "_class_name" or name[:1] != "_"}


@dataclass(frozen=True)
class PipelineParts:
    """The parts of a pipeline of diffusers in memory. The network stays where it is.

    Args:
        pipeline: with `vae`, `scheduler`, and `unet` or `transformer`.
        stored: the embedding of the empty prompt; None: the pipeline's own text encoders compute it.

    Raises:
        CheckpointError: if it is not supported.
    """

    pipeline: Any
    stored: Embedding | None = None

    def __post_init__(self) -> None:
        for name in ("scheduler", "unet" if hasattr(self.pipeline, "unet") else "transformer"):
            if getattr(self.pipeline, name, None) is None:
                raise CheckpointError(f"{self.name} has no {name}")
        _ = self.config

    @property
    def name(self) -> str:
        """That of the pipeline's class."""
        return type(self.pipeline).__name__

    @property
    def _module(self) -> nn.Module:
        found: nn.Module = self.pipeline.unet if hasattr(self.pipeline, "unet") else self.pipeline.transformer
        return found

    @property
    def device(self) -> torch.device:
        """That of the network."""
        return next(self._module.parameters()).device

    @cached_property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        scheduler = settings_of(self.pipeline.scheduler, SCHEDULER_DEFAULTS)
        return latent_model_of(settings_of(self._module, {}), scheduler, settings_of(self.pipeline.vae, {}))

    @property
    def needs_text(self) -> bool:
        """Whether the network takes an embedding."""
        return type(self._module).__name__ not in UNCONDITIONAL

    def embedding(self) -> Embedding:
        """The stored one, or what the pipeline's own text encoders compute."""
        return self._embedding

    @cached_property
    def _embedding(self) -> Embedding:
        if self.stored is not None:
            return self.stored
        return embedding_of(self.pipeline, type(self._module).__name__) if self.needs_text else {}

    def identity(self) -> Identity:
        """Settings, and the weights themselves: they may be trained."""
        modules = {"network": self._module, "autoencoder": self.pipeline.vae}
        weights = {
            f"{part}.{name}": value
            for part, module in modules.items()
            for name, value in module.state_dict(keep_vars=True).items()
        }
        text = {} if self.stored is not None else text_weights(self.pipeline)
        components = {part: essential(settings_of(module, {})) for part, module in modules.items()}
        return Identity(components, weights | (text or self._embedding))

    def network(self, device: torch.device, precision: Precision) -> nn.Module:
        """The network itself, in the type of numbers that it has."""
        latents = self.config.latent
        assert latents is not None
        return predictor_of(self._module, self._embedding, latents.downscale)

    def autoencoder(self, device: torch.device) -> Autoencoder:
        """The autoencoder itself, where it is."""
        latents = self.config.latent
        assert latents is not None
        return Autoencoder(latents, lambda: self.pipeline.vae, lambda: self.pipeline.vae)

    def with_embedding(self, embedding: Embedding) -> PipelineParts:
        """The same pipeline with a stored embedding."""
        return PipelineParts(self.pipeline, embedding)
