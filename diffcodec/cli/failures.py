"""Errors, warnings and notes."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar, TypeVarTuple

import click

from diffcodec.errors import DiffCodecError, lacks_memory

FLAGS = {
    "overwrite": "--force",
    "data_column": "--image-column, --dfc-column",
    "time": "--set time=discrete",
    "batch_size": "--set batch_size=N",
    "settings": "--set",
    "reconstruction": "--decoder",
    "reconstruction_steps": "--decoder-steps",
    "reconstruction_seed": "--decoder-seed",
}
"""Options for the parameters that errors name, where the option is not --NAME."""

WHEN_FULL = "free some, or use a computer with more"
"""What to do if there is not enough memory, unless a command knows better."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True)
class Failure:
    """An input that failed, and why."""

    message: str


def explain(error: BaseException, when_full: str = WHEN_FULL, command: click.Command | None = None) -> str | None:
    """One line about an error that is not a bug, with the options that may help; None for bugs.

    Also None for a broken pipe: click ends the program quietly.

    Args:
        error: raised.
        when_full: what to do if there is not enough memory.
        command: that ran, whose options may be named; None: the one that runs.
    """
    if isinstance(error, DiffCodecError):
        flags = [FLAGS.get(name, f"--{name.replace('_', '-')}") for name in error.parameters]
        flags = [flag for flag in flags if _has(command, flag)]
        return f"{error} ({', '.join(flags)})" if flags else str(error)
    if lacks_memory(error):
        return f"not enough memory: {when_full}"
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    return None


def _has(command: click.Command | None, flags: str) -> bool:
    """Whether a command, or the one that runs, has options; if that is not known, it may have them."""
    context = click.get_current_context(silent=True)
    command = command or (context.command if context else None)
    if command is None or isinstance(command, click.Group):
        return True
    known = {name for parameter in command.params for name in parameter.opts}
    return all(flag.split()[0] in known for flag in flags.split(", "))


def attempt(
    source: str, action: Callable[[*Arguments], Result], *arguments: *Arguments, when_full: str = WHEN_FULL
) -> Result | Failure:
    """The result of an action on an input, or the failure to report; `when_full` as for `explain`."""
    try:
        return action(*arguments)
    except (DiffCodecError, MemoryError, RuntimeError) as error:
        if (line := explain(error, when_full)) is None:
            raise
        return Failure(line if isinstance(error, DiffCodecError) else f"{source}: {line}")


def printable(text: str) -> str:
    """The text on one line that any terminal can print: file names may hold line breaks and undecodable bytes."""
    shown = click.format_filename(text)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)


def painted(text: str, colour: str | None = None) -> str:
    """The text in bold and in a colour; plain if NO_COLOR is set (no-color.org).

    `click.echo` removes this where it does not write to a terminal.
    """
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)


def report(failure: Failure) -> None:
    """Report a failure on standard error."""
    click.echo(f"{painted('Error:', 'red')} {printable(failure.message)}", err=True)


def warn(message: str) -> None:
    """Warn on standard error."""
    click.echo(f"{painted('Warning:', 'yellow')} {printable(message)}", err=True)


def note(message: str) -> None:
    """Print a note on standard error."""
    click.echo(f"{painted('Note:', 'cyan')} {printable(message)}", err=True)


class PaintedError(click.ClickException):
    """Another error of click, shown in colour."""

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(error.message)
        self.error = error
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """What the error shows."""
        self.error.show(shown := io.StringIO())
        text = re.sub(r"^Error:", lambda found: painted(found[0], "red"), shown.getvalue(), count=1, flags=re.MULTILINE)
        click.echo(text, file, nl=False, err=True)


@contextmanager
def errors_painted() -> Iterator[None]:
    """Shows click's errors in colour."""
    try:
        yield
    except PaintedError:
        raise
    except click.ClickException as error:
        raise PaintedError(error) from error


def drop_unwritable_output() -> None:
    """Discard unwritable output: Python would flush it again at exit, fail, and return its own exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (AttributeError, ValueError):  # there is none, or it is closed
        pass
