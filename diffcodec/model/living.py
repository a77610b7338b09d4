"""Models whose weights lie outside of model files, and may change while a program runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcodec.config import ModelConfig
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.description import ModelDescription


@dataclass(frozen=True)
class LivingModel(Checkpoint):
    """A model whose network may be trained between two files: its fingerprint is computed each time."""

    @property
    def fingerprint(self) -> bytes:
        """4 bytes of the SHA-256 of weights, configuration and tables as they are now."""
        return self.computed_fingerprint()

    @property
    def description(self) -> ModelDescription:
        """The model without its weights, with the fingerprint that they have now."""
        return self.computed_description()

    def _description(self) -> Mapping[str, Any]:
        # Without defaults, so that fields added later do not change the fingerprint.
        config = ModelConfig.from_dict(self.config.to_dict()).essence()
        return {"config": config, "tables": None if self.tables is None else self.tables.essence()}
