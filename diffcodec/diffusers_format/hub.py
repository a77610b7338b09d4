"""Pipelines of the Hugging Face Hub, through huggingface_hub and its cache."""

from __future__ import annotations

from pathlib import Path

from diffcodec.diffusers_format.folders import (
    INDEX,
    NETWORK_CONFIG,
    PICKLED_WEIGHTS,
    SCHEDULER_CONFIG,
    SHARDS,
    WEIGHTS,
    read_config,
)
from diffcodec.errors import CheckpointError

PREFIX = "hf:"


def download(name: str, *, allow_pickle: bool = False) -> Path:
    """The folder of a pipeline, downloaded unless it is in the cache.

    Args:
        name: of the repository, such as `google/ddpm-cifar10-32`, optionally with `@REVISION`.
        allow_pickle: whether to download pickled weights if there are no others.

    Raises:
        CheckpointError: if there is no such pipeline, or it cannot be downloaded.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{PREFIX}{name}: downloading needs huggingface_hub: run `pip install 'diffcodec[hub]'`, or pass the path "
            "of a pipeline folder"
        ) from error
    repository, _, revision = name.partition("@")

    def fetch(*files: str) -> Path:
        patterns = [*files, *(f"{folder}/{file}" for folder in ("unet", "scheduler") for file in files)]
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))

    try:
        # Refuse an unsupported model before its weights are downloaded.
        folder = fetch(INDEX, NETWORK_CONFIG, SCHEDULER_CONFIG, SHARDS)
        read_config(folder)
        fetch(WEIGHTS, WEIGHTS.replace(".", "-*-of-*."))
        if allow_pickle and not any(folder.glob("**/*.safetensors")):
            fetch(PICKLED_WEIGHTS)
        return folder
    except HFValidationError as error:
        raise CheckpointError(f"{PREFIX}{name}: expected a name such as google/ddpm-cifar10-32") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{PREFIX}{name}: cannot be downloaded ({reason}); offline, pass the path of a pipeline folder"
        ) from error
