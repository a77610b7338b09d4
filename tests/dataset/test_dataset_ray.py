"""Ray Data's workers make the files of a serial run, also if workers or the driver are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import run
from tests.dataset.making import make_tars, png, results_of, write_parquet, write_tar

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 500


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`diffcodec dataset ARGUMENTS` in a process of its own, as Ray needs one."""
    command = [sys.executable, "-m", "diffcodec", "dataset", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(*arguments: object, code: int = 0) -> str:
    with started(*arguments) as process:
        output, errors = process.communicate(timeout=2 * PATIENCE_S)
        assert process.returncode == code, errors
    assert "Traceback" not in errors
    return output + errors


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def workers_in(folder: Path) -> list[int]:
    """Processes that are writing shards there, by the names of their temporary files."""
    if not (folder / "_attempts").exists():  # the driver writes before that
        return []
    return [int(path.name.split("-")[1]) for path in folder.glob(".diffcodec-*.tmp")]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill(process: int, folder: Path) -> None:
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not is_alive(process))
    for path in folder.rglob(f".diffcodec-{process}-*.tmp"):  # or it would be taken for a worker again
        path.unlink()


def job(source: Path, out: Path, model: Path, workers: int) -> list[object]:
    return ["compress", source, "-o", out, "-t", 100, "--model", model, "--workers", workers]


@pytest.mark.slow
def test_two_workers_make_the_files_of_a_serial_run(tmp_path: Path, tiny_model: Path) -> None:
    source = make_tars(tmp_path / "source", shards=2, pictures=3)
    write_tar(source / "train-002.tar", {"good.png": png(), "bad.png": b"no picture"})
    shown = finish(*job(source, tmp_path / "many", tiny_model, 2), code=1)
    assert "bad.png is not a picture" in shown
    assert "--workers" not in shown
    assert "bad.png" in run("dataset", *job(source, tmp_path / "one", tiny_model, 0)).stderr
    assert results_of(tmp_path / "many") == results_of(tmp_path / "one")


@pytest.mark.slow
def test_killed_workers_lose_nothing(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_tars(tmp_path / "source", shards=6, pictures=6), tmp_path / "out"
    with started(*job(source, out, tiny_model, 2)) as process:
        for _ in range(2):
            wait_for(lambda: workers_in(out), process)
            kill(workers_in(out)[0], out)
        _, errors = process.communicate(timeout=2 * PATIENCE_S)
        assert process.returncode == 0, errors
    finish(*job(source, tmp_path / "one", tiny_model, 0))
    assert results_of(out) == results_of(tmp_path / "one")
    finish("verify", out, "--source", source, "--workers", 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Ray's processes end with their driver on Linux only")
def test_a_killed_driver_is_repeated_and_ends_in_the_same_files(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_tars(tmp_path / "source", shards=8, pictures=6), tmp_path / "out"
    with started(*job(source, out, tiny_model, 2)) as process:
        wait_for(lambda: len(list(out.rglob("train-*.json"))) >= 2, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(map(is_alive, workers_in(out))))
        time.sleep(1)
    done = len(list(out.rglob("train-*.json")))
    (line,) = [line for line in finish(*job(source, out, tiny_model, 2)).splitlines() if line.split()[:1] == ["8"]]
    assert line.split()[:3] == ["8", str(8 - done), str(done)]
    finish(*job(source, tmp_path / "one", tiny_model, 0))
    assert results_of(out) == results_of(tmp_path / "one")
    finish("verify", out, "--source", source, "--workers", 2)


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_is_named_and_stops_nothing(tmp_path: Path, tiny_model: Path) -> None:
    """As one would whose pictures take more memory than there is."""
    source = make_tars(tmp_path / "source", shards=4, pictures=1)
    script = tmp_path / "deadly.py"
    script.write_text(
        "import os, sys\n"
        "from functools import partial\n"
        "from diffcodec.dataset.engine import Workers, run_shards\n"
        "from diffcodec.dataset.shards import find_shards\n"
        "from diffcodec.dataset.work import DatasetJob, ShardWork\n"
        "class Deadly(ShardWork):\n"
        "    def _do(self, shard, version):\n"
        "        if shard.stem == 'train-001':\n"
        "            os._exit(9)\n"
        "        return super()._do(shard, version)\n"
        "if __name__ == '__main__':\n"
        "    import deadly\n"
        "    job = DatasetJob('compress', sys.argv[2], 'webdataset', {'timestep': 200, 'model': sys.argv[3]})\n"
        "    work = partial(deadly.Deadly, job, True)\n"
        "    for outcome in run_shards(work, find_shards(sys.argv[1], ('.png',)), Workers(2)):\n"
        "        print(outcome.stem, outcome.error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, str(script), str(source), str(tmp_path / "out"), str(tiny_model)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    lines = sorted(line for line in result.stdout.splitlines() if line.startswith("train-"))
    assert [line for line in lines if "killed" not in line] == ["train-000 ", "train-002 ", "train-003 "]
    assert "its worker was killed 3 times" in lines[1]


@pytest.mark.slow
def test_tables_are_the_same_from_two_workers(tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("pyarrow")
    for shard in range(4):
        rows = [{"image": png(9 - k % 3, 8, 10 * shard + k), "name": f"{k}.png", "label": k} for k in range(70)]
        write_parquet(tmp_path / "source" / f"part-{shard}.parquet", rows)
    for out, workers in (("two", 2), ("one", 0)):
        finish(*job(tmp_path / "source", tmp_path / out, tiny_model, workers))
    assert results_of(tmp_path / "two") == results_of(tmp_path / "one")
