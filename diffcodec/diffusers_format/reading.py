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

from diffcodec.config import ModelConfig
from diffcodec.diffusers_format.configs import read_model
from diffcodec.diffusers_format.names import to_ours
from diffcodec.diffusers_format.settings import read_json
from diffcodec.diffusers_format.wrapped import WRAPPER_CLASS, read_wrapped_model, unwrapped
from diffcodec.errors import CheckpointError

INDEX = "model_index.json"
NETWORK_CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SHARDS = "diffusion_pytorch_model.safetensors.index.json"
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline folder holds.

    Args:
        config: network, schedule, parametrisation.
        weights: by the names of our network's parameters, every bit and the type of each as in the folder.
    """

    config: ModelConfig
    weights: Mapping[str, Tensor] = field(repr=False)


def read_pipeline(folder: Path, *, allow_pickle: bool = False) -> Pipeline:
    """Read a pipeline folder.

    Args:
        folder: with the network in `unet/` and the schedule in `scheduler/`, or with both beside each other, as in
            repositories of the first months.
        allow_pickle: whether weights may be unpickled where there are no others.

    Raises:
        CheckpointError: if there is anything that we do not understand.
    """
    config = read_config(folder)
    network = _network_folder(folder)
    tensors = _read_weights(network, allow_pickle)
    is_wrapped = read_json(network / NETWORK_CONFIG).get("_class_name") == WRAPPER_CLASS
    try:
        weights = unwrapped(tensors) if is_wrapped else to_ours(tensors, config.network)
    except CheckpointError as error:
        raise CheckpointError(f"{network}: {error}") from error
    return Pipeline(config, {f"network.{name}": value for name, value in weights.items()})


def read_config(folder: Path) -> ModelConfig:
    """The model that a pipeline folder describes; its weights need not be there.

    Raises:
        CheckpointError: if it describes none, or one that we do not have.
    """
    if (folder / INDEX).is_file():
        _check_components(folder / INDEX)
    network = _network_folder(folder) / NETWORK_CONFIG
    if not network.is_file():
        raise CheckpointError(f"{folder}: no model: a pipeline folder holds unet/{NETWORK_CONFIG}")
    scheduler = folder / "scheduler" / SCHEDULER_CONFIG
    if not scheduler.is_file():
        scheduler = folder / SCHEDULER_CONFIG
    if not scheduler.is_file():
        raise CheckpointError(
            f"{folder}: no noise schedule: expected scheduler/{SCHEDULER_CONFIG}; name the pipeline's folder, or copy "
            "that file of the pipeline into this one"
        )
    if read_json(network).get("_class_name") == WRAPPER_CLASS:
        return read_wrapped_model(network)
    return read_model(network, scheduler)


def _network_folder(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet").is_dir() else folder


def _check_components(path: Path) -> None:
    """A pipeline with more than a network and a scheduler, such as an autoencoder, does not denoise pixels."""
    for name, component in read_json(path).items():
        if name not in ("unet", "scheduler") and isinstance(component, list) and any(component):
            raise CheckpointError(
                f"{path}: {name} = {component!r} is not supported; expected a pipeline of unet and scheduler alone"
            )


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
                f"{path}: weights as a Python pickle, which may run code when it is read; if you trust where "
                "it comes from, pass --allow-pickle, or `diffcodec import --allow-pickle` once"
            )
        tensors = _read_pickle(path)
    else:
        raise CheckpointError(f"{folder}: no weights: expected {WEIGHTS}")
    for name, value in tensors.items():
        if value.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise CheckpointError(f"{path}: {name}: expected floats of 16 or 32 bits, found {value.dtype}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name}: holds what are not finite numbers: the weights are damaged")
    return tensors


def _shards(index: Path) -> list[Path]:
    """The files among which an index shares out the weights."""
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
        pickle.UnpicklingError, struct.error, OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not the weights of a network ({reason})") from error
    if not isinstance(found, dict) or not all(_is_plain(value) for value in found.values()):
        raise CheckpointError(f"{path}: not the weights of a network")
    return {str(name): value for name, value in found.items()}


def _is_plain(value: object) -> bool:
    """Whether this is a tensor whose numbers are all there: pickles also hold sparse ones, and ones of shapes alone."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
