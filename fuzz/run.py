"""Runs a fuzzer: `bin/fuzz TARGET --seconds N`."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click

from fuzz.seeds import write_seeds
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
MEMORY_MB, SECONDS_EACH, LONGEST = 3000, 60, 16_384
"""Limits of the process and of one execution, and the longest input in bytes. A model file may be longer."""

LONGEST_MODEL = 400_000
RUNS_AT_ONCE = 100_000
"""Executions of one process: with a mutator in Python Atheris grows by 10 KB an execution, whatever it executes."""

NO_ATHERIS = (
    "Atheris is not installed: `pip install atheris` (wheels: Linux, Python 3.11 to 3.13), or replay inputs "
    "with --replay"
)


def fuzzer(target: str, folder: Path, *, seconds: int = 0, runs: int = -1) -> list[str]:
    """The command that fuzzes a target.

    Args:
        target: one of `TARGETS`.
        folder: for the corpus and for what is found; the seeds are written there.
        seconds: after which to stop; 0: never.
        runs: number of executions after which to stop; -1: never.
    """
    for name in ("corpus", "found"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_seeds(target, folder / "seeds")
    return [
        sys.executable,
        *("-m", f"fuzz.fuzz_{target}", str(folder / "corpus"), str(folder / "seeds")),
        f"-artifact_prefix={folder / 'found'}/",
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={SECONDS_EACH}",
        f"-max_len={LONGEST_MODEL if target == 'models' else LONGEST}",
        "-keep_seed=1",  # what differs in native code only looks alike to Atheris
        "-print_final_stats=1",
    ]


def replay(target: str, paths: Iterable[Path]) -> int:
    """Execute a target with files, and with those in folders, without Atheris; returns their number."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    for file in files:
        try:
            TARGETS[target](file.read_bytes())
        except Exception:
            click.echo(f"{file}:", err=True)
            raise
    return len(files)


@click.command()
@click.argument("target", type=click.Choice(list(TARGETS)))
@click.option("--seconds", type=click.IntRange(0), default=60, show_default=True, help="Stop after that; 0: never.")
@click.option("--runs", type=click.IntRange(1), help="Stop after so many executions, whatever the time.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="For the corpus, which the next run continues, and what was found.  [default: runs/fuzz/TARGET]",
)
@click.option(
    "--replay",
    "replayed",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Execute a file, or all in a folder, instead; needs no Atheris.",
)
def main(target: str, seconds: int, runs: int | None, folder: Path | None, replayed: tuple[Path, ...]) -> None:
    """Look for inputs that end in anything but diffcodec's own exceptions: other exceptions, too much time or memory.

    The input is then kept in FOLDER/found, and the exit code is not 0.
    """
    if replayed:
        click.echo(f"{replay(target, replayed)} inputs, nothing foreign")
        return
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException(NO_ATHERIS)
    folder = (folder or ROOT / "runs" / "fuzz" / target).absolute()
    begin, done = time.monotonic(), 0
    limited = bool(seconds) and not runs
    while not runs or done < runs:
        left = math.ceil(begin + seconds - time.monotonic()) if limited else 0
        if limited and left <= 0:
            break
        part = min(RUNS_AT_ONCE, runs - done) if runs else RUNS_AT_ONCE
        result = subprocess.run(fuzzer(target, folder, seconds=left, runs=part), cwd=ROOT, check=False)
        if result.returncode:
            raise click.ClickException(f"something was found: {folder / 'found'}, to be executed again with --replay")
        done += part
    executed = f"{runs:,} executions, " if runs else ""
    click.echo(f"{executed}nothing foreign; the corpus is in {folder / 'corpus'}")


if __name__ == "__main__":
    main()
