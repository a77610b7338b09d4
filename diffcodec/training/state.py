"""The file from which a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from diffcodec.config import ModelConfig, TrainingConfig
from diffcodec.errors import CheckpointError, ConfigError, DiffCodecError
from diffcodec.files import atomic_write


def write_state(path: Path, model: ModelConfig, training: TrainingConfig, content: dict[str, Any]) -> None:
    """Write a state of a run; the old file stays until the new one is complete.

    Raises:
        ConfigError: if it cannot be written, such as to a full disk.
    """
    with atomic_write(path, overwrite=True) as file:
        try:
            torch.save({"model": model.to_dict(), "training": training.to_dict(), **content}, file)
        except (OSError, RuntimeError) as error:  # torch has an error of its own for files that take no more
            reason = error if isinstance(error, OSError) else error.__context__ or error
            raise ConfigError(f"{path} cannot be written ({reason}): make room, and go on with --resume") from error


@contextmanager
def opened_state(path: Path, model: ModelConfig, training: TrainingConfig) -> Iterator[dict[str, Any]]:
    """What `write_state` was given, for the time in which it is taken over.

    Raises:
        CheckpointError: if the file is damaged, misses something, or belongs to another model or to other settings.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: cannot be resumed from (no training state)")
        if ModelConfig.from_dict(state["model"]) != model:
            raise CheckpointError(f"{path}: was saved by a run of another model configuration")
        saved = TrainingConfig.from_dict(state["training"]).to_dict()
        present = training.to_dict()
        if others := [f"{key}={value}" for key, value in saved.items() if value != present[key]]:
            raise CheckpointError(
                f"{path}: was saved by a run with other settings: {', '.join(others)}; pass the same ones with --set"
            )
        yield state
    except DiffCodecError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: start the run without --resume") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be resumed from ({error.strerror or error})") from error
    except Exception as error:  # unpickling raises almost anything
        raise CheckpointError(f"{path}: cannot be resumed from (damaged, or no training state)") from error
