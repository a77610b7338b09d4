"""Writes a pipeline folder for diffusers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusers_format.configs import network_settings, scheduler_settings, what_differs
from diffcodec.diffusers_format.folders import INDEX, NETWORK_CONFIG, SCHEDULER_CONFIG, WEIGHTS
from diffcodec.diffusers_format.names import to_theirs
from diffcodec.diffusers_format.vocabulary import NETWORK_CLASS
from diffcodec.diffusers_format.wrapped import WRAPPER_CLASS, WRAPPER_MODULE, wrapped, wrapped_settings
from diffcodec.errors import ConfigError
from diffcodec.files import atomic_write

DIFFUSERS_VERSION = "0.25.0"
"""The first release that supports everything written here."""

CARD = """\
---
library_name: diffusers
---

# {name}

A diffusion model, exported by diffcodec. Licence of the weights: {licence}.

```python
from diffusers import DDPMPipeline
{imports}
pipeline = DDPMPipeline.from_pretrained("{folder}")
pipeline(num_inference_steps=100).images[0].save("sample.png")
```
{remark}"""

WRAPPED_REMARK = """
diffusers does not have this kind of network ({reason}).
The Python package diffcodec defines it; install the package, and import it as above.
"""


def write_pipeline(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    *,
    name: str,
    licence: str,
    sample_size: int,
    overwrite: bool,
) -> None:
    """Write a pipeline folder of a network and a DDPMScheduler.

    Args:
        folder: created if it does not exist.
        config: the model.
        weights: by parameter name; written unchanged.
        name, licence: of the model, for its card.
        sample_size: side of the pictures that the pipeline samples.
        overwrite: whether to replace existing files.

    Raises:
        ConfigError: if a file cannot be written, or exists and `overwrite` is false.
        CheckpointError: if weights are missing.
    """
    reason = what_differs(config)
    ours = {key.removeprefix("network."): value.detach().cpu().contiguous() for key, value in weights.items()}
    if reason is None:
        assert isinstance(config.network, UNetConfig)
        network, tensors = network_settings(config, sample_size), to_theirs(ours, config.network)
        component, prediction = ["diffusers", NETWORK_CLASS], config.prediction
    else:
        network, tensors = wrapped_settings(config, sample_size), wrapped(ours)
        component, prediction = [WRAPPER_MODULE, WRAPPER_CLASS], "eps"
    card = CARD.format(
        name=name,
        licence=licence,
        folder=folder.name,
        imports="" if reason is None else f"import {WRAPPER_MODULE}  # defines the network\n",
        remark="" if reason is None else WRAPPED_REMARK.format(reason=reason),
    )
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": component}
    files = {
        f"unet/{NETWORK_CONFIG}": _json(network),
        f"unet/{WEIGHTS}": save(tensors, {"format": "pt"}),
        f"scheduler/{SCHEDULER_CONFIG}": _json(scheduler_settings(config, prediction)),
        "README.md": card.encode(),
        INDEX: _json(index),  # last, because it marks the folder as a complete pipeline
    }
    taken = [folder / file for file in files if (folder / file).exists()]
    if taken and not overwrite:
        raise ConfigError(f"{taken[0]} exists: allow overwriting, or name another folder", parameters=["overwrite"])
    for file, content in files.items():
        try:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{(folder / file).parent} cannot be created: {error.strerror or error}") from error
        with atomic_write(folder / file, overwrite=overwrite) as out:
            out.write(content)


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps({**values, "_diffusers_version": DIFFUSERS_VERSION}, indent=2, sort_keys=True) + "\n").encode()
