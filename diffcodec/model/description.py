"""Descriptions of models: everything that a stream depends on besides the weights. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from diffcodec.config import ModelConfig
from diffcodec.errors import ModelMismatchError
from diffcodec.model.default_tables import default_tables
from diffcodec.model.locations import bundled_models
from diffcodec.model.model_file import ModelCard, ModelFile, fingerprint_of, read_model_file
from diffcodec.model.tables import CodecTables


@dataclass(frozen=True)
class ModelDescription:
    """A model without its weights.

    Args:
        config: network, schedule, parametrisation.
        card: description for people.
        tables: its own, or generic ones.
        fingerprint: of the model with these tables.
        is_calibrated: whether the tables are its own; generic ones make files larger, and lossless files impossible.
    """

    config: ModelConfig
    card: ModelCard
    tables: CodecTables
    fingerprint: bytes
    is_calibrated: bool = True


def describe_file(path: Path) -> ModelDescription:
    """The description of a model file. The last few are cached as long as the files do not change.

    Raises:
        CheckpointError: if it is not a model file.
    """
    try:
        status = path.stat()
    except OSError:
        return describe(read_model_file(path))
    return _describe_once(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _describe_once(path: Path, changed_ns: int, size: int) -> ModelDescription:
    return describe(read_model_file(path))


def describe(file: ModelFile) -> ModelDescription:
    """The description of a model file that has been read."""
    if file.tables is not None:
        return ModelDescription(file.config, file.card, file.tables, file.fingerprint)
    tables = default_tables(file.config.schedule)
    written = {"config": file.written["config"], "tables": tables.essence()}
    return ModelDescription(file.config, file.card, tables, fingerprint_of(written, file.tensors), is_calibrated=False)


def find_bundled(fingerprint: bytes, name: str = "the stream") -> Path:
    """The file of the bundled model with a given fingerprint.

    Args:
        fingerprint: as in a stream's header.
        name: of the stream, for messages.

    Raises:
        ModelMismatchError: if there is none.
    """
    available = []
    for path in reversed(bundled_models().values()):  # the newest first: it made most files
        found = describe_file(path).fingerprint
        if found == fingerprint:
            return path
        available.append(found.hex())
    raise ModelMismatchError(fingerprint.hex(), sorted(available), name)
