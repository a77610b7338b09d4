"""Pipelines of the Hugging Face Hub, through huggingface_hub and its cache."""

from __future__ import annotations

from collections.abc import Iterable
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
from diffcodec.diffusers_format.latent_folders import TOKENIZER_FILES, LatentFolder, is_latent
from diffcodec.errors import CheckpointError

PREFIX = "hf:"

TEXT_WEIGHTS = "model.safetensors"
TEXT_SHARDS = "model.safetensors.index.json"
PICKLED_TEXT_WEIGHTS = "pytorch_model.bin"
"""Files of text encoders, as the library transformers names them."""


def download(name: str, *, allow_pickle: bool = False, with_text: bool = True) -> Path:
    """The folder of a pipeline, downloaded unless it is in the cache.

    Args:
        name: of the repository, such as `google/ddpm-cifar10-32`, optionally with `@REVISION`.
        allow_pickle: whether to download pickled weights if there are no others.
        with_text: whether to download the text encoders of latent models.

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

    def fetch(components: Iterable[str], *files: str) -> Path:
        patterns = [*files, *(f"{folder}/{file}" for folder in components for file in files)]
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))

    try:
        # Refuse an unsupported model before its weights are downloaded.
        folder = fetch(("unet", "scheduler"), INDEX, NETWORK_CONFIG, SCHEDULER_CONFIG, SHARDS)
        if is_latent(folder):
            latent = LatentFolder(folder)
            fetch(latent.classes, NETWORK_CONFIG, SCHEDULER_CONFIG, SHARDS, TEXT_SHARDS)
            _ = latent.config
            texts = latent.text_components if latent.needs_text and with_text else ()
            fetch([name for name in texts if name.startswith("tokenizer")], *TOKENIZER_FILES)
            encoders = [name for name in texts if not name.startswith("tokenizer")]
        else:
            latent, encoders = None, []
            read_config(folder)
        networks = ("unet",) if latent is None else (latent.network, latent.autoencoder)
        fetch(networks, *_with_parts(WEIGHTS))
        fetch(encoders, *_with_parts(TEXT_WEIGHTS))
        if allow_pickle and not any(folder.glob("**/*.safetensors")):
            fetch(networks, PICKLED_WEIGHTS)
            fetch(encoders, PICKLED_TEXT_WEIGHTS)
        return folder
    except HFValidationError as error:
        raise CheckpointError(f"{PREFIX}{name}: expected a name such as google/ddpm-cifar10-32") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{PREFIX}{name}: cannot be downloaded ({reason}); offline, pass the path of a pipeline folder"
        ) from error


def _with_parts(weights: str) -> tuple[str, str]:
    """Patterns of a file of weights, or of its parts."""
    return weights, weights.replace(".", "-*-of-*.")
