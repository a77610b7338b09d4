"""One command over one input, several, a folder, or standard input and output."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, TypeVarTuple

import click

from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.files import atomic_write

STANDARD = "-"

# They bound the memory of a batch. Larger pictures gain nothing from company.
MAX_BATCH = 16
MAX_BATCH_PIXELS = 1 << 18

Content = TypeVar("Content")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


def expand(inputs: Sequence[str], suffixes: Iterable[str]) -> list[str]:
    """The inputs with every folder replaced by the files in it that have one of the suffixes, by name.

    Raises:
        ConfigError: if a folder holds no such file, or cannot be read.
    """
    wanted = tuple(suffixes)
    files: list[str] = []
    for name in inputs:
        # os.path answers False where Path would raise: for names that are too long, or out of reach.
        if name == STANDARD or not os.path.isdir(name):
            files.append(name)
            continue
        try:
            entries = sorted(os.listdir(name))
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read ({error.strerror or error})") from error
        paths = [Path(name) / entry for entry in entries if Path(entry).suffix.lower() in wanted]
        found = [str(path) for path in paths if not os.path.isdir(path)]
        if not found:
            raise ConfigError(f"{name}: no file in this folder ends in {', '.join(wanted)}")
        files += found
    return files


def names_folder(name: str) -> bool:
    """Whether a name stands for a folder: there is one, or it ends in a slash."""
    return os.path.isdir(name) or name.endswith(("/", os.sep))


def outputs(files: Sequence[str], out: str | None, suffix: str, many: bool) -> list[str]:
    """Where the result of every file goes.

    Args:
        files: input files.
        out: a file for one input, a folder for several (or if it ends in a slash); None is beside every input.
        suffix: of the results.
        many: whether several inputs, or a folder, were named.

    Raises:
        ConfigError: if two results would be the same file, or `out` does not fit the inputs.
    """
    if out is not None and not many and not names_folder(out):
        return [out]
    if many and (out == STANDARD or STANDARD in files):
        raise ConfigError("standard input and output (-) go with exactly one input")
    if out is not None and os.path.isfile(out):
        raise ConfigError(f"{out} is a file: several inputs need a folder for their results")
    results = []
    for name in files:
        if name == STANDARD:
            results.append(STANDARD if out is None else str(Path(out) / f"stdin{suffix}"))
            continue
        folder = Path(name).parent if out is None else Path(out)
        results.append(str(folder / (Path(name).stem + suffix)))
    seen: set[str] = set()
    for name in results:
        if (real := os.path.realpath(name)) in seen:
            raise ConfigError(f"two inputs would both be written to {name}: do them in two calls with two --out")
        seen.add(real)
    return results


def label(name: str) -> str:
    """What messages call an input."""
    return "standard input" if name == STANDARD else name


def read_input(name: str) -> bytes:
    """All bytes of a file or of standard input.

    Raises:
        ConfigError: if it cannot be read.
    """
    if name == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error})") from error


def check_writable(name: str, force: bool, source: str = STANDARD) -> None:
    """Fail before the work, not after it, if the result may not be written.

    Raises:
        ConfigError: if the file exists and `force` is not set, or it is the input itself.
    """
    if name == STANDARD or not os.path.exists(name):
        return
    if source != STANDARD and os.path.exists(source) and os.path.samefile(name, source):
        raise ConfigError(f"{name} is the input itself: pass another name with --out")
    if not force:
        raise ConfigError(f"{name} exists: pass --force to overwrite it, or another name with --out")


def check_folder(name: str) -> None:
    """Fail before the work, not after it, if there is no folder for a result, or one that takes no files.

    Raises:
        ConfigError: if so.
    """
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise ConfigError(f"{name} cannot be written: the directory {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{name} cannot be written: you may not write in the directory {folder}")


def write_output(name: str, force: bool, write: Callable[[BinaryIO], object], *, make_folder: bool = False) -> None:
    """Write a file whole or not at all, or standard output.

    Args:
        name: of the file.
        force: whether to overwrite it.
        write: is given the open file.
        make_folder: whether to make the folder that it goes to.

    Raises:
        ConfigError: if it cannot be written.
    """
    if name == STANDARD:
        buffer = io.BytesIO()
        write(buffer)
        sys.stdout.buffer.write(buffer.getvalue())
        sys.stdout.buffer.flush()
        return
    if make_folder:
        try:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{os.path.dirname(name)} cannot be made: {error.strerror or error}") from error
    with atomic_write(Path(name), overwrite=force) as file:
        write(file)


def explain(error: BaseException) -> str | None:
    """One line for a person about an error that is not a defect of the program; None for any other.

    A broken pipe is none of them: click ends the program quietly.
    """
    if isinstance(error, DiffCodecError):
        return str(error)
    # torch has its own error for a full GPU, and a plain RuntimeError for a full memory.
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory"))
    ):
        return "not enough memory: cut the picture into smaller ones"
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    return None


@dataclass(frozen=True)
class Failure:
    """What a person is told about an input that failed."""

    message: str


@dataclass(frozen=True)
class Item(Generic[Content]):
    """An input that has been read.

    Args:
        source, target: names of input and output.
        content: what was read.
        kind: items of one kind can be worked on together; None: it is worked on alone.
        pixels: number of pixels.
    """

    source: str
    target: str
    content: Content
    kind: Hashable
    pixels: int

    @property
    def batch_limit(self) -> int:
        """How many such items are worked on together, at most."""
        return 1 if self.kind is None else max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // self.pixels))


def for_each(pairs: Iterable[tuple[str, str]], action: Callable[[str, str], None]) -> None:
    """Run an action on every (input, output); one that fails is named, and the others go on.

    Raises:
        click.exceptions.Exit: with code 1 if any failed.
    """
    tell(attempt(source, action, source, target) for source, target in pairs)


def for_each_batch(
    pairs: Iterable[tuple[str, str]],
    read: Callable[[str, str], Item[Content]],
    work: Callable[[Sequence[Item[Content]]], Sequence[Result]],
    write: Callable[[Item[Content], Result], None],
) -> None:
    """Do the same to every (input, output), in batches; one that fails is named, and the others go on.

    Args:
        pairs: inputs and outputs. They are read as batches need them, and written and told of in this order.
        read: reads an input.
        work: turns items of one kind into as many results.
        write: writes the result of an item.

    Raises:
        click.exceptions.Exit: with code 1 if any failed.
    """

    def outcomes(batch: Sequence[Item[Content]]) -> Iterator[Failure | None]:
        results = attempt(batch[0].source, work, batch)
        if not isinstance(results, Failure):
            for item, result in zip(batch, results, strict=True):
                yield attempt(item.source, write, item, result)
        elif len(batch) == 1:
            yield results
        else:  # one by one: the input that is to blame gets named, and the others go on
            for item in batch:
                yield from outcomes([item])

    items = (attempt(source, read, source, target) for source, target in pairs)
    tell(
        outcome for batch in batches(items) for outcome in ([batch] if isinstance(batch, Failure) else outcomes(batch))
    )


def batches(items: Iterable[Item[Content] | Failure]) -> Iterator[list[Item[Content]] | Failure]:
    """Runs of items of one kind, no longer than may be worked on together; failures in between."""
    batch: list[Item[Content]] = []
    for item in items:
        if batch and (isinstance(item, Failure) or item.kind != batch[0].kind):
            yield batch
            batch = []
        if isinstance(item, Failure):
            yield item
            continue
        batch.append(item)
        if len(batch) == item.batch_limit:
            yield batch
            batch = []
    if batch:
        yield batch


def attempt(source: str, action: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result | Failure:
    """What an action on an input returns, or what to tell of its error."""
    try:
        return action(*arguments)
    except (DiffCodecError, MemoryError, RuntimeError) as error:
        if (line := explain(error)) is None:
            raise
        return Failure(line if isinstance(error, DiffCodecError) else f"{source}: {line}")


def tell(outcomes: Iterable[Failure | None]) -> None:
    """Tell of every failure when it comes.

    Raises:
        click.exceptions.Exit: with code 1 if there was any.
    """
    failed = False
    for outcome in outcomes:
        if outcome is not None:
            click.echo(f"Error: {outcome.message}", err=True)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)
