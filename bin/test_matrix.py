"""Runs tests under several conditions and prints a table: does the codec give the same everywhere?

    bin/test-matrix                                   # everything below
    bin/test-matrix --only avx2 --only oldest         # some conditions
    bin/test-matrix --list                            # their names
    bin/test-matrix --all-tests                       # the whole fast suite under each, which takes hours
    bin/test-matrix --python 3.12 --python 3.13       # newest releases for these Pythons, too, if they are on the PATH

Each condition runs the conformance suite in float32, and the tests of golden files, channels and coding. Those with
other versions get a virtual environment in --environments, of some 6 GB, which is removed unless --keep is given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).parents[1]
SUBSET = (
    "tests/test_golden.py",
    "tests/channel/test_channel_law.py",
    "tests/coding/test_step_coding.py",
    "tests/bitstream/test_entropy.py",
)
TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100")


@dataclass(frozen=True)
class Condition:
    """What the tests run under.

    Args:
        name: for the table.
        text: for people.
        variables: of the environment.
        plugin: module that pytest loads, if any.
        python: version of Python for an environment of its own; None: the one that runs this.
        oldest: whether that environment has the oldest versions of all dependencies, instead of the newest.
    """

    name: str
    text: str
    variables: Mapping[str, str] = field(default_factory=dict)
    plugin: str | None = None
    python: str | None = None
    oldest: bool = False


def numpy_extensions() -> str:
    """The instructions that numpy uses here beyond those that it was built for."""
    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))


CONDITIONS = (
    Condition("as-it-is", "this machine, one thread"),
    Condition("no-simd", "torch without vector instructions", {"ATEN_CPU_CAPABILITY": "default"}),
    Condition("avx2", "torch with AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    Condition("onednn-sse41", "oneDNN with SSE 4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Condition("onednn-avx2", "oneDNN with AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Condition("onednn-off", "torch without oneDNN", plugin="tests.without_onednn"),
    Condition("numpy-baseline", "numpy without AVX", {"NPY_DISABLE_CPU_FEATURES": numpy_extensions()}),
    Condition("threads-2", "two threads", {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}),
    Condition("threads-5", "five threads", {"OMP_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "5"}),
    Condition("omp-3-blas-1", "threads for torch only", {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}),
    Condition("omp-1-blas-3", "threads for numpy only", {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "3"}),
    Condition("oldest", "the oldest versions of all dependencies", python="3.11", oldest=True),
)


@dataclass(frozen=True)
class Result:
    """What came of a condition.

    Args:
        condition: that it was.
        outcome: in words.
        passed: whether all passed; None if it could not be tried.
        seconds: that it took.
    """

    condition: Condition
    outcome: str
    passed: bool | None
    seconds: float = 0.0


def oldest_versions() -> list[str]:
    """The lower bounds of the core dependencies, as requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = (re.fullmatch(r"([\w-]+)>=([\d.]+)", each) for each in project["dependencies"])
    return [f"{found[1]}=={found[2]}{'.*' if found[2].count('.') < 2 else ''}" for found in bounds if found is not None]


def environment_of(condition: Condition, folder: Path) -> Path | None:
    """The Python of a new environment for a condition; None if there is no such interpreter.

    Raises:
        CalledProcessError: if something cannot be installed.
    """
    base = shutil.which(f"python{condition.python}")
    if base is None:
        return None
    subprocess.run([base, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    versions = oldest_versions() if condition.oldest else []
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    subprocess.run([*install, *versions, *TEST_TOOLS, *([] if versions else [str(ROOT)])], check=True)
    return python


def run(condition: Condition, python: Path, tests: Sequence[str]) -> Result:
    """Run conformance suite and tests."""
    start = time.perf_counter()
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **condition.variables}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    checked = [str(python), "-m", "diffcodec", "conformance", "--precision", "fp32"]
    tested = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    if condition.plugin is not None:
        checked = [
            str(python),
            "-c",
            f"import {condition.plugin}; from diffcodec.cli import main; main()",
            *checked[3:],
        ]
        tested += ["-p", condition.plugin]
    outcomes, passed = [], True
    for command in (checked, tested):
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        lines = [
            line for line in result.stdout.splitlines() if re.search(r"\d (passed|failed|error|of \d+ cases)", line)
        ]
        outcomes.append(lines[-1].split(" in ")[0].strip("= ") if lines else f"exit code {result.returncode}")
        if result.returncode:
            passed = False
            click.echo(result.stdout[-4000:] + result.stderr[-4000:], err=True)
    return Result(condition, "; ".join(outcomes), passed, time.perf_counter() - start)


def tried(condition: Condition, tests: Sequence[str], environments: Path, keep: bool) -> Result:
    """Run a condition, in an environment of its own if it needs one."""
    if condition.python is None:
        return run(condition, Path(sys.executable), tests)
    folder = environments / condition.name
    try:
        python = environment_of(condition, folder)
        if python is None:
            return Result(condition, f"there is no python{condition.python}", None)
        return run(condition, python, tests)
    except subprocess.CalledProcessError as error:
        return Result(condition, f"{' '.join(error.cmd[1:4])} failed", None)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def table(results: Sequence[Result]) -> str:
    """A line of Markdown for each condition."""
    lines = ["| condition | | result | seconds |", "|---|---|---|---|"]
    for each in results:
        verdict = {True: "pass", False: "FAIL", None: "not tried"}[each.passed]
        lines.append(
            f"| {each.condition.name} | {each.condition.text} | {verdict}: {each.outcome} | {each.seconds:.0f} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Run only this condition.")
@click.option("--list", "lists", is_flag=True, help="List the conditions.")
@click.option("--all-tests", is_flag=True, help="Run the whole fast suite under each.")
@click.option("--python", "pythons", multiple=True, metavar="X.Y", help="Also the newest versions with this Python.")
@click.option("--environments", type=click.Path(path_type=Path), help="Folder for virtual environments.")
@click.option("--keep", is_flag=True, help="Keep them.")
def main(
    only: tuple[str, ...], lists: bool, all_tests: bool, pythons: tuple[str, ...], environments: Path | None, keep: bool
) -> None:
    """Run tests under several conditions, and print a table."""
    newest = [
        Condition(f"python-{version}", f"Python {version}, newest versions", python=version) for version in pythons
    ]
    conditions = [*CONDITIONS, *newest]
    if unknown := set(only) - {each.name for each in conditions}:
        raise click.UsageError(f"There is no condition {sorted(unknown)[0]}: --list shows them.")
    if lists:
        for each in conditions:
            click.echo(f"{each.name:<16} {each.text}")
        return
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for condition in conditions:
            if not only or condition.name in only:
                found = tried(condition, ["tests"] if all_tests else SUBSET, environments or Path(temporary), keep)
                click.echo(f"{condition.name}: {found.outcome}", err=True)
                results.append(found)
    click.echo(table(results))
    if any(each.passed is False for each in results):
        raise click.ClickException("some conditions fail")


if __name__ == "__main__":
    main()
