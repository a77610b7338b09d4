"""Descriptions of models by their names, without torch where that is possible."""

from __future__ import annotations

from pathlib import Path

from diffcodec.model.description import ModelDescription, describe_file
from diffcodec.model.locations import find_model


def describe_model(model: str | Path, *, allow_pickle: bool = False) -> ModelDescription:
    """The description of a model. Model files are read without torch; pipelines are loaded.

    Args:
        model, allow_pickle: see `load_checkpoint`.

    Raises:
        CheckpointError: if there is no such model.
    """
    path = find_model(model, allow_pickle=allow_pickle)
    if path.is_file():
        return describe_file(path)
    from diffcodec.model.checkpoint import load_checkpoint

    return load_checkpoint(model, allow_pickle=allow_pickle).description
