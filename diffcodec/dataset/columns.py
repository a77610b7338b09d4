"""Columns of a batch, as engines pass them: bytes, arrays, Pillow images, Hugging Face's structures. Torch-free."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffcodec.errors import ConfigError, ImageError, WrongTypeError, kind_of

Columns = Mapping[str, Sequence[Any]]
"""Columns of equal length, by name: lists or arrays."""


def column(batch: Columns, name: str, parameter: str) -> list[Any]:
    """The values of a column.

    Args:
        batch: all columns.
        name: of the column.
        parameter: that names it.

    Raises:
        WrongTypeError: if the batch is not a mapping of columns.
        ConfigError: if there is no such column.
    """
    if not isinstance(batch, Mapping):
        raise WrongTypeError(
            f"expected a batch of columns, such as a dict of lists, found {kind_of(batch)}: convert it first, for "
            "example with frame.to_dict('list')"
        )
    if name not in batch:
        raise ConfigError(
            f"the batch has no column {name!r}, only {', '.join(map(repr, batch)) or 'none'}", parameters=[parameter]
        )
    return list(batch[name])


def names(batch: Columns, column_name: str, values: Sequence[Any]) -> list[str]:
    """The names of the rows, for messages: those of a column, else paths of the values, else `row 1` and so on."""
    given = batch.get(column_name)
    found = [path_of(value) for value in values] if given is None else list(given)
    return [f"row {number}" if not name else str(name) for number, name in enumerate(found, 1)]


def path_of(value: Any) -> str:
    """The path of a value that has one: Hugging Face's pictures are {bytes, path}."""
    return str(value.get("path") or "") if isinstance(value, Mapping) else ""


def bytes_of(value: Any) -> bytes | None:
    """The bytes of a file; None if the value is something else.

    Raises:
        ImageError: if the value has only a path, and there is no such file.
    """
    if isinstance(value, Mapping) and "bytes" in value:
        if value["bytes"] is None and (path := path_of(value)):
            return _bytes_at(path)
        value = value["bytes"]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        return value.tobytes()
    return None


def _bytes_at(path: str) -> bytes:
    """The content of a file, named by a path or one of fsspec's URLs."""
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            data: bytes = file.read()
            return data
    except (OSError, ImportError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def as_file(data: bytes, name: str) -> io.BytesIO:
    """A file in memory with a name, for messages."""
    file = io.BytesIO(data)
    file.name = name
    return file


def as_pixels(value: Any) -> Any:
    """A picture that is not a file: nested lists, into which some engines turn arrays, become an array again."""
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return value
    integers = array.size > 0 and array.dtype.kind in "iu" and 0 <= array.min() <= array.max() <= 255
    return array.astype(np.uint8) if integers else value
