"""Models with their weights: loads files and folders, and makes networks of them.

Model files are safetensors, never pickle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from diffcodec.config import ModelConfig, Precision
from diffcodec.devices import check_device
from diffcodec.diffusers_format.reading import Pipeline
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.model.default_tables import default_tables
from diffcodec.model.description import ModelDescription
from diffcodec.model.evaluation_profile import FLOAT32, EvaluationProfile
from diffcodec.model.model_file import (
    METADATA_KEY,
    ModelCard,
    StoredTensor,
    fingerprint_of,
    read_model_file,
    understood,
)
from diffcodec.model.tables import CodecTables

TORCH_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
"""Types of weights in model files, by their names in safetensors."""


@dataclass(frozen=True)
class Checkpoint:
    """A stored model.

    Args:
        config: network, schedule, parametrisation.
        card: description for people.
        weights: tensors by parameter name, of types in TORCH_TYPES: float16 from our own training, imported ones
            unchanged. They are the model: every computation starts from these values, widened to float32.
        tables: integer tables that the codec's bitstreams depend on; None before calibration.
        written: configuration and tables exactly as in the model file. A later release may know more fields than the
            file; the fingerprint must not change with that. For a model that is not from a diffcodec file: the
            configuration without fields that have their default value.
        profile: bfloat16 error, window margin and gain from mirroring, measured by calibration; not part of the
            fingerprint.
    """

    config: ModelConfig
    card: ModelCard
    weights: Mapping[str, Tensor] = field(repr=False)
    tables: CodecTables | None = field(default=None, repr=False)
    written: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    profile: EvaluationProfile = FLOAT32

    @classmethod
    def of_pipeline(cls, pipeline: Pipeline, name: str) -> Checkpoint:
        """The model of a diffusers pipeline."""
        # Without defaults, so that fields added later do not change the fingerprint: see `written`.
        written = {"config": pipeline.config.essence(), "tables": None}
        card = ModelCard(name, recipe="a diffusers pipeline", licence="that of the pipeline")
        return Checkpoint(pipeline.config, card, pipeline.weights, written=written)

    @cached_property
    def fingerprint(self) -> bytes:
        """4 bytes of the SHA-256 of weights, configuration and tables."""
        return self.computed_fingerprint()

    @cached_property
    def description(self) -> ModelDescription:
        """The model without its weights, with the tables that files use."""
        return self.computed_description()

    def computed_fingerprint(self) -> bytes:
        """`fingerprint`, computed anew."""
        return fingerprint_of(self._description(), (_stored(*item) for item in self._fingerprinted_weights().items()))

    def _fingerprinted_weights(self) -> Mapping[str, Tensor]:
        return self.weights

    def computed_description(self) -> ModelDescription:
        """`description`, computed anew."""
        ready = self.ready()
        assert ready.tables is not None
        return ModelDescription(ready.config, ready.card, ready.tables, ready.fingerprint, self.tables is not None)

    def _description(self) -> Mapping[str, Any]:
        """Configuration and tables in their JSON form."""
        config = tables = None
        if self.written is not None:
            written_config, written_tables = understood(self.written)
            config = self.written["config"] if written_config == self.config else None
            tables = self.written["tables"] if written_tables == self.tables else None
        if config is None:
            # Round trip: an integer in place of a float would be written differently before and after reading.
            config = ModelConfig.from_dict(self.config.to_dict()).to_dict()
        if tables is None and self.tables:
            tables = self.tables.to_dict()
        return {"config": config, "tables": tables}

    def denoiser(self, device: str | torch.device = "cpu", precision: Precision = "auto") -> Denoiser:
        """The network with these weights, in float32 and evaluation mode.

        Args:
            device: where it is put.
            precision: for models that keep their weights elsewhere, see `LatentModel`; ours are float32 in memory.

        Raises:
            ConfigError: if there is no such device.
            CheckpointError: if the weights do not fit the configuration.
        """
        device = check_device(device)
        weights = {name: value.float() for name, value in self.weights.items()}
        try:
            # First on the meta device: a file may claim a network that would not fit into memory.
            with torch.device("meta"):
                Denoiser(self.config).load_state_dict(
                    {name: torch.empty_like(value, device="meta") for name, value in weights.items()}
                )
            model = Denoiser(self.config)
            model.load_state_dict(weights)
        except (RuntimeError, ValueError, ArithmeticError) as error:
            reason = str(error).splitlines()[:2][-1].strip()  # torch's message has a heading before the reasons
            raise CheckpointError(f"{self.card.name}: the weights do not fit the configuration ({reason})") from error
        model.window_margin = self.profile.window_margin
        model = model.eval().requires_grad_(False)
        return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def with_tables(self, tables: CodecTables) -> Self:
        """The same model with other tables, and so another fingerprint."""
        return replace(self, tables=tables)

    def fitting(self, denoiser: Denoiser) -> Denoiser:
        """A network, if it was made for this model's configuration.

        Raises:
            ConfigError: if it was not.
        """
        if denoiser.config != self.config:
            raise ConfigError(f"denoiser: expected a network of the configuration of {self.card.name}, found another")
        return denoiser

    def with_weights_of(self, denoiser: Denoiser) -> Checkpoint:
        """This model, or a copy with the network's weights if they differ."""
        found = {name: value.detach().cpu() for name, value in denoiser.weights().items()}
        if found.keys() == self.weights.keys() and all(
            _is_equal(value, self.weights[name].detach().cpu()) for name, value in found.items()
        ):
            return self
        return replace(self, weights={name: value.clone() for name, value in found.items()})

    def ready(self) -> Self:
        """The model with the tables that files use: its own, or generic ones."""
        if self.tables:
            return self
        tables = default_tables(self.config.schedule)
        # Generic tables are in no file: hash only fields without defaults, so that later fields change nothing.
        written = {"config": self._description()["config"], "tables": tables.essence()}
        return replace(self, tables=tables, written=written)

    def to_bytes(self) -> bytes:
        """The safetensors file, whose metadata holds configuration, card and tables as JSON."""
        metadata = {**self._description(), "card": self.card.to_dict(), "evaluation": self.profile.to_dict()}
        weights = {name: value.detach().cpu().contiguous() for name, value in self.weights.items()}
        return save(weights, {METADATA_KEY: json.dumps(metadata)})


def _is_equal(found: Tensor, stored: Tensor) -> bool:
    """Whether a network has a stored weight, perhaps in another type of floats."""
    if found.is_floating_point() and stored.is_floating_point():
        return torch.equal(found.double(), stored.double())
    return found.dtype == stored.dtype and torch.equal(found, stored)


def _stored(name: str, weight: Tensor) -> StoredTensor:
    """A weight as stored in files; of a type that files do not have, as in fingerprints."""
    values = weight.detach().cpu().contiguous()
    kinds = {dtype: name for name, dtype in TORCH_TYPES.items()}
    kind = kinds.get(values.dtype, str(values.dtype).removeprefix("torch."))
    words = values.reshape(-1).view(torch.uint8).numpy().reshape(-1, values.dtype.itemsize)
    in_order = words if sys.byteorder == "little" else words[:, ::-1]
    return StoredTensor(name, kind, list(values.shape), in_order.tobytes())


def _loaded(tensor: StoredTensor) -> Tensor:
    """Undoes `_stored`."""
    values = np.frombuffer(bytearray(tensor.data), "<i2" if TORCH_TYPES[tensor.type].itemsize == 2 else "<i4")
    native = torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
    return native.view(TORCH_TYPES[tensor.type]).reshape(tensor.shape)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a model file.

    Raises:
        CheckpointError: if it is not one, or damaged.
    """
    file = read_model_file(path)
    weights = {tensor.name: _loaded(tensor) for tensor in file.tensors}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} has infinite or NaN weights")
    return Checkpoint(file.config, file.card, weights, file.tables, file.written, file.profile)


def half_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights rounded to float16.

    Raises:
        CheckpointError: if a value does not fit, or is not finite.
    """
    rounded = {name: value.detach().cpu().half() for name, value in weights.items()}
    for name, value in rounded.items():
        if not torch.isfinite(weights[name]).all():
            raise CheckpointError(f"{name} has infinite or NaN weights")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{name} has weights that are too large for float16")
    return rounded
