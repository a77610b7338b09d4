"""Loads models of any kind, from files, folders and the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from diffcodec.diffusers_format import hub
from diffcodec.diffusers_format.latent_folders import LatentFolder, is_latent
from diffcodec.diffusers_format.reading import read_pipeline
from diffcodec.errors import CheckpointError
from diffcodec.model.checkpoint import Checkpoint, read_checkpoint
from diffcodec.model.locations import find_model


def load_checkpoint(source: str | Path, *, allow_pickle: bool = False, tables: str | Path | None = None) -> Checkpoint:
    """Load a model.

    Args:
        source: name of a bundled model, path of a model file or of a diffusers pipeline folder, or `hf:NAME` or
            `hf:NAME@REVISION` for a pipeline on the Hugging Face Hub.
        allow_pickle: whether a pipeline's weights may be unpickled if there are no safetensors.
        tables: file of a latent model's calibration; None: the one in its folder, if there is one.

    Raises:
        CheckpointError: if there is no such model, or it is damaged or of an unsupported kind.
        WrongTypeError: if the source is neither a name nor a path.
    """
    path = find_model(source, allow_pickle=allow_pickle, with_text=tables is None)
    name = str(source).removeprefix(hub.PREFIX) if str(source).startswith(hub.PREFIX) else path.resolve().name
    if path.is_dir() and is_latent(path):
        return _latent(path, name, allow_pickle, tables)
    if tables is not None:
        raise CheckpointError(f"{name}: only latent models have tables of their own", parameters=["tables"])
    if path.is_dir():
        return Checkpoint.of_pipeline(read_pipeline(path, allow_pickle=allow_pickle), name)
    return read_checkpoint(path)


def _latent(path: Path, name: str, allow_pickle: bool, tables: str | Path | None) -> Checkpoint:
    # Not before it is needed: it imports torch's dispatcher for external networks, and, later, diffusers.
    from diffcodec.model.latent import LatentModel
    from diffcodec.model.latent_folder import FolderParts
    from diffcodec.model.tables_file import TABLES_FILE, with_stored_tables

    model = LatentModel.of_parts(FolderParts(LatentFolder(path), name, allow_pickle))
    found = Path(tables) if tables is not None else path / TABLES_FILE
    return with_stored_tables(model, found) if tables is not None or found.is_file() else model
