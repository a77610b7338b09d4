"""Model files: weights, configuration, integer tables of the codec, and a fingerprint. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffcodec.config import JsonConfig, ModelConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.tables import CodecTables

METADATA_KEY = "diffcodec"

DEFAULT_MODEL = "cifar10-small-v3"
"""The bundled model that is used where none is named."""


@dataclass(frozen=True)
class ModelCard(JsonConfig):
    """What a person should know about a model; not part of the fingerprint.

    Args:
        name: versioned, such as `cifar10-small-v1`.
        data, recipe, time: what it was trained on, how, and for how long.
        numbers: measured figures, by name.
        licence: of the weights.
    """

    name: str
    data: str = ""
    recipe: str = ""
    time: str = ""
    numbers: str = ""
    licence: str = "MIT"


@dataclass(frozen=True)
class Checkpoint:
    """A model as it is stored.

    Args:
        config: network, schedule, parametrisation.
        card: for people.
        weights: float16 tensors by parameter name. They are the model: every computation starts from
            these rounded values, widened to float32.
        tables: what the codec's bitstreams depend on; None before calibration.
        written: configuration and tables as the model file has them. A later release may know more fields than
            the file; the fingerprint must not change with that.
    """

    config: ModelConfig
    card: ModelCard
    weights: Mapping[str, Tensor] = field(repr=False)
    tables: CodecTables | None = field(default=None, repr=False)
    written: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def fingerprint(self) -> bytes:
        """4 bytes that change with the weights, the configuration or the tables (SHA-256, cut)."""
        digest = hashlib.sha256()
        description = self._description()
        digest.update(_canonical(description["config"]))
        digest.update(_canonical(description["tables"]))
        for name in sorted(self.weights):
            values = self.weights[name].detach().cpu().contiguous().numpy().astype("<f2", copy=False)
            digest.update(_canonical([name, list(values.shape)]))
            digest.update(values.tobytes())
        return digest.digest()[:4]

    def _description(self) -> Mapping[str, Any]:
        """Configuration and tables in their JSON form."""
        if self.written is not None and _understood(self.written) == (self.config, self.tables):
            return self.written
        # There and back: an integer where a float belongs would be written in another way than it is read.
        config = ModelConfig.from_dict(self.config.to_dict()).to_dict()
        return {"config": config, "tables": self.tables.to_dict() if self.tables else None}

    def denoiser(self, device: str | torch.device = "cpu") -> Denoiser:
        """The network with these weights, in float32 and evaluation mode.

        Raises:
            CheckpointError: if the weights do not fit the configuration.
        """
        weights = {name: value.float() for name, value in self.weights.items()}
        try:
            # A network of shapes alone comes first: a file may claim one that would not fit into memory.
            with torch.device("meta"):
                Denoiser(self.config).load_state_dict(
                    {name: torch.empty_like(value, device="meta") for name, value in weights.items()}
                )
            model = Denoiser(self.config)
            model.load_state_dict(weights)
        except (RuntimeError, ValueError, ArithmeticError) as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[:2])
            raise CheckpointError(f"{self.card.name}: the weights do not fit the configuration ({reason})") from error
        model = model.eval().requires_grad_(False)
        return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def with_tables(self, tables: CodecTables) -> Checkpoint:
        """The same model with other tables, hence another fingerprint."""
        return replace(self, tables=tables)

    def to_bytes(self) -> bytes:
        """The safetensors file, whose metadata holds configuration, card and tables as JSON."""
        metadata = {**self._description(), "card": self.card.to_dict()}
        weights = {name: value.detach().cpu().half().contiguous() for name, value in self.weights.items()}
        return save(weights, {METADATA_KEY: json.dumps(metadata)})


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Load a bundled model by name, or a model file by path.

    Raises:
        CheckpointError: if there is no such model, or the file is damaged or of another kind.
    """
    path = find_model(source)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a model file ({error})") from error
    if metadata is None:
        raise CheckpointError(f"{path}: a safetensors file, but not of a diffcodec model")
    try:
        data = json.loads(metadata)
        written = {"config": data["config"], "tables": data["tables"]}
        config, tables = _understood(written)
        card = ModelCard.from_dict(data["card"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its description is not understood ({error})") from error
    if any(value.dtype != torch.float16 or not torch.isfinite(value).all() for value in weights.values()):
        raise CheckpointError(f"{path}: expected finite float16 weights")
    return Checkpoint(config, card, weights, tables, written)


def _understood(written: Mapping[str, Any]) -> tuple[ModelConfig, CodecTables | None]:
    """Configuration and tables from their JSON form.

    Raises:
        ConfigError: if they make no sense.
    """
    tables = CodecTables.from_dict(written["tables"]) if written["tables"] else None
    return ModelConfig.from_dict(written["config"]), tables


def bundled_models() -> dict[str, Path]:
    """The model files that come with the package, by name."""
    folder = Path(str(resources.files("diffcodec") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_model(source: str | Path) -> Path:
    """Path of a bundled model's file or of the file itself.

    Raises:
        CheckpointError: if it is neither.
    """
    bundled = bundled_models()
    if str(source) in bundled:
        return bundled[str(source)]
    path = Path(source)
    if not path.is_file():
        names = ", ".join(bundled) or "none"
        raise CheckpointError(f"{source}: neither a model file nor a bundled model; bundled: {names}")
    return path


def half_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights rounded to float16.

    Raises:
        CheckpointError: if a value does not fit.
    """
    rounded = {name: value.detach().cpu().half() for name, value in weights.items()}
    if any(not np.isfinite(value.numpy()).all() for value in rounded.values()):
        raise CheckpointError("a weight is too large for float16, or not a number")
    return rounded
