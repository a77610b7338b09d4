"""Expands names on the command line into input files: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from diffcodec.cli.failures import Failure, attempt, report
from diffcodec.errors import ConfigError

STANDARD = "-"


@dataclass(frozen=True)
class Input:
    """An input file.

    Args:
        path: of the file; - for standard input.
        below: path relative to the named folder, or to the fixed part of a pattern; results keep this tree.
    """

    path: str
    below: str


@dataclass
class Inputs:
    """The input files found.

    Args:
        many: whether several inputs, a folder or a pattern were named.
        files: in the order in which they were named, those of a folder sorted by name.
        failures: subfolders that cannot be read.
        skipped: number of files in folders, and of matches, that have another suffix or are hidden.
    """

    many: bool = False
    files: list[Input] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: int = 0

    @property
    def paths(self) -> list[str]:
        """Paths of all files."""
        return [file.path for file in self.files]

    def show_each(self, show: Callable[[str], None], *, as_json: bool = False, key: str = "input") -> None:
        """Call a function with the path of every file; inputs that fail are reported, and the others continue.

        Args:
            show: prints what it finds.
            as_json: whether failures are JSON objects on standard output, too.
            key: of the input's name in these.

        Raises:
            click.exceptions.Exit: with code 1 if any failed.
        """
        failures = list(self.failures)
        for failure in failures:
            report(failure)
        for path in self.paths:
            outcome = attempt(path, show, path)
            if isinstance(outcome, Failure):
                if as_json:
                    click.echo(json.dumps({key: path, "error": outcome.message}))
                report(outcome)
                failures.append(outcome)
        if failures:
            raise click.exceptions.Exit(1)

    def take(self, root: str, found: Iterable[str], suffixes: tuple[str, ...]) -> bool:
        """Add the paths below a root that have one of the suffixes; returns whether there are any."""
        count = len(self.files)
        for below in found:
            # Opening a pipe would wait for its writer. A broken link is kept: reading it reports the failure.
            path = os.path.join(root, below)
            special = os.path.exists(path) and not os.path.isfile(path)
            if special or is_hidden(below) or Path(below).suffix.lower() not in suffixes:
                self.skipped += 1
            else:
                self.files.append(Input(path, below))
        return len(self.files) > count


def expand(names: Sequence[str], suffixes: Iterable[str], *, recursive: bool = False) -> Inputs:
    """The files that names stand for. An existing file is taken literally, even if its name looks like a pattern.

    Args:
        names: files, folders, patterns such as `photos/**/*.png`, or - for standard input.
        suffixes: of the files to take from folders and matches, in lower case.
        recursive: whether to search subfolders. Links to folders are not followed.

    Raises:
        ConfigError: if a folder or pattern yields no such file, a named folder cannot be read, or a name is empty.
    """
    if "" in names:
        raise ConfigError("a file name is empty: is a shell variable unset?")
    wanted = tuple(suffixes)
    inputs = Inputs(many=len(names) > 1)
    for name in names:
        # os.path returns False where Path would raise: for names that are too long, or inaccessible.
        if name != STANDARD and os.path.isdir(name):
            inputs.many = True
            if not inputs.take(name, files_in(name, recursive, inputs.failures), wanted):
                hint = "" if recursive else "; pass --recursive to search subfolders"
                raise ConfigError(f"{name}: no file in this folder ends in {', '.join(wanted)}{hint}")
        elif name != STANDARD and glob.has_magic(name) and not os.path.lexists(name):
            inputs.many = True
            root, found = matches(name)
            if not inputs.take(root, found, wanted):
                raise ConfigError(f"{name}: no file matches this pattern and ends in {', '.join(wanted)}")
        else:
            inputs.files.append(Input(name, os.path.basename(name)))
    return inputs


def files_in(folder: str, recursive: bool, failures: list[Failure]) -> list[str]:
    """Paths of a folder's files relative to it, sorted by name, a folder's own files before those of its subfolders.

    Args:
        folder: to search.
        recursive: whether to search its visible subfolders.
        failures: subfolders that cannot be read are appended here.

    Raises:
        ConfigError: if the folder itself cannot be read.
    """
    found: list[str] = []

    def refused(error: OSError) -> None:
        message = f"{error.filename}: cannot be read ({error.strerror or error})"
        if error.filename == folder:
            raise ConfigError(message) from error
        failures.append(Failure(message))

    for current, folders, files in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if recursive and not is_hidden(name))
        below = os.path.relpath(current, folder)
        found += [os.path.normpath(os.path.join(below, name)) for name in sorted(files)]
    return found


def matches(pattern: str) -> tuple[str, list[str]]:
    """The fixed part of a pattern, and the matching files' paths relative to it.

    Raises:
        ConfigError: if the pattern is invalid.
    """
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    try:
        # Unlike the module glob, this does not follow links to folders, which may form cycles.
        found = sorted(path for path in root.glob(str(Path(*parts[fixed:]))) if not path.is_dir())
    except (ValueError, OSError) as error:
        raise ConfigError(f"{pattern}: not a valid pattern ({error})") from error
    return str(root), [str(path.relative_to(root)) for path in found]


def is_hidden(path: str) -> bool:
    """Whether the name of a file, or of a folder in its path, begins with a dot."""
    return any(part.startswith(".") for part in Path(path).parts)


def label(name: str) -> str:
    """Name of an input in messages."""
    return "standard input" if name == STANDARD else name


def read_input(name: str) -> bytes:
    """All bytes of a file or of standard input.

    Raises:
        ConfigError: if it cannot be read, or is a pipe or a device: reading these might never end.
    """
    if name == STANDARD:
        if sys.stdin is None:
            raise ConfigError("standard input is closed: name a file")
        return sys.stdin.buffer.read()
    # A folder is reported by reading it.
    if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        raise ConfigError(f"{name} is a pipe or a device, not a file: read it through standard input (-)")
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error})") from error


def beginning(name: str, size: int) -> bytes:
    """The first bytes of a file; empty if it cannot be read, or only once, such as pipes and standard input."""
    if name != STANDARD and os.path.isfile(name):
        with suppress(OSError), open(name, "rb") as file:  # errors are reported when the whole file is read
            return file.read(size)
    return b""


def length_of(name: str) -> int:
    """Length of a regular file in bytes; 0 for others, such as pipes and standard input."""
    return os.path.getsize(name) if os.path.isfile(name) else 0
