"""Finds models: bundled with the package, in files, in folders, on the Hugging Face Hub."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from diffcodec.diffusers_format import hub
from diffcodec.errors import CheckpointError

DEFAULT_MODEL = "cifar10-small-v3"
"""The default model for pictures of up to SMALL_SIDE x SMALL_SIDE."""

PHOTO_MODEL = "photo-small-v1"
"""The default model for larger pictures."""

SMALL_SIDE = 64
"""Longest side, in pixels, of a small picture."""


def bundled_models() -> dict[str, Path]:
    """The model files in the package, by name."""
    folder = Path(str(resources.files("diffcodec") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def default_model(width: int, height: int) -> str:
    """The default model for pictures of a size in pixels."""
    return DEFAULT_MODEL if max(width, height) <= SMALL_SIDE else PHOTO_MODEL


def find_model(source: str | Path, *, allow_pickle: bool = False) -> Path:
    """Path of a model: a bundled file, another file, or a pipeline folder, which is downloaded if necessary.

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
            f"{source}: expected a model file, a diffusers folder or a bundled model; bundled: {names}"
        )
    return path
