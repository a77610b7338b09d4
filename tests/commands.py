"""Runs the command line as a person does, without another process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from diffcodec.cli import main


def run(*arguments: str | int | float | Path, stdin: bytes | None = None) -> Result:
    """What `diffcodec ARGUMENTS` does."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def fails(result: Result, *words: str) -> None:
    """One line of error, exit code 1, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr
