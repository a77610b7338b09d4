"""What is computed once for large files and kept in the user's cache: their digests, and embeddings made of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.files import atomic_write

ENVIRONMENT = "DIFFCODEC_CACHE"
"""Environment variable that names another folder than the user's cache."""

DIGESTS = "digests.json"


def cache_folder() -> Path:
    """Where things are kept; it may not exist yet."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else user_cache_path("diffcodec")


def digest_of_files(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file, as hexadecimal numbers.

    A file is read once; its digest is remembered by path, size and time of the last change.

    Raises:
        CheckpointError: if a file cannot be read.
    """
    stored = cache_folder() / DIGESTS
    known = _read_json(stored)
    found, is_new = [], False
    for path in paths:
        try:
            state = path.resolve().stat()
            key = [str(path.resolve()), state.st_size, state.st_mtime_ns]
            name = json.dumps(key)
            if name not in known:
                with path.open("rb") as file:
                    known[name] = hashlib.file_digest(file, "sha256").hexdigest()
                is_new = True
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
        found.append(known[name])
    if is_new:
        # Another process may have added digests meanwhile; what is lost is only computed again.
        _write(stored, json.dumps(_read_json(stored) | known).encode())
    return found


def remembered_tensors(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that were made before, or now.

    Args:
        name: of what they depend on, such as a digest.
        make: makes them.
    """
    path = cache_folder() / f"{name}.safetensors"
    try:
        if path.is_file():
            return dict(load_file(path))
    except (OSError, SafetensorError):
        pass  # damaged: made again
    tensors = {key: value.detach().cpu().contiguous() for key, value in make().items()}
    _write(path, save(tensors))
    return tensors


def _read_json(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _write(path: Path, data: bytes) -> None:
    """Write to the cache if that is possible; a cache that cannot be written costs time, not results."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as file:
            file.write(data)
    except (OSError, ConfigError):
        pass
