"""Descriptions of models by their names, without torch where that is possible."""

from __future__ import annotations

from pathlib import Path

from diffcodec.model.description import ModelDescription, describe_file
from diffcodec.model.locations import find_model


def describe_model(
    model: str | Path, *, allow_pickle: bool = False, tables: str | Path | None = None
) -> ModelDescription:
    """The description of a model. Model files are read without torch.

    Args:
        model, allow_pickle, tables: see `load_checkpoint`.

    Raises:
        CheckpointError: if there is no such model.
    """
    path = find_model(model, allow_pickle=allow_pickle, with_text=tables is None)
    if path.is_file() and tables is None:
        return describe_file(path)
    from diffcodec.model.loading import load_checkpoint

    return load_checkpoint(model, allow_pickle=allow_pickle, tables=tables).description
