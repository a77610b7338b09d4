"""Batches in several processes: a killed process fails only its own input, and leaves no temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffcodec.channel.threads import cores
from diffcodec.cli.batch.processes import finish_in_processes
from diffcodec.cli.batch.work import Done, Outcome, Task, UpToDate, batches
from diffcodec.cli.failures import Failure
from tests.fake_worker import CopyJob

ROOT = Path(__file__).parents[2]

COPY = """
import signal
import sys
from pathlib import Path
from diffcodec.cli.batch.inputs import expand
from diffcodec.cli.batch.run import RunOptions, run_batch
from tests.fake_worker import CopyJob

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that a shell runs in the background ignore it
    inputs = expand([sys.argv[1]], [".txt"])
    targets = [str(Path(sys.argv[2]) / file.below) for file in inputs.files]
    options = RunOptions(jobs=int(sys.argv[3]), resume=False, as_json=False, quiet=False, progress=None)
    run_batch(CopyJob(), inputs, targets, options)
"""


def write_all(folder: Path, contents: dict[str, str]) -> None:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_text(content)


def copy_all(folder: Path, contents: dict[str, str], processes: int = 2) -> dict[str, Outcome]:
    """What becomes of files that are copied from one folder to another."""
    write_all(folder / "in", contents)
    (folder / "out").mkdir()
    job = CopyJob()
    tasks = [
        Task(place, str(folder / "in" / name), str(folder / "out" / name), *job.peek(name))
        for place, name in enumerate(contents)
    ]
    found = finish_in_processes(job.load, list(batches(tasks)), processes)
    return {Path(task.source).name: outcome for task, outcome in found}


def test_one_that_is_killed_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    contents = {"a1": "x", "a2": "die", "a3": "x", "b1": "leave", "c1": "bad", "c2": "x", "d1": "slow", "e1": "slow"}
    found = copy_all(tmp_path, contents)
    failures = {name: outcome.message for name, outcome in found.items() if isinstance(outcome, Failure)}
    assert sorted(failures) == ["a2", "b1", "c1"]
    assert failures["a2"].endswith(
        "in/a2: its process was killed (signal 9), perhaps for lack of memory: try fewer --jobs"
    )
    assert "its process ended (exit code 7)" in failures["b1"]
    assert failures["c1"].endswith("c1 is bad")
    assert sorted(os.listdir(tmp_path / "out")) == ["a1", "a3", "c2", "d1", "e1"]
    workers = {outcome.values["process"] for outcome in found.values() if isinstance(outcome, Done)}
    assert os.getpid() not in workers
    assert len(workers) > 1


def test_one_that_is_killed_while_it_waits_is_no_tasks_fault(tmp_path: Path) -> None:
    """The first process to be done waits for the second, and is killed there; that one dies with a batch of two."""
    write_all(tmp_path / "in", {"a": "x", "b1": "slow", "b2": "die", "b3": "x"})
    (tmp_path / "out").mkdir()
    alone, *others = (
        Task(place, str(tmp_path / "in" / name), str(tmp_path / "out" / name))
        for place, name in enumerate(("a", "b1", "b2", "b3"))
    )
    found = {}
    for task, outcome in finish_in_processes(CopyJob().load, [[alone], others], 2):
        found[Path(task.source).name] = outcome
        if task == alone:
            assert isinstance(outcome, Done)
            os.kill(outcome.values["process"], signal.SIGKILL)
    assert {name for name, outcome in found.items() if isinstance(outcome, Failure)} == {"b2"}
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b1", "b3"]


def test_a_defect_of_the_program_comes_through_and_ends_all_processes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Traceback(.|\n)*shapes differ"):
        copy_all(tmp_path, {"a": "defect", "b": "slow"})
    assert not list((tmp_path / "out").glob(".*"))


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    write_all(tmp_path / "in", {"a": "new"})
    task = Task(0, str(tmp_path / "in" / "a"), str(tmp_path / "out" / "a"))
    assert list(finish_in_processes(CopyJob().load, [[task]], 5)) == [(task, UpToDate())]


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("number", "jobs"),
    [
        (signal.SIGINT, 1),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow),
        (signal.SIGTERM, 2),
    ],
)
def test_a_run_that_is_stopped_leaves_nothing_half_written(number: signal.Signals, jobs: int, tmp_path: Path) -> None:
    write_all(tmp_path / "in", {"a.txt": "x", "b.txt": "hang", "c.txt": "hang"})
    out = tmp_path / "out"
    out.mkdir()
    program = subprocess.Popen(
        [sys.executable, "-c", COPY, str(tmp_path / "in"), str(out), str(jobs)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: len(half_written(out)) == jobs and (out / "a.txt").exists())
    # A terminal sends Ctrl-C to the whole group, anybody else to the one process that they know.
    (os.killpg if number == signal.SIGINT else os.kill)(program.pid, number)
    start = time.monotonic()
    _, errors = program.communicate(timeout=120)
    assert time.monotonic() - start < 5
    assert program.returncode == 128 + number
    assert errors == "Stopped after 1 of 3 files: repeat the command with --resume to do the rest\n"
    assert os.listdir(out) == ["a.txt"]


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path: Path) -> None:
    write_all(tmp_path / "in", {"a.txt": "hang", "b.txt": "hang"})
    out = tmp_path / "out"
    out.mkdir()
    program = subprocess.Popen([sys.executable, "-c", COPY, str(tmp_path / "in"), str(out), "2"], cwd=ROOT)
    wait_until(lambda: len(half_written(out)) == 2)
    program.kill()
    program.wait()
    helpers = [int(file.name.split("-")[1]) for file in half_written(out)]
    assert program.pid not in helpers
    wait_until(lambda: not any(is_alive(helper) for helper in helpers))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def half_written(folder: Path) -> list[Path]:
    """Temporary files that nobody will finish."""
    return [file for file in folder.glob(".diffcodec-*") if file.read_text() == "hang"]


def is_alive(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
