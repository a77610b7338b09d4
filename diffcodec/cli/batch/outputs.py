"""Names of results, checks that they may be written, and writing."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from diffcodec.cli.batch.inputs import STANDARD, Input
from diffcodec.config import PICTURE_SUFFIXES
from diffcodec.errors import ConfigError
from diffcodec.files import atomic_write, unwritable


def names_folder(name: str) -> bool:
    """Whether a name stands for a folder: it exists as one, or ends in a slash."""
    return os.path.isdir(name) or name.endswith(("/", os.sep))


def outputs(files: Sequence[Input], out: str | None, suffix: str, many: bool) -> list[str]:
    """Name of every file's result: `photo.png` becomes `photo.dfc`, and `photo.png.dfc` becomes `photo.png` again.

    If several inputs would have the same result, such as `photo.png` and `photo.jpg`, all of these keep their suffix:
    `photo.png.dfc`, `photo.jpg.dfc`.

    Args:
        files: input files.
        out: a file for one input, a folder for several (or if it ends in a slash); None: beside every input.
        suffix: of the results.
        many: whether several inputs, or a folder, were named.

    Raises:
        ConfigError: if two results would still be the same file, or `out` does not fit the inputs.
    """
    if out == "":
        raise ConfigError("the name of the result is empty: is a shell variable unset?")
    if out is not None and not many and not names_folder(out):
        return [out]
    if many and (out == STANDARD or any(file.path == STANDARD for file in files)):
        raise ConfigError("standard input and output (-) need exactly one input")
    if out is not None and os.path.isfile(out):
        raise ConfigError(f"{out} is a file: several inputs need a folder for their results")
    if out is not None and out.endswith(suffix) and not names_folder(out):
        raise ConfigError(f"{out} is the name of a file: for several inputs name a folder, such as {out}/")
    if many:
        return _distinct([_result(file, out, suffix) for file in files])
    (file,) = files
    if file.path == STANDARD:
        return [STANDARD if out is None else str(Path(out) / f"stdin{suffix}")]
    return [_result(file, out, suffix)[0]]


def _result(file: Input, out: str | None, suffix: str) -> tuple[str, str]:
    """Names of a result, without and with the suffix of its input."""
    path = Path(file.path) if out is None else Path(out) / file.below
    return str(path.parent / (path.stem.removesuffix(suffix) + suffix)), str(path.parent / (path.name + suffix))


def _distinct(names: Sequence[tuple[str, str]]) -> list[str]:
    """The first name of each result if it is unique, else the second."""
    chosen = [short for short, _ in names]
    while shared := _shared(chosen):
        # A longer name may equal another result's short one, so repeat.
        longer = [place for place in shared if chosen[place] != names[place][1]]
        if not longer:
            short = names[shared[0]][0]
            raise ConfigError(
                f"two inputs would both be written to {short}: name each once, or use two calls with different --out"
            )
        for place in longer:
            chosen[place] = names[place][1]
    return chosen


def _shared(names: Sequence[str]) -> list[int]:
    """Indices of the names that refer to the same file as another name."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(os.path.realpath(name), []).append(place)
    return [place for same in places.values() if len(same) > 1 for place in same]


def check_writable(name: str, force: bool, source: str = STANDARD, option: str = "--out") -> None:
    """Fail before the work rather than after it if the result may not be written.

    Args:
        name: of the result.
        force: whether it may be overwritten.
        source: the input, which is never overwritten.
        option: that names the result, for messages.

    Raises:
        ConfigError: if the file exists and `force` is not set, or it is the input itself.
    """
    if name == STANDARD or not os.path.exists(name):
        return
    if source != STANDARD and os.path.exists(source) and os.path.samefile(name, source):
        raise ConfigError(f"{name} is the input itself: choose another name with {option}")
    if not force:
        raise ConfigError(f"{name} exists: pass --force to overwrite it, or choose another name with {option}")


def check_suffix(name: str, what: str, suffix: str) -> None:
    """Refuse to give a result the name of another kind of file, which might be an original.

    Args:
        name: of the result.
        what: kind of the result.
        suffix: that its name should have.

    Raises:
        ConfigError: if the name has the suffix of a picture or a .dfc file, and the result is of another kind.
    """
    for suffixes, kind in ((PICTURE_SUFFIXES, "a picture"), ((".dfc",), "a .dfc file")):
        if suffix not in suffixes and name.lower().endswith(suffixes):
            raise ConfigError(f"{name} would be {what} with the suffix of {kind}: choose a name that ends in {suffix}")


def check_folder(name: str) -> None:
    """Fail before the work rather than after it if a result's folder is missing or not writable.

    Raises:
        ConfigError: if so.
    """
    if name == STANDARD:
        return
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise unwritable(name, FileNotFoundError())
    if not os.access(os.path.dirname(os.path.realpath(name)), os.W_OK):  # links are followed
        raise ConfigError(f"{name} cannot be written: no permission to write in the folder {folder}")


def write_output(name: str, force: bool, write: Callable[[BinaryIO], object], *, make_folder: bool = False) -> int:
    """Write a file atomically, or standard output.

    Args:
        name: of the file.
        force: whether to overwrite it.
        write: called with the open file.
        make_folder: whether to create its folder.

    Returns:
        The file's length in bytes.

    Raises:
        ConfigError: if it cannot be written.
    """
    if name == STANDARD:
        buffer = io.BytesIO()
        write(buffer)
        if sys.stdout is None:
            raise ConfigError("standard output is closed: pass -o FILE")
        sys.stdout.buffer.write(buffer.getvalue())
        sys.stdout.buffer.flush()
        return len(buffer.getvalue())
    if make_folder:
        try:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        except OSError as error:
            raise unwritable(name, error) from error
    with atomic_write(Path(name), overwrite=force) as file:
        try:
            write(file)
        except OSError as error:
            raise ConfigError(f"{name} cannot be written: {error.strerror or error}") from error
        return file.tell()
