"""Reads objects of diffusers in memory: a pipeline, or a network and a scheduler. Does not import diffusers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffcodec.config import ExternalNetworkConfig, ModelConfig
from diffcodec.diffusers_format.configs import model_of, network_of, process_of, with_process
from diffcodec.diffusers_format.reading import Pipeline, check_weights
from diffcodec.diffusers_format.settings import Settings
from diffcodec.diffusers_format.vocabulary import NETWORK_DEFAULTS, SCHEDULER_DEFAULTS
from diffcodec.diffusers_format.wrapped import WRAPPER_CLASS, wrapped_model
from diffcodec.diffusion.external import Predictor
from diffcodec.errors import CheckpointError, ConfigError, WrongTypeError, kind_of

CONDITIONS = ("num_class_embeds", "class_embed_type", "num_embeds_ada_norm")
"""Keys of networks that need to know more than x_t and the timestep."""


@dataclass(frozen=True)
class ForeignNetwork:
    """A network of diffusers that none of ours can express, and which therefore runs itself.

    Args:
        config: with an `ExternalNetworkConfig`.
        predictor: the network.
    """

    config: ModelConfig
    predictor: Predictor


def read_objects(model: Any, scheduler: Any = None) -> Pipeline | ForeignNetwork:
    """The model that objects of diffusers describe. Weights of a `Pipeline` are copies.

    Args:
        model: a pipeline, or a network.
        scheduler: its noise schedule; None: that of the pipeline.

    Raises:
        WrongTypeError: if these are no objects of diffusers.
        ConfigError: if a network comes without a scheduler.
        CheckpointError: if anything else is unsupported, such as further components or conditions.
    """
    network, scheduler = _parts(model, scheduler)
    settings, process = settings_of(network, NETWORK_DEFAULTS), settings_of(scheduler, SCHEDULER_DEFAULTS)
    if type(network).__name__ == WRAPPER_CLASS:
        return Pipeline.of(wrapped_model(settings.values, settings.path), _weights(network), is_wrapped=True)
    try:
        network_of(settings)
    except CheckpointError:
        return _foreign(network, settings, process)
    return Pipeline.of(model_of(settings, process), _weights(network), is_wrapped=False)


def _parts(model: Any, scheduler: Any) -> tuple[nn.Module, Any]:
    """The network and the scheduler."""
    components = getattr(model, "components", None)
    if isinstance(components, Mapping):
        for name, component in components.items():
            if name not in ("unet", "scheduler") and component is not None:
                raise CheckpointError(
                    f"{type(model).__name__}: {name} is not supported; expected a pipeline of only unet and scheduler"
                )
        model, scheduler = components.get("unet"), components.get("scheduler") if scheduler is None else scheduler
    if not isinstance(model, nn.Module) or not hasattr(model, "to_json_string"):
        raise WrongTypeError(f"expected a pipeline or a network of diffusers, found {kind_of(model)}")
    if scheduler is None:
        raise ConfigError("scheduler: expected one, as a network alone has no noise schedule", parameters=["scheduler"])
    if not hasattr(scheduler, "to_json_string"):
        raise WrongTypeError(f"scheduler: expected one of diffusers, found {kind_of(scheduler)}")
    return model, scheduler


def settings_of(configured: Any, defaults: Mapping[str, Any]) -> Settings:
    """An object's settings as in its configuration file, named by its class."""
    values = json.loads(configured.to_json_string())
    return Settings(Path(type(configured).__name__), {**defaults, **values})


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of a network's weights in main memory, by diffusers' names."""
    tensors = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    check_weights(tensors, Path(type(network).__name__))
    return tensors


def _foreign(network: nn.Module, settings: Settings, scheduler: Settings) -> ForeignNetwork:
    for key in CONDITIONS:
        if settings.values.get(key) is not None:
            raise settings.unsupported(key, "null: a module that adds the condition can be used as a noise predictor")
    required = [each.name for each in signature(network.forward).parameters.values() if each.default is Parameter.empty]
    if conditions := [name for name in required[1:] if name not in ("timestep", "args", "kwargs")]:
        raise CheckpointError(
            f"{settings.path} needs {conditions[0]}: a module that adds it can be used as a noise predictor"
        )

    def predict(x_t: Tensor, timestep: Tensor) -> Tensor:
        answer: Tensor = network(x_t, timestep, return_dict=False)[0]
        return answer

    config = ExternalNetworkConfig(image_channels=settings.get("in_channels", int), stride=stride_of(settings.values))
    return ForeignNetwork(with_process(config, process_of(scheduler), scheduler), Predictor(predict, network))


def stride_of(values: Mapping[str, Any]) -> int:
    """The stride of a network, as far as its settings show it: it halves between blocks, or works on patches."""
    default = ExternalNetworkConfig().stride
    patch = values.get("patch_size")
    if isinstance(patch, int):
        return patch
    blocks = values.get("block_out_channels")
    return 1 << (len(blocks) - 1) if isinstance(blocks, list) and blocks else default
