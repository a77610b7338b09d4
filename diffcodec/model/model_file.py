"""Model files: safetensors whose metadata holds configuration, tables and card as JSON. Torch-free, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, deserialize, safe_open

from diffcodec.config import ModelConfig
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.json_config import JsonConfig
from diffcodec.model.evaluation_profile import FLOAT32, EvaluationProfile
from diffcodec.model.tables import CodecTables

METADATA_KEY = "diffcodec"

WEIGHT_TYPES = ("F16", "BF16", "F32")
"""Types that weights may be stored in, as named in safetensors and fingerprints."""

FINGERPRINT_BYTES = 4


@dataclass(frozen=True)
class ModelCard(JsonConfig):
    """Description of a model for people; not part of the fingerprint.

    Args:
        name: versioned, such as `cifar10-small-v1`.
        data, recipe, time: training data, method and duration.
        numbers: measured figures, as text.
        licence: of the weights.
    """

    name: str
    data: str = ""
    recipe: str = ""
    time: str = ""
    numbers: str = ""
    licence: str = "MIT"


class StoredTensor(NamedTuple):
    """A stored weight.

    Args:
        name: of the parameter.
        type: one of WEIGHT_TYPES.
        shape: of the tensor.
        data: its values, little-endian, row by row.
    """

    name: str
    type: str
    shape: list[int]
    data: bytes


@dataclass(frozen=True)
class ModelFile:
    """A parsed model file.

    Args:
        config: network, schedule, parametrisation.
        card: description for people.
        tables: of the codec; None before calibration.
        written: configuration and tables exactly as in the file, see `Checkpoint.written`.
        tensors: the weights.
        profile: bfloat16 error, window margin and gain from mirroring, measured by calibration.
    """

    config: ModelConfig
    card: ModelCard
    tables: CodecTables | None
    written: Mapping[str, Any]
    tensors: list[StoredTensor] = field(repr=False)
    profile: EvaluationProfile = FLOAT32

    @property
    def fingerprint(self) -> bytes:
        """4 bytes of the SHA-256 of weights, configuration and tables."""
        return fingerprint_of(self.written, self.tensors)


def read_model_file(path: Path) -> ModelFile:
    """Read a model file.

    Raises:
        CheckpointError: if it is not one, or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
        raw = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a model file ({error})") from error
    if metadata is None:
        raise CheckpointError(f"{path}: a safetensors file, but not a diffcodec model")
    try:
        data = json.loads(metadata)
        written = {"config": data["config"], "tables": data["tables"]}
        config, tables = understood(written)
        if tables is not None and len(tables.timesteps) != config.schedule.steps:
            raise ConfigError(f"{config.schedule.steps} timesteps, but tables of {len(tables.timesteps)}")
        card = ModelCard.from_dict(data["card"])
        profile = EvaluationProfile.from_dict(data.get("evaluation", {}))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its description is invalid ({error})") from error
    tensors = [StoredTensor(name, value["dtype"], value["shape"], bytes(value["data"])) for name, value in raw]
    for tensor in tensors:
        if tensor.type not in WEIGHT_TYPES:
            known = ", ".join(WEIGHT_TYPES)
            raise CheckpointError(f"{path}: {tensor.name}: expected weights of type {known}, found {tensor.type}")
    return ModelFile(config, card, tables, written, tensors, profile)


def understood(written: Mapping[str, Any]) -> tuple[ModelConfig, CodecTables | None]:
    """Configuration and tables from their JSON form.

    Raises:
        ConfigError: if they are invalid.
    """
    tables = CodecTables.from_dict(written["tables"]) if written["tables"] else None
    return ModelConfig.from_dict(written["config"]), tables


def fingerprint_of(description: Mapping[str, Any], tensors: Iterable[StoredTensor]) -> bytes:
    """The first FINGERPRINT_BYTES of the SHA-256 of configuration, tables and weights.

    Args:
        description: `config` and `tables` in their JSON form.
        tensors: the weights.
    """
    digest = hashlib.sha256()
    digest.update(_canonical(description["config"]))
    digest.update(_canonical(description["tables"]))
    for tensor in sorted(tensors):
        # The first models had only float16, and did not name it.
        named_type = [] if tensor.type == "F16" else [tensor.type]
        digest.update(_canonical([tensor.name, tensor.shape, *named_type]))
        digest.update(tensor.data)
    return digest.digest()[:FINGERPRINT_BYTES]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
