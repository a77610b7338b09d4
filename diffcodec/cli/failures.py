"""What a person is told when something fails, or is not quite as it was."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import click

from diffcodec.errors import DiffCodecError

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True)
class Failure:
    """What a person is told about an input that failed."""

    message: str


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


def attempt(source: str, action: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result | Failure:
    """What an action on an input returns, or what to tell of its error."""
    try:
        return action(*arguments)
    except (DiffCodecError, MemoryError, RuntimeError) as error:
        if (line := explain(error)) is None:
            raise
        return Failure(line if isinstance(error, DiffCodecError) else f"{source}: {line}")


def printable(text: str) -> str:
    """The text on one line that every terminal takes: a file's name may hold line ends, and bytes that are no text."""
    shown = click.format_filename(text)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)


def tell(failure: Failure) -> None:
    """Tell of a failure on standard error."""
    click.echo(f"Error: {printable(failure.message)}", err=True)


def warn(message: str) -> None:
    """Tell of what is no failure on standard error."""
    click.echo(f"Warning: {printable(message)}", err=True)


def note(message: str) -> None:
    """Tell of what a person may want to know on standard error."""
    click.echo(f"Note: {printable(message)}", err=True)


def drop_unwritable_output() -> None:
    """Sends to nowhere what standard output does not take: Python would try again when it ends, fail, and answer with a
    code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (AttributeError, ValueError):  # there is none, or it is closed
        pass
