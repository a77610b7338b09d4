"""Frozen dataclasses with a strict JSON form."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import lru_cache
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from diffcodec.errors import ConfigError


class JsonConfig:
    """Mixin for frozen dataclasses: `to_dict` and a `from_dict` that rejects unknown keys."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as dictionaries, lists, strings and numbers, for `json.dumps`."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def essence(self) -> dict[str, Any]:
        """`to_dict` without fields that have their default value, so that it does not change when fields are added.

        A `kind` that has only one value stays: it tells configurations apart.
        """
        fields, hints = _fields(type(self))  # type: ignore[arg-type]
        return {
            name: _essence(getattr(self, name))
            for name, field in fields.items()
            if getattr(self, name) != field.default or get_args(hints[name]) == (field.default,)
        }

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Build the configuration from the result of `to_dict`.

        Raises:
            ConfigError: for a key that does not exist, a missing key without a default, or a wrong type.
        """
        return cls._from_json(data, ())

    @classmethod
    def _from_json(cls, data: Any, path: tuple[str, ...]) -> Self:
        """`from_dict` of the object at a path of keys."""
        where = f"{'.'.join(path)}: " if path else ""
        if not isinstance(data, dict):
            raise ConfigError(f"{where}expected an object, found {type(data).__name__}")
        fields, hints = _fields(cls)  # type: ignore[arg-type]
        if unknown := sorted(set(data) - set(fields)):
            raise ConfigError(f"{where}unknown key {unknown[0]!r}: expected one of {', '.join(fields)}")
        missing = [
            name
            for name, field in fields.items()
            if name not in data
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise ConfigError(f"{where}missing key {missing[0]!r}")
        return cls(**{key: _convert(value, hints[key], (*path, key)) for key, value in data.items()})


@lru_cache(maxsize=64)
def _fields(cls: type) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """The fields of a configuration and their types, by name."""
    return {field.name: field for field in dataclasses.fields(cls)}, get_type_hints(cls)


def _essence(value: Any) -> Any:
    """A value of a configuration, with nested configurations reduced to their `essence`."""
    if isinstance(value, tuple):
        return tuple(map(_essence, value))
    return value.essence() if isinstance(value, JsonConfig) else value


def _convert(value: Any, hint: Any, path: tuple[str, ...]) -> Any:
    """`value` from JSON, at a path of keys, converted to the annotated type; JSON's arrays become tuples."""
    where = ".".join(path)
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: expected one of {', '.join(map(repr, get_args(hint)))}, found {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        (kind, *_) = get_args(hint)
        if kind is int and all(type(item) is int for item in value):  # tables have tens of thousands
            return tuple(value)
        return tuple(_convert(item, kind, path) for item in value)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in get_args(hint):
            return None
        return _convert(value, _choice(value, get_args(hint), where), path)
    if isinstance(hint, type) and issubclass(hint, JsonConfig):
        return hint._from_json(value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: the number is too large") from error
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _choice(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    """The type in a union that matches a value: configurations differ by `kind`, which the first one lacks."""
    kinds = [hint for hint in hints if hint is not types.NoneType]
    if len(kinds) == 1 or not isinstance(value, dict) or "kind" not in value:
        return kinds[0]
    for hint in kinds[1:]:
        if value["kind"] == hint.kind:
            return hint
    raise ConfigError(
        f"{where}.kind: expected one of {', '.join(hint.kind for hint in kinds[1:])}, found {value['kind']!r}"
    )


def require(condition: bool, message: str) -> None:
    """Raises a ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)
