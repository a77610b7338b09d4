"""Processes inputs in batches that depend only on the inputs.

The last bits of a network's output depend on the batch. So pictures are batched before existing results are looked up:
a run that was killed and is repeated makes the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from diffcodec.cli.batch.inputs import STANDARD
from diffcodec.cli.batch.outputs import check_writable
from diffcodec.cli.failures import Failure, attempt
from diffcodec.coding.options import MAX_BATCH, MAX_BATCH_PIXELS
from diffcodec.coding.progress import ProgressCallback
from diffcodec.errors import ConfigError

Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """An input to process, before it is read.

    Args:
        place: its number among all inputs.
        source, target: names of input and output.
        batch_key: inputs with equal keys may be processed together; None: this one is processed alone.
        pixels: number of pixels, 0 if unknown.
    """

    place: int
    source: str
    target: str
    batch_key: Hashable = None
    pixels: int = 0


@dataclass(frozen=True)
class Item(Generic[Content]):
    """An input that has been read.

    Args:
        task: of the input.
        content: of the input.
        batch_key: items with equal keys can be processed together; None: this one is processed alone.
        pixels: number of pixels.
    """

    task: Task
    content: Content
    batch_key: Hashable
    pixels: int


@dataclass(frozen=True)
class Done:
    """The outcome of an input that was processed.

    Args:
        line: text output; empty if the result itself went to standard output.
        values: JSON output.
        read_bytes, written_bytes: lengths of input and output.
        pixels: of the picture.
        bpp: bits per pixel of the .dfc file.
        psnr_db: of the restoration; None if it is unknown or infinite.
        warning: empty if there is none.
        notes: on conversions and omissions.
        table: text output that follows the line, of several lines; empty if there is none.
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
    table: str = ""


@dataclass(frozen=True)
class UpToDate:
    """The outcome of an input whose result already existed."""


Outcome = Done | UpToDate | Failure

Moved = Callable[[Sequence[int], float], None]
"""Is called with the places of tasks that are worked on together, and the fraction of the work that is done."""


class ExistingOutput(Enum):
    """State of a result before the work begins."""

    MISSING = auto()
    REPLACEABLE = auto()
    FINISHED = auto()


class Worker(Protocol[Content, Result]):
    """Processes items; holds the model and everything else that a process needs."""

    @property
    def warning(self) -> str:
        """Warning to print before the work begins; empty if there is none."""

    @property
    def when_full(self) -> str:
        """What to do if there is not enough memory."""

    def existing_output(self, task: Task) -> ExistingOutput:
        """State of the result; raises DiffCodecError if a different file is in its place."""

    def read(self, task: Task) -> Item[Content]:
        """Read an input; raises DiffCodecError."""

    def work(self, items: Sequence[Item[Content]], progress: ProgressCallback) -> Sequence[Result]:
        """Turn items of one batch key into results, one per item; reports progress; raises DiffCodecError."""

    def write(self, item: Item[Content], result: Result, overwrite: bool) -> Done:
        """Write the result of an item; raises DiffCodecError."""


class Sized(Protocol):
    """Anything that can be batched."""

    @property
    def batch_key(self) -> Hashable: ...  # noqa: D102
    @property
    def pixels(self) -> int: ...  # noqa: D102


SomeSized = TypeVar("SomeSized", bound=Sized)


def batches(members: Iterable[SomeSized]) -> Iterator[list[SomeSized]]:
    """Consecutive members with equal keys, up to the limits of a batch."""
    batch: list[SomeSized] = []
    for member in members:
        if batch and member.batch_key != batch[0].batch_key:
            yield batch
            batch = []
        batch.append(member)
        most = 1 if member.batch_key is None else max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // max(member.pixels, 1)))
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def find_existing(
    task: Task, *, force: bool, resume: bool, difference: Callable[[Task, bool], str | None]
) -> ExistingOutput:
    """State of a task's result.

    Args:
        task: the task.
        force: whether any file may be overwritten.
        resume: whether an existing result counts as finished.
        difference: returns how the existing file differs from the result, or None; called with whether the file is
            newer than the input. If it is not, only what does not depend on the input is compared.

    Raises:
        ConfigError: if a file exists that may not be overwritten.
    """
    source, target = task.source, task.target
    if target == STANDARD or not os.path.exists(target):
        return ExistingOutput.MISSING
    if not resume:
        check_writable(target, force, source)
        return ExistingOutput.REPLACEABLE
    check_writable(target, True, source)
    newer = (
        source == STANDARD or not os.path.exists(source) or os.stat(source).st_mtime_ns <= os.stat(target).st_mtime_ns
    )
    found = difference(task, newer)
    if found is None:
        return ExistingOutput.FINISHED if newer else ExistingOutput.REPLACEABLE
    if not force:
        raise ConfigError(
            f"{target} exists and {found}: pass --force to overwrite it, or choose another name with --out"
        )
    return ExistingOutput.REPLACEABLE


def finish(
    worker: Worker[Content, Result], tasks: Sequence[Task], moved: Moved = lambda places, fraction: None
) -> Iterator[tuple[Task, Outcome]]:
    """Do the tasks of one batch; yields the outcome of each.

    The batch is the same whether or not some results exist. If it fails, its inputs are processed one by one: the
    failing input is reported, and the others continue.

    Args:
        worker: does them.
        tasks: of one batch key.
        moved: is called during the work.
    """
    overwrite: dict[Task, bool] = {}
    for task in tasks:
        existing = attempt(task.source, worker.existing_output, task)
        if isinstance(existing, Failure):
            yield task, existing
        elif existing is ExistingOutput.FINISHED:
            yield task, UpToDate()
        else:
            overwrite[task] = existing is ExistingOutput.REPLACEABLE
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
        places = [item.task.place for item in batch]
        results = attempt(
            batch[0].task.source,
            worker.work,
            batch,
            lambda progress: moved(places, progress.fraction),
            when_full=worker.when_full,
        )
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
