"""Catches what libtiff writes to standard error while it decodes: for many kinds of damage it is the only sign."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

_LIBTIFF = re.compile(r"(\w*(Decode|TIFF|Setup)\w*|JPEGLib|MissingRequired|tempfile\.tif): (?P<message>.+)")
_STDERR = 2


class _Redirection:
    """Standard error of the whole process, turned to a file for one thread at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.saved: int | None = None

    def after_fork(self) -> None:
        """Ends it in a forked process: the thread that began it does not exist there."""
        self.lock = Lock()
        self.end()

    def end(self) -> None:
        """Turns standard error back."""
        saved, self.saved = self.saved, None
        if saved is not None:
            os.dup2(saved, _STDERR)
            os.close(saved)


_REDIRECTION = _Redirection()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REDIRECTION.after_fork)


@contextmanager
def tiff_messages() -> Iterator[list[str]]:
    """A list that has libtiff's errors at the end of the `with` block. Its warnings are dropped.

    Other threads' messages in the meantime are written when the block ends.
    """
    found: list[str] = []
    with _REDIRECTION.lock, tempfile.TemporaryFile() as file:
        try:
            _REDIRECTION.saved = os.dup(_STDERR)
        except OSError:  # the process has no standard error
            yield found
            return
        os.dup2(file.fileno(), _STDERR)
        try:
            yield found
        finally:
            _REDIRECTION.end()
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines(keepends=True):
                match = _LIBTIFF.match(line)
                if match is None:
                    with suppress(OSError, AttributeError, ValueError):
                        sys.stderr.write(line)
                elif not match["message"].startswith("Warning"):
                    found.append("".join(letter for letter in match[0].rstrip(".") if letter.isprintable()))
