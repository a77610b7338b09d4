"""Models: weights, configuration, integer tables of the codec, a fingerprint; their files, and where they come from.

Model files are safetensors, never pickle.
"""

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
from diffcodec.diffusers_format import hub
from diffcodec.diffusers_format.reading import read_pipeline
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.tables import CodecTables
from diffcodec.uncalibrated import uncalibrated_tables

METADATA_KEY = "diffcodec"

WEIGHT_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
"""Types that weights may be stored in, and what safetensors and fingerprints call them."""

DEFAULT_MODEL = "cifar10-small-v3"
"""The bundled model that is used where none is named, for pictures of up to SMALL_SIDE x SMALL_SIDE."""

PHOTO_MODEL = "photo-small-v1"
"""The bundled model for larger pictures."""

SMALL_SIDE = 64
"""Longest side, in pixels, of what counts as a small picture."""


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
        weights: tensors by parameter name, of types in WEIGHT_TYPES: float16 those of our own training, as they were
            those of others. They are the model: every computation starts from these values, widened to float32.
        tables: what the codec's bitstreams depend on; None before calibration.
        written: configuration and tables as the model file has them. A later release may know more fields than
            the file; the fingerprint must not change with that. A model that is not from a file of ours has its
            configuration without what is as by default.
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
            values = self.weights[name].detach().cpu().contiguous()
            kind = WEIGHT_TYPES[values.dtype]
            # The first models had but one type, and did not name it.
            digest.update(_canonical([name, list(values.shape), *([] if kind == "F16" else [kind])]))
            digest.update(_little_endian(values))
        return digest.digest()[:4]

    def _description(self) -> Mapping[str, Any]:
        """Configuration and tables in their JSON form."""
        # There and back: an integer where a float belongs would be written in another way than it is read.
        config = ModelConfig.from_dict(self.config.to_dict()).to_dict()
        tables = self.tables.to_dict() if self.tables else None
        if self.written is not None:
            written_config, written_tables = _understood(self.written)
            config = self.written["config"] if written_config == self.config else config
            tables = self.written["tables"] if written_tables == self.tables else tables
        return {"config": config, "tables": tables}

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
            reason = str(error).splitlines()[:2][-1].strip()  # torch has a heading before the first of its reasons
            raise CheckpointError(f"{self.card.name}: the weights do not fit the configuration ({reason})") from error
        model = model.eval().requires_grad_(False)
        return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def with_tables(self, tables: CodecTables) -> Checkpoint:
        """The same model with other tables, hence another fingerprint."""
        return replace(self, tables=tables)

    def ready(self) -> Checkpoint:
        """The model as files are made with it: with its own tables, or with those that fit networks in general."""
        if self.tables:
            return self
        tables = uncalibrated_tables(self.config.schedule)
        # They are in no file: as if the first release that makes such tables had written them.
        written = {"config": self._description()["config"], "tables": tables.essence()}
        return replace(self, tables=tables, written=written)

    def to_bytes(self) -> bytes:
        """The safetensors file, whose metadata holds configuration, card and tables as JSON."""
        metadata = {**self._description(), "card": self.card.to_dict()}
        weights = {name: value.detach().cpu().contiguous() for name, value in self.weights.items()}
        return save(weights, {METADATA_KEY: json.dumps(metadata)})


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _little_endian(values: Tensor) -> bytes:
    if values.dtype == torch.bfloat16:  # which numpy does not know
        values = values.view(torch.int16)
    array = values.numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def load_checkpoint(source: str | Path, *, allow_pickle: bool = False) -> Checkpoint:
    """Load a model from wherever it is.

    Args:
        source: name of a bundled model, path of a model file or of a diffusers pipeline folder, or `hf:NAME` (perhaps
            `hf:NAME@REVISION`) of a pipeline on the Hugging Face Hub.
        allow_pickle: whether the weights of a pipeline may be unpickled where there are no others.

    Raises:
        CheckpointError: if there is no such model, or it is damaged or of another kind.
    """
    path = find_model(source, allow_pickle=allow_pickle)
    if path.is_dir():
        name = str(source).removeprefix(hub.PREFIX) if str(source).startswith(hub.PREFIX) else path.resolve().name
        return _from_pipeline(path, name, allow_pickle)
    return _from_file(path)


def _from_pipeline(folder: Path, name: str, allow_pickle: bool) -> Checkpoint:
    pipeline = read_pipeline(folder, allow_pickle=allow_pickle)
    # As if it had been written by the first release that imports: see `Checkpoint.written`.
    written = {"config": pipeline.config.essence(), "tables": None}
    card = ModelCard(name, recipe="a diffusers pipeline", licence="that of the pipeline")
    return Checkpoint(pipeline.config, card, pipeline.weights, written=written)


def _from_file(path: Path) -> Checkpoint:
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
    for name, value in weights.items():
        if value.dtype not in WEIGHT_TYPES or not torch.isfinite(value).all():
            known = ", ".join(WEIGHT_TYPES.values())
            raise CheckpointError(f"{path}: {name}: expected finite weights of type {known}, found {value.dtype}")
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


def default_model(width: int, height: int) -> str:
    """The bundled model for pictures of a size in pixels, where none is named."""
    return DEFAULT_MODEL if max(width, height) <= SMALL_SIDE else PHOTO_MODEL


def find_model(source: str | Path, *, allow_pickle: bool = False) -> Path:
    """Path of a bundled model's file, of the file itself, or of a pipeline folder, which is downloaded if need be.

    Args:
        source, allow_pickle: see `load_checkpoint`.

    Raises:
        CheckpointError: if it is none of them.
    """
    bundled = bundled_models()
    if str(source) in bundled:
        return bundled[str(source)]
    if str(source).startswith(hub.PREFIX):
        return hub.download(str(source).removeprefix(hub.PREFIX), allow_pickle=allow_pickle)
    path = Path(source)
    if not path.is_file() and not path.is_dir():
        names = ", ".join(bundled) or "none"
        raise CheckpointError(
            f"{source}: neither a model file, nor a diffusers folder, nor a bundled model; bundled: {names}"
        )
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
