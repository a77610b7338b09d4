"""Latent diffusion models: a network over latents, and the autoencoder that makes pictures of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from diffcodec.config import ExternalNetworkConfig, Precision
from diffcodec.devices import check_device
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.external import ExternalNetwork, Predictor
from diffcodec.errors import CheckpointError
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.model.latent_parts import LatentParts
from diffcodec.model.living import LivingModel
from diffcodec.model.model_file import ModelCard


@dataclass(frozen=True)
class LatentModel(LivingModel):
    """A latent diffusion model, in memory or in a folder.

    Args:
        parts: network, embedding of the empty prompt, and autoencoder.
    """

    parts: LatentParts = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_parts(cls, parts: LatentParts) -> Self:
        """The uncalibrated model of some parts.

        Raises:
            CheckpointError: if they are not supported.
        """
        return cls(parts.config, ModelCard(parts.name, licence="its owner's"), {}, parts=parts)

    def _description(self) -> Mapping[str, Any]:
        found = super()._description()
        return {**found, "config": {**found["config"], "components": self.parts.identity().components}}

    def _fingerprinted_weights(self) -> Mapping[str, torch.Tensor]:
        return self.parts.identity().weights

    @property
    def device(self) -> torch.device:
        """Where the network expects its inputs."""
        return self.parts.device

    def denoiser(self, device: str | torch.device = "cpu", precision: Precision = "auto") -> Denoiser:
        """The network, with its parametrisation.

        Args:
            device: of the states; a network in memory stays on its own.
            precision: in which weights that are loaded now are kept, see `FolderParts.network`.

        Raises:
            ConfigError: if there is no such device.
            CheckpointError: if the weights cannot be loaded.
        """
        where = check_device(device)
        config = self.config.network
        assert isinstance(config, ExternalNetworkConfig)
        channels = (2 if self.config.variance == "learned" else 1) * config.image_channels
        network = ExternalNetwork(Predictor.of(self.parts.network(where, precision)), config, channels)
        return Denoiser(self.config, network).to(where).eval()

    def autoencoder(self, device: torch.device) -> Autoencoder:
        """From pictures to latents and back."""
        return self.parts.autoencoder(device)

    def to_bytes(self) -> bytes:
        """Not possible.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{self.card.name}: a latent model's weights stay where they are: store its tables after a calibration"
        )
