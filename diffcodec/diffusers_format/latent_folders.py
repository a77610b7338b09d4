"""Pipeline folders of latent diffusion models: their components, checked. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffcodec.config import ModelConfig
from diffcodec.diffusers_format.folders import INDEX, NETWORK_CONFIG, SCHEDULER_CONFIG
from diffcodec.diffusers_format.latents import (
    AUTOENCODER_CLASS,
    FLOW_CLASSES,
    UNCONDITIONAL,
    UNET_CLASSES,
    latent_model_of,
)
from diffcodec.diffusers_format.settings import Settings, read_json
from diffcodec.diffusers_format.vocabulary import SCHEDULER_DEFAULTS
from diffcodec.errors import CheckpointError

AUTOENCODERS = ("vae", "vqvae")
"""Names of the autoencoder among the components."""

NETWORKS = {"unet": UNET_CLASSES, "transformer": FLOW_CLASSES}
"""Names of the network among the components, and its supported classes."""

TEXT_COMPONENTS = ("tokenizer", "text_encoder")
"""Beginnings of the names of the components that make the embedding of a text."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
"""Files of a tokenizer on which the tokens of a text depend."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that a codec does without."""

WEIGHTS_SUFFIXES = (".safetensors", ".bin")


def is_latent(folder: Path) -> bool:
    """Whether a folder holds a pipeline with an autoencoder.

    Raises:
        CheckpointError: if its index is not JSON.
    """
    index = folder / INDEX
    return index.is_file() and any(_class_of(read_json(index).get(name)) for name in AUTOENCODERS)


@dataclass(frozen=True)
class LatentFolder:
    """A pipeline folder of a latent diffusion model. Its weights need not be there.

    Args:
        path: of the folder.

    Raises:
        CheckpointError: on access, for anything missing or unsupported; it names the file, the key and the value.
    """

    path: Path

    @cached_property
    def index(self) -> Settings:
        """The list of components."""
        return Settings.read(self.path / INDEX, {})

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """The class of every component that is there."""
        named = {name: _class_of(value) for name, value in self.index.values.items() if not name.startswith("_")}
        return {name: kind for name, kind in named.items() if kind}

    @cached_property
    def autoencoder(self) -> str:
        """The name of the autoencoder's component."""
        (name,) = [name for name in AUTOENCODERS if name in self.classes][:1]
        self._check_class(name, (AUTOENCODER_CLASS,))
        return name

    @cached_property
    def network(self) -> str:
        """The name of the network's component."""
        found = [name for name in NETWORKS if name in self.classes]
        if not found:
            raise CheckpointError(f"{self.index.path}: {' or '.join(NETWORKS)} is missing")
        self._check_class(found[0], NETWORKS[found[0]])
        return found[0]

    @cached_property
    def text_components(self) -> tuple[str, ...]:
        """Names of tokenizers and text encoders."""
        return tuple(name for name in self.classes if name.startswith(TEXT_COMPONENTS))

    @property
    def needs_text(self) -> bool:
        """Whether the network takes the embedding of a text."""
        return self.classes[self.network] not in UNCONDITIONAL

    @cached_property
    def config(self) -> ModelConfig:
        """The model."""
        if "scheduler" not in self.classes:
            raise CheckpointError(f"{self.index.path}: scheduler is missing")
        for name in self.classes:
            known = (*AUTOENCODERS, *NETWORKS, "scheduler", *UNUSED)
            if name not in known and not name.startswith(TEXT_COMPONENTS):
                value = self.index.values[name]
                raise CheckpointError(f"{self.index.path}: {name} = {value!r} is not supported")
        if self.needs_text and not self.text_components:
            raise CheckpointError(f"{self.index.path}: text_encoder is missing")
        scheduler = Settings.read(self._config_file("scheduler", SCHEDULER_CONFIG), SCHEDULER_DEFAULTS)
        return latent_model_of(self.settings(self.network), scheduler, self.settings(self.autoencoder))

    def settings(self, component: str) -> Settings:
        """The configuration of a component."""
        return Settings.read(self._config_file(component, NETWORK_CONFIG), {"_class_name": self.classes[component]})

    def folder(self, component: str) -> Path:
        """The folder of a component."""
        return self.path / component

    def weight_files(self, component: str, *, may_miss: bool = False) -> list[Path]:
        """The files of a component's weights.

        Raises:
            CheckpointError: if there are none, unless they `may_miss`.
        """
        folder = self.folder(component)
        for suffix in WEIGHTS_SUFFIXES:
            # Other variants (`.fp16.safetensors`) lie beside the weights that are used.
            if found := sorted(path for path in folder.glob(f"*{suffix}") if _is_main(path)):
                return found
        if may_miss:
            return []
        raise CheckpointError(f"{folder}: no weights: expected a file that ends in {WEIGHTS_SUFFIXES[0]}")

    def text_files(self) -> list[Path]:
        """The files on which the embedding of a text depends.

        Raises:
            CheckpointError: if a component is missing.
        """
        found = []
        for name in self.text_components:
            folder = self.folder(name)
            if not folder.is_dir():
                raise CheckpointError(f"{folder} is missing, which {INDEX} lists as {self.classes[name]}")
            if name.startswith("tokenizer"):
                found += [path for file in TOKENIZER_FILES if (path := folder / file).is_file()]
            else:
                found += [self._config_file(name, NETWORK_CONFIG), *self.weight_files(name)]
        return found

    def _config_file(self, component: str, name: str) -> Path:
        path = self.folder(component) / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing, which {INDEX} lists as {self.classes[component]}")
        return path

    def _check_class(self, component: str, supported: tuple[str, ...]) -> None:
        if (found := self.classes[component]) not in supported:
            raise CheckpointError(
                f"{self.index.path}: {component} = {found} is not supported; expected {' or '.join(supported)}"
            )


def _class_of(value: Any) -> str:
    """The class of a component in the index; empty if it is not there."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str):
        return value[1]
    return ""


def _is_main(path: Path) -> bool:
    """Whether a file of weights is none of another variant, such as `model.fp16.safetensors`."""
    stem = path.name.removesuffix(path.suffix)
    return "." not in stem
