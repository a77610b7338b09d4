"""Work on many inputs in batches that are made up of the inputs alone.

The last digits of what a network computes depend on the pictures that go through it together. So pictures are batched
before anybody looks which results there are already: a run that was killed and is run again makes the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from diffcodec.cli.failures import Failure, attempt
from diffcodec.cli.inputs import STANDARD
from diffcodec.cli.outputs import check_writable
from diffcodec.errors import ConfigError

# They bound the memory of a batch. Larger pictures gain nothing from company.
MAX_BATCH = 16
MAX_BATCH_PIXELS = 1 << 18

Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """An input that is to be worked on, as far as it is known without reading it all.

    Args:
        place: its number among all inputs.
        source, target: names of input and output.
        kind: inputs of one kind may well be worked on together; None: this one is worked on alone.
        pixels: number of pixels, 0 if that is not known.
    """

    place: int
    source: str
    target: str
    kind: Hashable = None
    pixels: int = 0


@dataclass(frozen=True)
class Item(Generic[Content]):
    """An input that has been read.

    Args:
        task: what it is read for.
        content: what was read.
        kind: items of one kind can be worked on together; None: it is worked on alone.
        pixels: number of pixels.
    """

    task: Task
    content: Content
    kind: Hashable
    pixels: int


@dataclass(frozen=True)
class Done:
    """What became of an input.

    Args:
        line: tells it to a person; empty if the result itself went to standard output.
        values: tell it to a program, as JSON.
        read_bytes, written_bytes: lengths of input and output.
        pixels: of the picture.
        bpp: bits per pixel of the .dfc file.
        psnr_db: of the restoration; None if that is not known, or it is exact.
        warning: for a person; empty if there is none.
        notes: for a person, on what was converted or left out.
    """

    line: str
    values: dict[str, Any] = field(repr=False)
    read_bytes: int
    written_bytes: int
    pixels: int
    bpp: float
    psnr_db: float | None = None
    warning: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoneBefore:
    """There was a result already, and nothing to do."""


Outcome = Done | DoneBefore | Failure


class Standing(Enum):
    """What there is of a result before the work begins."""

    MISSING = auto()
    REPLACEABLE = auto()
    FINISHED = auto()


class Worker(Protocol[Content, Result]):
    """Does the work on items: it has the model, and what else a process needs."""

    @property
    def warning(self) -> str:
        """What a person should know before the work begins; empty if there is nothing."""

    def standing(self, task: Task) -> Standing:
        """What there is of the result; raises DiffCodecError if something else is in its place."""

    def read(self, task: Task) -> Item[Content]:
        """Read an input; raises DiffCodecError."""

    def work(self, items: Sequence[Item[Content]]) -> Sequence[Result]:
        """Turn items of one kind into as many results; raises DiffCodecError."""

    def write(self, item: Item[Content], result: Result, overwrite: bool) -> Done:
        """Write the result of an item; raises DiffCodecError."""


class Sized(Protocol):
    """What can be batched."""

    @property
    def kind(self) -> Hashable: ...  # noqa: D102
    @property
    def pixels(self) -> int: ...  # noqa: D102


SomeSized = TypeVar("SomeSized", bound=Sized)


def batches(members: Iterable[SomeSized]) -> Iterator[list[SomeSized]]:
    """Runs of members of one kind, no longer than may be worked on together."""
    batch: list[SomeSized] = []
    for member in members:
        if batch and member.kind != batch[0].kind:
            yield batch
            batch = []
        batch.append(member)
        most = 1 if member.kind is None else max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // max(member.pixels, 1)))
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def find_standing(task: Task, *, force: bool, resume: bool, difference: Callable[[Task, bool], str | None]) -> Standing:
    """What there is of a task's result.

    Args:
        task: the task.
        force: whether any file may be overwritten.
        resume: whether an existing result counts.
        difference: how the existing file differs from the result, if it does; it is told whether the file is newer
            than the input. If not, only what does not hang on the input counts.

    Raises:
        ConfigError: if there is a file that may not be overwritten.
    """
    source, target = task.source, task.target
    if target == STANDARD or not os.path.exists(target):
        return Standing.MISSING
    if not resume:
        check_writable(target, force, source)
        return Standing.REPLACEABLE
    check_writable(target, True, source)
    newer = (
        source == STANDARD or not os.path.exists(source) or os.stat(source).st_mtime_ns <= os.stat(target).st_mtime_ns
    )
    found = difference(task, newer)
    if found is None:
        return Standing.FINISHED if newer else Standing.REPLACEABLE
    if not force:
        raise ConfigError(f"{target} exists and {found}: pass --force to overwrite it, or another name with --out")
    return Standing.REPLACEABLE


def finish(worker: Worker[Content, Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcome]]:
    """Do tasks that were batched together; yields what became of each when that is known.

    Whatever there is of the results, an input is worked on in the same company. Where an input spoils the work
    of all, they are worked on one by one: the one that is to blame gets named, and the others go on.
    """
    overwrite: dict[Task, bool] = {}
    for task in tasks:
        standing = attempt(task.source, worker.standing, task)
        if isinstance(standing, Failure):
            yield task, standing
        elif standing is Standing.FINISHED:
            yield task, DoneBefore()
        else:
            overwrite[task] = standing is Standing.REPLACEABLE
    if not overwrite:
        return
    items = []
    for task in tasks:
        item = attempt(task.source, worker.read, task)
        if not isinstance(item, Failure):
            items.append(item)
        elif task in overwrite:
            yield task, item

    def outcomes(batch: Sequence[Item[Content]]) -> Iterator[tuple[Task, Outcome]]:
        wanted = [item.task in overwrite for item in batch]
        if not any(wanted):
            return
        results = attempt(batch[0].task.source, worker.work, batch)
        if not isinstance(results, Failure):
            for item, result in zip(batch, results, strict=True):
                if item.task in overwrite:
                    source = item.task.source
                    yield item.task, attempt(source, worker.write, item, result, overwrite[item.task])
        elif len(batch) == 1:
            yield batch[0].task, results
        else:
            for item in batch:
                yield from outcomes([item])

    for batch in batches(items):
        yield from outcomes(batch)
