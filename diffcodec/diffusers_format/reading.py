"""Reads a pipeline folder: configuration and weights."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusers_format.folders import (
    NETWORK_CONFIG,
    PICKLED_WEIGHTS,
    SHARDS,
    WEIGHTS,
    network_folder,
    read_config,
)
from diffcodec.diffusers_format.names import to_ours
from diffcodec.diffusers_format.settings import read_json
from diffcodec.diffusers_format.wrapped import WRAPPER_CLASS, unwrapped
from diffcodec.errors import CheckpointError


@dataclass(frozen=True)
class Pipeline:
    """A model of diffusers that our networks can express.

    Args:
        config: network, schedule, parametrisation.
        weights: by the names of our network's parameters; values and types unchanged.
    """

    config: ModelConfig
    weights: Mapping[str, Tensor] = field(repr=False)

    @classmethod
    def of(cls, config: ModelConfig, theirs: Mapping[str, Tensor], *, is_wrapped: bool) -> Pipeline:
        """The pipeline of weights with their names in diffusers.

        Args:
            config: of the model.
            theirs: the weights.
            is_wrapped: whether the network is one of ours, as a component.

        Raises:
            CheckpointError: if a weight is missing or unexpected.
        """
        if is_wrapped:
            weights = unwrapped(theirs)
        else:
            assert isinstance(config.network, UNetConfig)
            weights = to_ours(theirs, config.network)
        return cls(config, {f"network.{name}": value for name, value in weights.items()})


def read_pipeline(folder: Path, *, allow_pickle: bool = False) -> Pipeline:
    """Read a pipeline folder.

    Args:
        folder: with the network in `unet/` and the schedule in `scheduler/`, or with both at the top, as in the oldest
            repositories.
        allow_pickle: whether weights may be unpickled if there are no others.

    Raises:
        CheckpointError: if anything is missing or unsupported.
    """
    config = read_config(folder)
    network = network_folder(folder)
    tensors = _read_weights(network, allow_pickle)
    is_wrapped = read_json(network / NETWORK_CONFIG).get("_class_name") == WRAPPER_CLASS
    try:
        return Pipeline.of(config, tensors, is_wrapped=is_wrapped)
    except CheckpointError as error:
        raise CheckpointError(f"{network}: {error}") from error


def _read_weights(folder: Path, allow_pickle: bool) -> dict[str, Tensor]:
    """Tensors by diffusers' names."""
    if (path := folder / WEIGHTS).is_file():
        tensors = _read_safetensors(path)
    elif (path := folder / SHARDS).is_file():
        tensors = {}
        for shard in _shards(path):
            tensors |= _read_safetensors(shard)
    elif (path := folder / PICKLED_WEIGHTS).is_file():
        if not allow_pickle:
            raise CheckpointError(
                f"{path}: the weights are a Python pickle, which may run code when it is read: allow it if you trust "
                "its source, or import the model once",
                parameters=["allow_pickle"],
            )
        tensors = _read_pickle(path)
    else:
        raise CheckpointError(f"{folder}: no weights: expected {WEIGHTS}")
    check_weights(tensors, path)
    return tensors


def check_weights(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Check that weights are finite floats of 16 or 32 bits.

    Raises:
        CheckpointError: if they are not.
    """
    for name, value in tensors.items():
        if value.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise CheckpointError(f"{source}: {name}: expected floats of 16 or 32 bits, found {value.dtype}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{source}: {name}: found infinite or NaN weights: the model is damaged")


def _shards(index: Path) -> list[Path]:
    """The weight files that an index lists."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index}: no weight_map from weights to files")
    for name in names.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: {name!r} is not the name of a .safetensors file beside it")
    return [index.parent / name for name in sorted(set(names.values()))]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        struct.error,
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        EOFError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not the weights of a network ({reason})") from error
    if not isinstance(found, dict) or not all(_is_plain(value) for value in found.values()):
        raise CheckpointError(f"{path}: not the weights of a network")
    return {str(name): value for name, value in found.items()}


def _is_plain(value: object) -> bool:
    """Whether this is a dense tensor with data; pickles may also hold sparse and meta tensors."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
