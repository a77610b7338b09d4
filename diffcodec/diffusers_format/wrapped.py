"""Our networks that `UNet2DModel` cannot express, as a component that needs diffcodec to be installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcodec.config import ModelConfig
from diffcodec.diffusers_format.settings import read_json
from diffcodec.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPER_MODULE = "diffcodec.diffusers_model"
WRAPPER_CLASS = "DiffcodecModel"

PREFIX = "denoiser.network."
"""Prefix of our weights' names in the component."""


def wrapped_settings(config: ModelConfig, sample_size: int) -> dict[str, Any]:
    """The configuration of the component."""
    return {"_class_name": WRAPPER_CLASS, "model": config.to_dict(), "sample_size": sample_size}


def read_wrapped_model(path: Path) -> ModelConfig:
    """The model of the component's configuration file.

    Raises:
        CheckpointError: if it is invalid.
    """
    return wrapped_model(read_json(path), path)


def wrapped_model(settings: Mapping[str, Any], path: Path) -> ModelConfig:
    """The model of the component's configuration.

    Args:
        settings: by key.
        path: of the file, for messages.

    Raises:
        CheckpointError: if it is invalid.
    """
    try:
        return ModelConfig.from_dict(settings.get("model"))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def wrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their names in the component."""
    return {PREFIX + name: value for name, value in weights.items()}


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their names in our network.

    Raises:
        CheckpointError: if there are unexpected ones.
    """
    for name in tensors:
        if not name.startswith(PREFIX):
            raise CheckpointError(f"the weights hold {name!r}, which {WRAPPER_CLASS} does not have")
    return {name.removeprefix(PREFIX): value for name, value in tensors.items()}
