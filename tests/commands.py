"""Runs the command line as a person does, without another process."""

from __future__ import annotations

import re

from click.testing import CliRunner, Result

from diffcodec.cli import main


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    """What `diffcodec ARGUMENTS` does."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def succeeds(result: Result) -> Result:
    """The result, of exit code 0."""
    assert result.exit_code == 0, result.output
    return result


def fails(result: Result, *words: str, code: int = 1) -> None:
    """One line of error (or one for every file that failed, and their list), no traceback; code 2 shows the usage."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    if code == 2:
        assert result.stderr.startswith("Usage: "), result.stderr
    else:
        reported, *listed = re.split(r"^\d+ failed:$", result.stderr, maxsplit=1, flags=re.MULTILINE)
        lines = reported.splitlines()
        assert {line.split(" ")[0] for line in lines} == {"Error:"}, result.stderr
        assert listed or len(lines) == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
