"""Distributes batches among processes, any of which may be killed."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from diffcodec.channel.threads import cores
from diffcodec.cli.batch.work import Moved, Outcome, Task, Worker, finish
from diffcodec.cli.failures import Failure
from diffcodec.files import remove_unfinished

EXIT_TIMEOUT_S = 3.0
"""Time for a process to exit after SIGTERM before it is killed."""

LEAST_BETWEEN_S = 0.5
"""Least time between two reports of a process."""

Load = Callable[[], Worker[Any, Any]]


@dataclass(frozen=True)
class Defect:
    """The traceback of an exception that no input caused."""

    text: str


@dataclass(frozen=True)
class ProgressMessage:
    """Progress of a process on its current tasks."""

    places: list[int]
    fraction: float


@dataclass
class Helper:
    """A process, and its tasks that have no reported outcome yet."""

    process: SpawnProcess
    pipe: Connection
    tasks: list[Task] = field(default_factory=list)


def finish_in_processes(
    load: Load, batches: Sequence[Sequence[Task]], processes: int, moved: Moved = lambda places, fraction: None
) -> Iterator[tuple[Task, Outcome]]:
    """Do batches of tasks in processes that share the cores; yields the outcome of each task as it arrives.

    A process receives one batch at a time, and reads its inputs itself. If it is killed, for example by the system for
    lack of memory, its remaining tasks are retried one by one; a task that kills its process when run alone has failed.

    Args:
        load: makes a worker; picklable.
        batches: of tasks.
        processes: number of processes, at least 1.
        moved: is called during the work.

    Raises:
        RuntimeError: if the program has a bug.
    """
    processes = min(processes, len(batches))
    threads = max(1, cores() // processes)
    waiting = deque(list(batch) for batch in batches)
    helpers: list[Helper] = []
    try:
        while waiting or any(helper.tasks for helper in helpers):
            while waiting and (idle := _idle(helpers, processes, load, threads)):
                idle.tasks = waiting.popleft()
                with suppress(OSError):  # a process that has just died is handled below
                    idle.pipe.send(idle.tasks)
            busy = {helper.pipe: helper for helper in helpers if helper.tasks}
            for pipe in connection.wait(list(busy)):
                helper = busy[pipe]  # type: ignore[index]
                try:
                    message = helper.pipe.recv()
                except (EOFError, OSError):
                    helpers.remove(helper)
                    yield from _bury(helper, waiting)
                    continue
                if isinstance(message, Defect):
                    raise RuntimeError(message.text)
                if isinstance(message, ProgressMessage):
                    moved(message.places, message.fraction)
                    continue
                task, _ = message
                helper.tasks.remove(task)
                yield message
    finally:
        _dismiss(helpers)


def _idle(helpers: list[Helper], processes: int, load: Load, threads: int) -> Helper | None:
    """An idle process, started if there are fewer than `processes`; None if all are busy."""
    for helper in [helper for helper in helpers if not helper.tasks]:
        if helper.process.is_alive():
            return helper
        helpers.remove(helper)  # killed while idle: no task failed
        helper.pipe.close()
    if len(helpers) == processes:
        return None
    context = get_context("spawn")  # a forked process cannot use a GPU
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, load, threads), daemon=True)
    with _interrupts_ignored():
        process.start()
    theirs.close()  # so that our end sees EOF when the process dies
    helpers.append(Helper(process, ours))
    return helpers[-1]


def _bury(helper: Helper, waiting: deque[list[Task]]) -> Iterator[tuple[Task, Outcome]]:
    """Clean up after a process that has died. A single task has failed; several are queued again one by one."""
    helper.process.join()
    helper.pipe.close()
    _clean_up_after(helper)
    if len(helper.tasks) > 1:
        waiting.extendleft([task] for task in reversed(helper.tasks))
        return
    (task,) = helper.tasks
    code = helper.process.exitcode or 0
    how = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
    yield task, Failure(f"{task.source}: its process {how}, perhaps for lack of memory: try fewer --jobs")


def _dismiss(helpers: Sequence[Helper]) -> None:
    """End all processes, even busy ones."""
    for helper in helpers:
        helper.process.terminate()
    for helper in helpers:
        helper.process.join(EXIT_TIMEOUT_S)
        if helper.process.is_alive():  # busy in native code, which handles no signals
            helper.process.kill()
            helper.process.join()
        _clean_up_after(helper)
        helper.pipe.close()


def _clean_up_after(helper: Helper) -> None:
    for folder in {os.path.dirname(os.path.realpath(task.target)) for task in helper.tasks}:
        remove_unfinished(Path(folder), process=helper.process.pid)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which the terminal sends to all of them; the parent handles it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, load: Load, threads: int) -> None:
    """Main loop of a process: receives batches of tasks and sends the outcome of each until the pipe is closed."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    # Libraries read these when they are loaded, which happens with the worker.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    try:
        worker, progress = load(), ProgressSender(pipe)
        while True:
            for message in finish(worker, pipe.recv(), progress.send):
                pipe.send(message)
    except (EOFError, BrokenPipeError):  # the parent has closed its end
        pass
    except _Leave:
        os._exit(128 + signal.SIGTERM)  # a regular exit takes seconds with large libraries
    except Exception:
        pipe.send(Defect(traceback.format_exc()))


class ProgressSender:
    """Reports the progress of a process through a pipe, twice a second at most."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.last = pipe, time.monotonic()

    def send(self, places: Sequence[int], fraction: float) -> None:
        """Report progress, unless that was just done."""
        now = time.monotonic()
        if now - self.last >= LEAST_BETWEEN_S:
            self.last = now
            self.pipe.send(ProgressMessage(list(places), fraction))


class _Leave(BaseException):
    """SIGTERM as an exception, so that temporary files are removed on the way out."""


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Leave


def _follow_parent() -> None:
    """Exit when the parent process has died, so that no unexpected files are written."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
