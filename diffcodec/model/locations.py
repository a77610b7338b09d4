"""Finds models: bundled with the package, in files, in folders, on the Hugging Face Hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from diffcodec.diffusers_format import hub
from diffcodec.errors import CheckpointError, WrongTypeError, kind_of

DEFAULT_MODEL = "cifar10-small-v3"
"""The default model for pictures of up to SMALL_SIDE x SMALL_SIDE."""

PHOTO_MODEL = "photo-small-v3"
"""The default model for larger pictures."""

SMALL_SIDE = 64
"""Longest side, in pixels, of a small picture."""

_MOST_SHOWN = 300
"""Characters of a name that messages show."""


def bundled_models() -> dict[str, Path]:
    """The model files in the package, by name."""
    folder = Path(str(resources.files("diffcodec") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def default_model(width: int, height: int) -> str:
    """The default model for pictures of a size in pixels."""
    return DEFAULT_MODEL if max(width, height) <= SMALL_SIDE else PHOTO_MODEL


def find_model(source: str | Path, *, allow_pickle: bool = False, with_text: bool = True) -> Path:
    """Path of a model: a bundled file, another file, or a pipeline folder, which is downloaded if necessary.

    Args:
        source, allow_pickle: see `load_checkpoint`.
        with_text: whether to download text encoders, too.

    Raises:
        CheckpointError: if it is none of them.
        WrongTypeError: if it is neither a name nor a path.
    """
    if not isinstance(source, str | Path):
        raise WrongTypeError(f"model: expected a name or a path, found {kind_of(source)}")
    bundled = bundled_models()
    if str(source) in bundled:
        return bundled[str(source)]
    if str(source).startswith(hub.PREFIX):
        return hub.download(str(source).removeprefix(hub.PREFIX), allow_pickle=allow_pickle, with_text=with_text)
    path = Path(source)
    # os.path returns False where Path would raise: for names that are too long, or inaccessible.
    if not os.path.isfile(path) and not os.path.isdir(path):
        names = ", ".join(bundled) or "none"
        raise CheckpointError(
            f"{_shortened(str(source))}: expected a model file, a diffusers folder or a bundled model; bundled: {names}"
        )
    return path


def _shortened(name: str) -> str:
    """A name for messages."""
    return name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}..."
