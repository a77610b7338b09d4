"""What the callables of a batch have in common. Torch-free until a batch comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffcodec.dataset.columns import Columns, column, names
from diffcodec.errors import ConfigError


class BatchCallable(ABC):
    """Columns in, columns out. It is pickled as its options; unpickling it loads the network again.

    Args:
        arguments: all options of the subclass, by name.
        name: column of the names of pictures or files, for messages.
        threads: number of threads of a call; None: as many as the process may use.
        device, precision: of the networks, see `DiffusionCodec`.

    Raises:
        ConfigError: if `threads` is less than 1.
    """

    def __init__(
        self, arguments: Mapping[str, Any], *, name: str, threads: int | None, device: str, precision: str
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads: expected at least 1, found {threads}")
        self._arguments = dict(arguments)
        self.name, self.threads = name, threads
        self._evaluation: dict[str, Any] = {"device": device, "precision": precision}

    def __reduce__(self) -> tuple[Any, ...]:
        return _constructed, (type(self), self._arguments)

    @abstractmethod
    def __call__(self, batch: Columns) -> dict[str, Sequence[Any]]:
        """The columns that come of a batch."""

    @property
    def _raises_bugs(self) -> bool:
        """See `attempts.failure`."""
        return bool(self._evaluation["device"] != "cpu")

    def _changed(self, batch: Columns, taken: str, parameter: str, added: Iterable[str]) -> dict[str, Sequence[Any]]:
        """The batch with new columns in the place of one.

        Args:
            batch: columns.
            taken: the column that is worked on.
            parameter: the option that names it, for messages.
            added: the columns that `_rows` returns.

        Raises:
            ConfigError: if the batch has no such column.
        """
        from diffcodec.coding.threads import limited_threads

        values = column(batch, taken, parameter)
        with limited_threads(self.threads):
            rows = self._rows(values, names(batch, self.name, values))
        others = {key: value for key, value in batch.items() if key != taken}
        return {**others, **{key: [row[key] for row in rows] for key in added}}

    @abstractmethod
    def _rows(self, values: Sequence[Any], called: Sequence[str]) -> list[dict[str, Any]]:
        """A row of the new columns for each value, with its name."""


def options_in(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a constructor, from its `locals()`, with those of `**options` among them."""
    own = {key: value for key, value in variables.items() if key not in ("self", "options", "__class__")}
    return {**own, **variables["options"]}


def _constructed(kind: type[BatchCallable], arguments: dict[str, Any]) -> BatchCallable:
    return kind(**arguments)
