"""Weight files as their headers describe them: shapes and types, without reading the weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from diffcodec.errors import CheckpointError

TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
"""Types of weights, by their names in safetensors."""


class StoredShape(NamedTuple):
    """A tensor in a file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    type: str


def stored_shapes(files: Sequence[Path]) -> Iterator[StoredShape]:
    """The tensors of safetensors files; none for files of other kinds.

    Raises:
        CheckpointError: if a file is damaged, or holds no floats of 16 or 32 bits.
    """
    for path in files:
        if path.suffix != ".safetensors":
            continue
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    part = file.get_slice(name)
                    yield StoredShape(path, name, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error


def check_shapes(module: nn.Module, files: Sequence[Path]) -> None:
    """Check that stored weights have the shapes of a module's.

    Args:
        module: without data: on the meta device.
        files: of its weights. Names that it does not have are left to the library that loads them.

    Raises:
        CheckpointError: if one has another shape; it names file, weight and shapes.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for stored in stored_shapes(files):
        if (expected := own.get(stored.name, stored.shape)) != stored.shape:
            raise CheckpointError(
                f"{stored.file}: {stored.name}: expected {expected}, as in the configuration, found {stored.shape}"
            )


def main_type(files: Sequence[Path]) -> torch.dtype:
    """The type of most of the numbers in files; float32 if that is not known."""
    counts: Counter[str] = Counter()
    for stored in stored_shapes(files):
        counts[stored.type] += math.prod(stored.shape)
    found = counts.most_common(1)
    return TYPES.get(found[0][0], torch.float32) if found else torch.float32
