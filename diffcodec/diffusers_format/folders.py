"""Names of the files in a pipeline folder, and its model configuration. Torch-free."""

from __future__ import annotations

from pathlib import Path

from diffcodec.config import ModelConfig
from diffcodec.diffusers_format.configs import read_model
from diffcodec.diffusers_format.settings import read_json
from diffcodec.diffusers_format.wrapped import WRAPPER_CLASS, read_wrapped_model
from diffcodec.errors import CheckpointError

INDEX = "model_index.json"
NETWORK_CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SHARDS = "diffusion_pytorch_model.safetensors.index.json"
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"


def read_config(folder: Path) -> ModelConfig:
    """The model configuration of a pipeline folder; its weights need not be there.

    Raises:
        CheckpointError: if there is none, or it is not supported.
    """
    if (folder / INDEX).is_file():
        _check_components(folder / INDEX)
    network = network_folder(folder) / NETWORK_CONFIG
    if not network.is_file():
        raise CheckpointError(f"{folder} is not a pipeline folder: unet/{NETWORK_CONFIG} is missing")
    scheduler = folder / "scheduler" / SCHEDULER_CONFIG
    if not scheduler.is_file():
        scheduler = folder / SCHEDULER_CONFIG
    if not scheduler.is_file():
        raise CheckpointError(
            f"{folder}: no noise schedule: expected scheduler/{SCHEDULER_CONFIG}; name the pipeline's folder, or copy "
            "that file from the pipeline into this folder"
        )
    if read_json(network).get("_class_name") == WRAPPER_CLASS:
        return read_wrapped_model(network)
    return read_model(network, scheduler)


def network_folder(folder: Path) -> Path:
    """The folder of the network in a pipeline folder."""
    return folder / "unet" if (folder / "unet").is_dir() else folder


def _check_components(path: Path) -> None:
    """Refuse a pipeline with further components, such as an autoencoder: it does not denoise pixels."""
    for name, component in read_json(path).items():
        if name not in ("unet", "scheduler") and isinstance(component, list) and any(component):
            raise CheckpointError(
                f"{path}: {name} = {component!r} is not supported; expected a pipeline of only unet and scheduler"
            )
