"""Runs of two Ray workers, undisturbed, with a killed worker and with a killed driver, against a serial one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_sets.making import write_shards, write_tables, write_tar

PATIENCE_S = 1200


def command(*arguments: object) -> list[str]:
    """A command line of `diffcodec dataset`."""
    return [sys.executable, "-m", "diffcodec", "dataset", *map(str, arguments)]


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The totals of a run that ends with an exit code."""
    result = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, check=False)
    if result.returncode != code:
        raise RuntimeError(f"exit code {result.returncode}: {result.stderr}")
    found: dict[str, Any] = json.loads(next(line for line in result.stdout.splitlines() if line.startswith("{")))
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """All results but manifests, which hold seconds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_manifests" not in path.parts
    }


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("nothing happened")
        time.sleep(0.01)


def writers_in(folder: Path) -> list[int]:
    """The processes that are writing there, by their temporary files."""
    return [int(path.name.split("-")[1]) for path in folder.glob(".diffcodec-*.tmp")]


def compare_runs(
    pictures: Sequence[bytes], shards: int, timestep: int, folder: Path, say: Callable[[str], object]
) -> dict[str, Any]:
    """Do all runs.

    Args:
        pictures: PNG files.
        shards: number of them.
        timestep: of the files.
        folder: for everything.
        say: is called with what is done.
    """
    tars = write_shards(folder / "tars", pictures, shards)
    tables = write_tables(folder / "tables", pictures, shards)
    options = ("-t", timestep, "-o")
    found: dict[str, Any] = {"pictures": len(pictures), "shards": shards, "timestep": timestep}
    for form, source in (("tar", tars), ("parquet", tables)):
        for name, workers in (("serial", 0), ("two", 2)):
            say(f"{form}, {name}")
            totals = run("compress", source, *options, folder / f"{form}-{name}", "--workers", workers)
            assert totals["members"] == len(pictures)
        found[f"{form}: same bytes"] = files_of(folder / f"{form}-serial") == files_of(folder / f"{form}-two")
    expected = files_of(folder / "tar-serial")

    say("a worker is killed")
    out = folder / "worker-killed"
    with subprocess.Popen(command("compress", tars, *options, out, "--workers", 2), stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(list(out.glob("_manifests/*"))) >= 1 and writers_in(out))
        os.kill(writers_in(out)[0], signal.SIGKILL)
        process.communicate()
    found["worker killed: exit code"] = process.returncode
    found["worker killed: same bytes"] = files_of(out) == expected

    say("the driver is killed")
    out = folder / "driver-killed"
    with subprocess.Popen(command("compress", tars, *options, out, "--workers", 2), stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(list(out.glob("_manifests/*"))) >= 2)
        process.kill()
    time.sleep(5)  # Ray's processes end by themselves
    found["driver killed: shards complete"] = len(list(out.glob("_manifests/*")))
    totals = run("compress", tars, *options, out, "--workers", 2)
    found["repeated: shards done"], found["repeated: up to date"] = totals["done"], totals["up_to_date"]
    found["repeated: same bytes"] = files_of(out) == expected
    found["repeated: verified pictures"] = run("verify", out, "--source", tars, "--workers", 0)["members"]

    say("broken members")
    broken = {f"bad-{place}.png": pictures[place][: 20 * place] for place in range(5)}
    good = {f"good-{place}.png": pictures[place] for place in range(20)}
    (folder / "broken").mkdir()
    write_tar(folder / "broken" / "broken.tar", {**good, **broken})
    totals = run("compress", folder / "broken", *options, folder / "broken-out", "--workers", 0, code=1)
    errors = (folder / "broken-out" / "_errors.csv").read_text()
    found["broken shard: pictures"], found["broken shard: failed"] = totals["members"], totals["failed"]
    found["broken shard: each named"] = all(name in errors for name in broken)
    return found
