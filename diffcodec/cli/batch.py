"""One command over one input, several, a folder, or standard input and output."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.files import atomic_write

STANDARD = "-"


def expand(inputs: Sequence[str], suffixes: Iterable[str]) -> list[str]:
    """The inputs with every folder replaced by the files in it that have one of the suffixes, by name.

    Raises:
        ConfigError: if a folder holds no such file.
    """
    wanted = tuple(suffixes)
    files: list[str] = []
    for name in inputs:
        if name == STANDARD or not Path(name).is_dir():
            files.append(name)
            continue
        found = sorted(str(file) for file in Path(name).iterdir() if file.suffix.lower() in wanted)
        if not found:
            raise ConfigError(f"{name}: no file in this folder ends in {', '.join(wanted)}")
        files += found
    return files


def outputs(files: Sequence[str], out: str | None, suffix: str, many: bool) -> list[str]:
    """Where the result of every file goes.

    Args:
        files: input files.
        out: a file for one input, a folder for several; None is beside every input.
        suffix: of the results.
        many: whether several inputs, or a folder, were named.

    Raises:
        ConfigError: if two results would be the same file, or `out` does not fit the inputs.
    """
    if out is not None and not many and not Path(out).is_dir():
        return [out]
    if many and (out == STANDARD or STANDARD in files):
        raise ConfigError("standard input and output (-) go with exactly one input")
    if out is not None and Path(out).is_file():
        raise ConfigError(f"{out} is a file: several inputs need a folder for their results")
    results = []
    for name in files:
        if name == STANDARD:
            results.append(STANDARD if out is None else str(Path(out) / f"stdin{suffix}"))
            continue
        folder = Path(name).parent if out is None else Path(out)
        results.append(str(folder / (Path(name).stem + suffix)))
    if len(set(results)) < len(results):
        twice = next(name for name in results if results.count(name) > 1)
        raise ConfigError(f"two inputs would both be written to {twice}: do them in two calls with two --out")
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
    return results


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


def check_writable(name: str, force: bool) -> None:
    """Fail before the work, not after it, if the result may not be written.

    Raises:
        ConfigError: if the file exists and `force` is not set.
    """
    if name != STANDARD and not force and Path(name).exists():
        raise ConfigError(f"{name} exists: pass --force to overwrite it, or another name with --out")


def write_output(name: str, force: bool, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all, or standard output.

    Raises:
        ConfigError: if it cannot be written.
    """
    if name == STANDARD:
        buffer = io.BytesIO()
        write(buffer)
        sys.stdout.buffer.write(buffer.getvalue())
        sys.stdout.buffer.flush()
        return
    with atomic_write(Path(name), overwrite=force) as file:
        write(file)


def for_each(pairs: Iterable[tuple[str, str]], action: Callable[[str, str], None]) -> None:
    """Run an action on every (input, output); one that fails is named, and the others go on.

    Raises:
        click.exceptions.Exit: with code 1 if any failed.
    """
    failed = False
    for source, target in pairs:
        try:
            action(source, target)
        except DiffCodecError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)
