"""The parts of a latent model in a pipeline folder, loaded by diffusers when they are needed."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffcodec.config import ModelConfig, Precision
from diffcodec.devices import free_bytes, has_fast_bf16
from diffcodec.diffusers_format.latent_folders import LatentFolder
from diffcodec.errors import CheckpointError
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.latent.cache import digest_of_files, remembered_tensors
from diffcodec.latent.networks import predictor_of
from diffcodec.latent.prompt import Embedding, digest_of_embedding, embedding_of
from diffcodec.latent.stored_weights import check_shapes, main_type
from diffcodec.model.latent_parts import Identity, essential

HALVES = {"encoder": ("decoder", "post_quant_conv"), "decoder": ("encoder", "quant_conv")}
"""For each half of an autoencoder, the modules that it does without."""


FOREIGN_ERRORS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError)
"""What diffusers and transformers raise for folders that they cannot load."""


@dataclass(frozen=True)
class FolderParts:
    """The parts of a pipeline folder.

    Args:
        folder: with one subfolder per part.
        name: for people.
        allow_pickle: whether weights may be unpickled if there are no others.
        stored: the embedding of the empty prompt; None: the folder's own text encoders compute it, once for all.
    """

    folder: LatentFolder
    name: str
    allow_pickle: bool = False
    stored: Embedding | None = None

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.folder.config

    @property
    def device(self) -> torch.device:
        """The CPU, unless another one is asked for."""
        return torch.device("cpu")

    def identity(self) -> Identity:
        """Settings, and digests of the weights' files."""
        components: dict[str, Any] = {}
        for part, component in (("network", self.folder.network), ("autoencoder", self.folder.autoencoder)):
            files = self._weights(component)
            components[part] = {**essential(self.folder.settings(component)), "files": digest_of_files(files)}
        if self.stored is not None:
            components["prompt"] = digest_of_embedding(self.stored)
        elif self.folder.needs_text:
            components["prompt"] = self._digest_of_text()
        return Identity(components, {})

    def network(self, device: torch.device, precision: Precision) -> nn.Module:
        """The network, loaded.

        Args:
            device: where it is put.
            precision: of its weights; `auto`: as stored, or float32 where a CPU is slow with that.

        Raises:
            CheckpointError: if it cannot be loaded, or there is too little memory.
        """
        component, latents = self.folder.network, self.folder.config.latent
        assert latents is not None
        embedding = self.embedding()  # first: its text encoders may need the memory
        dtype = self.weight_type(precision, device)
        return predictor_of(self._load(component, device, dtype), embedding, latents.downscale).to(device)

    def weight_type(self, precision: Precision, device: torch.device) -> torch.dtype:
        """The type in which the network's weights are loaded; float32 counts as stored if there are no weights."""
        files = self.folder.weight_files(self.folder.network, may_miss=True)
        return _type_of(precision, main_type(files), device)

    def empty_network(self) -> nn.Module:
        """The network as configured, without data."""
        _ = self.config
        return self._empty(self.folder.network)

    def empty_autoencoder(self) -> nn.Module:
        """The autoencoder as configured, without data."""
        _ = self.config
        return self._empty(self.folder.autoencoder)

    def autoencoder(self, device: torch.device) -> Autoencoder:
        """The autoencoder in float32, of which only the half that is used is loaded."""
        latents = self.folder.config.latent
        assert latents is not None
        return Autoencoder(latents, *(partial(self._half, half, device) for half in HALVES))

    def with_embedding(self, embedding: Embedding) -> FolderParts:
        """The same folder with a stored embedding, so that text encoders are not needed."""
        return replace(self, stored=embedding)

    def _half(self, half: str, device: torch.device) -> nn.Module:
        module = self._load(self.folder.autoencoder, torch.device("cpu"), torch.float32)
        for name in HALVES[half]:
            if getattr(module, name, None) is not None:
                setattr(module, name, nn.Identity())
        return module.to(device)

    def _weights(self, component: str) -> list[Path]:
        files = self.folder.weight_files(component)
        if files[0].suffix == ".bin" and not self.allow_pickle:
            raise CheckpointError(
                f"{files[0]}: the weights are a Python pickle, which may run code when it is read: allow it if you "
                "trust its source",
                parameters=["allow_pickle"],
            )
        return files

    def _load(self, component: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        files, folder = self._weights(component), self.folder.folder(component)
        empty = self._empty(component)
        check_shapes(empty, files)
        _check_memory(folder, empty, device, dtype)
        with reading(folder):
            module, found = type(empty).from_pretrained(  # type: ignore[attr-defined]
                folder,
                torch_dtype=dtype,
                use_safetensors=files[0].suffix == ".safetensors",
                local_files_only=True,
                output_loading_info=True,
            )
        if missing := sorted(found["missing_keys"]):
            raise CheckpointError(f"{files[0]}: {missing[0]} is missing, which the configuration asks for")
        assert isinstance(module, nn.Module)
        return module.to(device).eval().requires_grad_(False)

    def _empty(self, component: str) -> nn.Module:
        """A component as configured, without data."""
        kind, folder = self.folder.classes[component], self.folder.folder(component)
        module = "diffcodec.diffusers_model" if kind == "DiffcodecModel" else "diffusers"
        with reading(folder), torch.device("meta"):
            made = getattr(importlib.import_module(module), kind).from_config(
                dict(self.folder.settings(component).values)
            )
        assert isinstance(made, nn.Module)
        return made

    def _digest_of_text(self) -> str:
        files = self.folder.text_files()
        named = [
            [path.parent.name, path.name, digest] for path, digest in zip(files, digest_of_files(files), strict=True)
        ]
        kind = self.folder.classes[self.folder.network]
        return hashlib.sha256(json.dumps([kind, *named]).encode()).hexdigest()

    @property
    def needs_text(self) -> bool:
        """Whether the network takes an embedding."""
        return self.folder.needs_text

    def embedding(self) -> Embedding:
        """The stored one, or what the folder's text encoders compute; that is kept in the user's cache.

        Raises:
            CheckpointError: if they are missing or cannot be loaded.
        """
        if self.stored is not None:
            return self.stored
        if not self.folder.needs_text:
            return {}
        return remembered_tensors(f"prompt-{self._digest_of_text()}", self._computed_embedding)

    def _computed_embedding(self) -> Embedding:
        """The embedding of the empty prompt. The text encoders are gone from memory afterwards."""
        folder = self.folder
        kind = folder.index.values.get("_class_name")
        with reading(folder.path):
            import diffusers

            pipeline = getattr(diffusers, str(kind), None)
            if pipeline is None:
                raise CheckpointError(f"{folder.index.path}: _class_name = {kind!r} is not a pipeline of diffusers")
            given = {name: self._empty(name) for name in (folder.network, folder.autoencoder)}
            others = dict.fromkeys(name for name in ("safety_checker", "feature_extractor", "image_encoder"))
            taken = {name: value for name, value in others.items() if name in folder.index.values}
            made = pipeline.from_pretrained(
                folder.path, **given, **taken, use_safetensors=not self.allow_pickle or None, local_files_only=True
            )
            return embedding_of(made, folder.classes[folder.network])


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Errors of diffusers and transformers become ours, and their notes about harmless things are not printed.

    Raises:
        CheckpointError: for any of them.
    """
    try:
        from diffusers.utils import logging
        from safetensors import SafetensorError
        from transformers.utils import logging as text_logging
    except ImportError as error:
        raise CheckpointError(
            f"{folder}: latent diffusion models need diffusers and transformers: run `pip install 'diffcodec[latent]'`"
        ) from error
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), text_logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    text_logging.disable_progress_bar()
    try:
        yield
    except (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CheckpointError(f"{folder}: cannot be loaded ({' '.join(lines[:2]) or type(error).__name__})") from error
    finally:
        verbosity, has_bar, has_text_bar = before
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
        if has_text_bar:
            text_logging.enable_progress_bar()


def _type_of(precision: Precision, stored: torch.dtype, device: torch.device) -> torch.dtype:
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cpu" and not (stored == torch.bfloat16 and has_fast_bf16(device)):
        return torch.float32
    return stored


def _check_memory(folder: Path, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse to load what does not fit.

    Raises:
        CheckpointError: if there is less memory than the weights need.
    """
    count = sum(value.numel() for value in module.state_dict().values())
    needed, free = count * dtype.itemsize, free_bytes(device)
    if free is not None and needed > free:
        raise CheckpointError(
            f"{folder}: {count / 1e6:.0f} million weights need {needed / 1e9:.1f} GB in {dtype}, but "
            f"{free / 1e9:.1f} GB are free on {device}",
            parameters=["precision", "device"],
        )
