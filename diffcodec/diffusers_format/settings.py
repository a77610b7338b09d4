"""JSON files of a pipeline folder: untrusted, so sizes and types of values are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffcodec.errors import CheckpointError

MAX_JSON_BYTES = 16 << 20
"""Far above any configuration: an index of thousands of weights has a tenth of this size."""

Kind = TypeVar("Kind", bool, int, float, str)
Meaning = TypeVar("Meaning")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: if there is none.
    """
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: expected a configuration of at most {MAX_JSON_BYTES} bytes, found {size}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


@dataclass(frozen=True)
class Settings:
    """The content of a configuration file, whose values are checked on access.

    Args:
        path: of the file, for messages.
        values: by key.
    """

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, defaults: Mapping[str, Any]) -> Settings:
        """Read a file; missing keys get their default.

        Raises:
            CheckpointError: if it does not hold a JSON object.
        """
        return cls(path, {**defaults, **read_json(path)})

    def get(self, key: str, kind: type[Kind]) -> Kind:
        """The value of a key.

        Raises:
            CheckpointError: if it has another type.
        """
        value = self.values[key]
        if kind is float and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        if type(value) is not kind:
            raise self.unsupported(key, f"a value of type {kind.__name__}")
        return value

    def get_optional(self, key: str, kind: type[Kind]) -> Kind | None:
        """The value of a key, which may be null."""
        return None if self.values[key] is None else self.get(key, kind)

    def get_list(self, key: str, kind: type[Kind]) -> list[Kind]:
        """The values of a non-empty list."""
        value = self.values[key]
        if not isinstance(value, list) or not value:
            raise self.unsupported(key, f"a list of values of type {kind.__name__}")
        return [Settings(self.path, {key: item}).get(key, kind) for item in value]

    def choose(self, key: str, meanings: Mapping[str, Meaning]) -> Meaning:
        """The meaning of a key's value.

        Raises:
            CheckpointError: if the value is not supported.
        """
        value = self.get(key, str)
        if value not in meanings:
            raise self.unsupported(key, " or ".join(map(json.dumps, meanings)))
        return meanings[value]

    def choose_each(self, key: str, meanings: Mapping[str, Meaning]) -> list[Meaning]:
        """The meanings of a list's values."""
        return [Settings(self.path, {key: item}).choose(key, meanings) for item in self.get_list(key, str)]

    def require(self, key: str, *supported: object) -> None:
        """Check that a key has one of the supported values.

        Raises:
            CheckpointError: if it has another one.
        """
        if self.values.get(key) not in supported:
            raise self.unsupported(key, " or ".join(map(json.dumps, supported)))

    def unsupported(self, key: str, expected: str) -> CheckpointError:
        """An error that names a key and its value."""
        value = json.dumps(self.values.get(key))
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        return CheckpointError(f"{self.path}: {key} = {shown} is not supported; expected {expected}")
