"""One command over one input or many: in batches, in processes, and further where it was stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import click

from diffcodec.cli.batch import Outcome, Task, Worker, batches, finish
from diffcodec.cli.failures import warn
from diffcodec.cli.inputs import STANDARD, Inputs
from diffcodec.cli.report import Report
from diffcodec.errors import ConfigError
from diffcodec.files import remove_unfinished


@dataclass(frozen=True)
class RunOptions:
    """What `folder_options` ask for.

    Args:
        jobs: number of processes; 0 for one on each core.
        resume: whether to go on with what a run has left.
        as_json, quiet, progress: see `Report`.
    """

    jobs: int
    resume: bool
    as_json: bool
    quiet: bool
    progress: bool | None


class Settings(Protocol):
    """What a command does to its inputs. It can be sent to another process."""

    def load(self) -> Worker[Any, Any]:
        """The worker, with its model."""

    def foresee(self, source: str) -> tuple[Hashable, int]:
        """Kind and number of pixels of an input, from its beginning; None and 0 if that does not tell."""


def do_all(settings: Settings, inputs: Inputs, targets: Sequence[str], options: RunOptions) -> None:
    """Do the same to all inputs; one that fails is named, and the others go on.

    Args:
        settings: what to do.
        inputs: what to do it to.
        targets: names of the results.
        options: how to do it.

    Raises:
        click.exceptions.Exit: with code 1 if any failed.
        SystemExit: if the run was stopped; nothing is half written.
    """
    if options.as_json and STANDARD in targets:
        raise ConfigError("--json and the result cannot both go to standard output: pass -o FILE")
    if options.resume:
        for folder in {os.path.dirname(os.path.realpath(target)) for target in targets if target != STANDARD}:
            remove_unfinished(Path(folder))
    worker = settings.load()  # also for other processes: what is wrong with a model is told once
    if worker.warning:
        warn(worker.warning)
    tasks = [
        Task(place, source, target, *settings.foresee(source))
        for place, (source, target) in enumerate(zip(inputs.paths, targets, strict=True))
    ]
    report = Report(inputs, tasks, as_json=options.as_json, quiet=options.quiet, progress=options.progress)
    with stopped_by_signals(), report, closing(outcomes(settings, worker, tasks, options.jobs)) as found:
        try:
            for task, outcome in found:
                report.add(task, outcome)
        except (KeyboardInterrupt, SystemExit) as stop:
            report.stopped()
            raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
        report.finish()
    if report.failures:
        raise click.exceptions.Exit(1)


def outcomes(
    settings: Settings, worker: Worker[Any, Any], tasks: Sequence[Task], jobs: int
) -> Generator[tuple[Task, Outcome], None, None]:
    """What becomes of the tasks, here or in as many processes as have something to do."""
    from diffcodec.cli.processes import cores, finish_in_processes

    together = list(batches(tasks))
    processes = min(jobs or cores(), len(together))
    if processes > 1:
        yield from finish_in_processes(settings.load, together, processes)
    else:
        for batch in together:
            yield from finish(worker, batch)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A request to end the program becomes an exception, so that temporary files are removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
