"""From what a person names to input files: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from diffcodec.cli.failures import Failure
from diffcodec.errors import ConfigError

STANDARD = "-"

PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
    ".avif", ".jp2", ".j2k", ".jxl", ".heic", ".heif", ".mpo", ".gif", ".tga", ".qoi",
)  # fmt: skip
"""Of the files that are taken from a folder."""


@dataclass(frozen=True)
class Input:
    """An input file.

    Args:
        path: of the file; - for standard input.
        below: the path as seen from the folder that was named, or from the part of a pattern that is fixed: results
            keep this tree.
    """

    path: str
    below: str


@dataclass
class Inputs:
    """What was found.

    Args:
        many: whether several inputs, a folder or a pattern were named.
        files: in the order in which they were named, those of a folder by name.
        failures: folders inside folders that cannot be read.
        passed_over: number of files in folders and of matches that do not have the right suffix, or are hidden.
    """

    many: bool = False
    files: list[Input] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed_over: int = 0

    @property
    def paths(self) -> list[str]:
        """Of all files."""
        return [file.path for file in self.files]

    def take(self, root: str, found: Iterable[str], suffixes: tuple[str, ...]) -> bool:
        """Take those of the paths below a root that have one of the suffixes; returns whether there are any."""
        count = len(self.files)
        for below in found:
            # Opening a pipe would wait for its writer. A link that leads nowhere is a failure that is to be named.
            path = os.path.join(root, below)
            special = os.path.exists(path) and not os.path.isfile(path)
            if special or is_hidden(below) or Path(below).suffix.lower() not in suffixes:
                self.passed_over += 1
            else:
                self.files.append(Input(path, below))
        return len(self.files) > count


def expand(names: Sequence[str], suffixes: Iterable[str], *, recursive: bool = False) -> Inputs:
    """The files that names stand for. What exists is taken as it is named, even if it looks like a pattern.

    Args:
        names: files, folders, patterns such as `photos/**/*.png`, or - for standard input.
        suffixes: of the files that are taken from folders and matches, in lower case.
        recursive: whether folders inside folders are searched. Links to folders are not followed.

    Raises:
        ConfigError: if a folder or pattern yields no such file, a named folder cannot be read, or a name is empty.
    """
    if "" in names:
        raise ConfigError("a file's name is empty: is a variable of the shell not set?")
    wanted = tuple(suffixes)
    inputs = Inputs(many=len(names) > 1)
    for name in names:
        # os.path answers False where Path would raise: for names that are too long, or out of reach.
        if name != STANDARD and os.path.isdir(name):
            inputs.many = True
            if not inputs.take(name, files_in(name, recursive, inputs.failures), wanted):
                hint = "" if recursive else ", those inside it need --recursive"
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
    """Paths of the files of a folder as seen from it, by name, with those of a folder before its subfolders'.

    Args:
        folder: where to look.
        recursive: whether to look into its visible subfolders.
        failures: are told of subfolders that cannot be read.

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
    """The part of a pattern that is fixed, and the paths that match as seen from there, folders left out.

    Raises:
        ConfigError: if it makes no sense as a pattern.
    """
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    try:
        # Unlike the module glob this follows no links to folders, which may lead in circles.
        found = sorted(path for path in root.glob(str(Path(*parts[fixed:]))) if not path.is_dir())
    except (ValueError, OSError) as error:
        raise ConfigError(f"{pattern}: cannot be searched for ({error})") from error
    return str(root), [str(path.relative_to(root)) for path in found]


def is_hidden(path: str) -> bool:
    """Whether the name of a file, or of a folder on the way to it, begins with a dot."""
    return any(part.startswith(".") for part in Path(path).parts)


def label(name: str) -> str:
    """What messages call an input."""
    return "standard input" if name == STANDARD else name


def read_input(name: str) -> bytes:
    """All bytes of a file or of standard input.

    Raises:
        ConfigError: if it cannot be read.
    """
    if name == STANDARD:
        if sys.stdin is None:
            raise ConfigError("standard input is closed: name a file")
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error})") from error


def beginning(name: str, size: int) -> bytes:
    """The first bytes of a file; none of one that cannot be read, or only once, as pipes and standard input."""
    if name != STANDARD and os.path.isfile(name):
        with suppress(OSError), open(name, "rb") as file:  # an error is told of when the file is read
            return file.read(size)
    return b""


def length_of(name: str) -> int:
    """Length of a file in bytes; 0 of what is no file, as pipes and standard input."""
    return os.path.getsize(name) if os.path.isfile(name) else 0
