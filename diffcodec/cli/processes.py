"""Batches shared out among processes, any of which may be killed."""

from __future__ import annotations

import os
import signal
import threading
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

from diffcodec.cli.batch import Outcome, Task, Worker, finish
from diffcodec.cli.failures import Failure
from diffcodec.files import remove_unfinished

SECONDS_TO_LEAVE = 3.0
"""How long a process that is asked to end may take before it is killed."""

Load = Callable[[], Worker[Any, Any]]


@dataclass(frozen=True)
class Defect:
    """An exception that is none of the input's: its traceback."""

    text: str


@dataclass
class Helper:
    """A process, and what it has been given and not yet told of."""

    process: SpawnProcess
    pipe: Connection
    tasks: list[Task] = field(default_factory=list)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finish_in_processes(
    load: Load, batches: Sequence[Sequence[Task]], processes: int
) -> Iterator[tuple[Task, Outcome]]:
    """Do batches of tasks in processes that share the cores; yields what became of each task as it comes.

    A process is given one batch at a time, and reads its inputs itself. If it is killed, for want of memory for
    instance, the tasks that it did not get to are done one by one, and the one that kills a process alone has failed.

    Args:
        load: makes a worker; picklable.
        batches: of tasks.
        processes: how many, at least 1.

    Raises:
        RuntimeError: if there is a defect in the program.
    """
    processes = min(processes, len(batches))
    threads = max(1, cores() // processes)
    waiting = deque(list(batch) for batch in batches)
    helpers: list[Helper] = []
    try:
        while waiting or any(helper.tasks for helper in helpers):
            while waiting and (idle := _idle(helpers, processes, load, threads)):
                idle.tasks = waiting.popleft()
                with suppress(OSError):  # one that has just died is found below
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
                task, _ = message
                helper.tasks.remove(task)
                yield message
    finally:
        _dismiss(helpers)


def _idle(helpers: list[Helper], processes: int, load: Load, threads: int) -> Helper | None:
    """A process without work, which is started if there are not enough of them."""
    for helper in [helper for helper in helpers if not helper.tasks]:
        if helper.process.is_alive():
            return helper
        helpers.remove(helper)  # killed while it had nothing to do, which is no task's fault
        helper.pipe.close()
    if len(helpers) == processes:
        return None
    context = get_context("spawn")  # a forked process cannot use a GPU
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, load, threads), daemon=True)
    with _interrupts_ignored():
        process.start()
    theirs.close()  # so that our end is told when the process dies
    helpers.append(Helper(process, ours))
    return helpers[-1]


def _bury(helper: Helper, waiting: deque[list[Task]]) -> Iterator[tuple[Task, Outcome]]:
    """Clear away a process that has died; what it was doing alone has failed, and of several tasks each is tried."""
    helper.process.join()
    helper.pipe.close()
    _clean_up_after(helper)
    if len(helper.tasks) > 1:
        waiting.extendleft([task] for task in reversed(helper.tasks))
        return
    (task,) = helper.tasks
    code = helper.process.exitcode or 0
    how = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
    yield task, Failure(f"{task.source}: its process {how}, perhaps for want of memory: try fewer --jobs")


def _dismiss(helpers: Sequence[Helper]) -> None:
    """End all processes, at once if they are at work."""
    for helper in helpers:
        helper.process.terminate()
    for helper in helpers:
        helper.process.join(SECONDS_TO_LEAVE)
        if helper.process.is_alive():  # deep in machine code
            helper.process.kill()
            helper.process.join()
        _clean_up_after(helper)
        helper.pipe.close()


def _clean_up_after(helper: Helper) -> None:
    for folder in {os.path.dirname(os.path.realpath(task.target)) for task in helper.tasks}:
        remove_unfinished(Path(folder), process=helper.process.pid)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside leave it to this one to act on Ctrl-C, which the terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, load: Load, threads: int) -> None:
    """What a process does: batches of tasks in, what became of each out, until the pipe is closed."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    # Libraries look at these when they are loaded, which is when the worker is.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    try:
        worker = load()
        while True:
            for message in finish(worker, pipe.recv()):
                pipe.send(message)
    except (EOFError, BrokenPipeError):  # nobody is there any more
        pass
    except _Leave:
        os._exit(128 + signal.SIGTERM)  # large libraries take seconds to end in good order
    except Exception:
        pipe.send(Defect(traceback.format_exc()))


class _Leave(BaseException):
    """The process was asked to end: unlike the signal itself, an exception has temporary files removed."""


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Leave


def _follow_parent() -> None:
    """End this process when the one that started it has died, lest it writes files that nobody expects."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
