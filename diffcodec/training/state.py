"""The file from which a killed run is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from diffcodec.config import ModelConfig
from diffcodec.errors import CheckpointError, ConfigError, DiffCodecError
from diffcodec.files import atomic_write
from diffcodec.training.config import TrainingConfig

FREE = (
    "decay_share",
    "final_learning_rate",
    "coarse_share",
    "coarse_below",
    "coarse_weight",
    "ema_decay",
    "log_snr_range",
)
"""Settings that a resumed run may change: one at a constant learning rate can be given any end, or become an expert."""


def write_state(path: Path, model: ModelConfig, training: TrainingConfig, content: dict[str, Any]) -> None:
    """Write a state of a run atomically.

    Raises:
        ConfigError: if it cannot be written, for example because the disk is full.
    """
    with atomic_write(path, overwrite=True) as file:
        try:
            torch.save({"model": model.to_dict(), "training": training.to_dict(), **content}, file)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError if the disk is full
            reason = error if isinstance(error, OSError) else error.__context__ or error
            raise ConfigError(
                f"{path} cannot be written ({reason}): free some disk space, and resume the run", parameters=["resume"]
            ) from error


@contextmanager
def opened_state(path: Path, model: ModelConfig, training: TrainingConfig) -> Iterator[dict[str, Any]]:
    """The content that `write_state` wrote; errors while it is used are reported as a damaged file.

    Raises:
        CheckpointError: if the file is damaged or incomplete, or belongs to another model or other settings.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: cannot be resumed from (no training state)")
        if ModelConfig.from_dict(state["model"]) != model:
            raise CheckpointError(f"{path}: was saved by a run of another model configuration")
        saved = TrainingConfig.from_dict(state["training"]).to_dict()
        present = training.to_dict()
        if others := [f"{key}={value}" for key, value in saved.items() if value != present[key] and key not in FREE]:
            raise CheckpointError(
                f"{path}: was saved by a run with other settings ({', '.join(others)}): use the same settings",
                parameters=["settings"],
            )
        yield state
    except DiffCodecError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: there is no run to resume", parameters=["resume"]) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be resumed from ({error.strerror or error})") from error
    except Exception as error:  # unpickling raises almost anything
        raise CheckpointError(f"{path}: cannot be resumed from (damaged, or no training state)") from error
