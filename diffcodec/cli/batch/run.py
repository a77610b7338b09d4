"""Runs a command on one or more inputs: in batches, in processes, resuming where an earlier run stopped."""

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

from diffcodec.channel.threads import THREADS, cores
from diffcodec.cli.batch.inputs import STANDARD, Inputs
from diffcodec.cli.batch.outputs import check_folder
from diffcodec.cli.batch.report import RunReport
from diffcodec.cli.batch.sharing import CoreWatch, processes_for
from diffcodec.cli.batch.work import Moved, Outcome, Task, UpToDate, Worker, batches, finish
from diffcodec.cli.failures import note, warn
from diffcodec.errors import ConfigError
from diffcodec.files import remove_unfinished


@dataclass(frozen=True)
class RunOptions:
    """The values of `folder_options`.

    Args:
        jobs: number of processes; 0 for one per core; None for as many as the work is worth and the memory allows.
        resume: whether to skip inputs with finished results.
        as_json, quiet, progress: see `RunReport`.
    """

    jobs: int | None
    resume: bool
    as_json: bool
    quiet: bool
    progress: bool | None


class Job(Protocol):
    """The options of a command. Picklable, so that they can be sent to another process."""

    @property
    def named_output(self) -> str | None:
        """The output given on the command line."""

    @property
    def runs_on_cpu(self) -> bool:
        """Whether the network runs on the processor."""

    @property
    def unrecorded(self) -> str:
        """The given options that an existing result does not show, so that `resume` cannot check them; may be empty."""

    def load(self) -> Worker[Any, Any]:
        """The worker, with its model."""

    def peek(self, source: str) -> tuple[Hashable, int]:
        """Batch key and number of pixels of an input, from its first bytes; None and 0 if they are unknown."""


def run_batch(job: Job, inputs: Inputs, targets: Sequence[str], options: RunOptions) -> None:
    """Process all inputs; an input that fails is reported, and the others continue.

    Args:
        job: of the command.
        inputs: to process.
        targets: names of the results.
        options: of the run.

    Raises:
        ConfigError: if the folder of a named output does not exist, or is not writable.
        click.exceptions.Exit: with code 1 if any input failed.
        SystemExit: if the run was stopped; no partly written files remain.
    """
    if options.as_json and STANDARD in targets:
        raise ConfigError("--json and the result cannot both go to standard output: pass -o FILE")
    if options.resume and STANDARD in inputs.paths:
        raise ConfigError("--resume needs files: a result does not show whether standard input was its source")
    if options.resume:
        for folder in {os.path.dirname(os.path.realpath(target)) for target in targets if target != STANDARD}:
            remove_unfinished(Path(folder))
    named = job.named_output
    if named is not None and named in targets and not (options.resume and os.path.exists(named)):
        check_folder(named)
    watch = CoreWatch()
    worker = job.load()  # even if other processes do the work: problems of a model are reported once
    if worker.warning:
        warn(worker.warning)
    tasks = [
        Task(place, source, target, *job.peek(source))
        for place, (source, target) in enumerate(zip(inputs.paths, targets, strict=True))
    ]
    report = RunReport(inputs, tasks, as_json=options.as_json, quiet=options.quiet, progress=options.progress)
    found = outcomes(job, worker, tasks, options.jobs, report.moved, watch)
    with stopped_by_signals(), report, closing(found):
        try:
            for task, outcome in found:
                report.add(task, outcome)
        except (KeyboardInterrupt, SystemExit) as stop:
            report.stopped()
            raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
        report.finish()
        if job.unrecorded and report.counts[UpToDate] and not options.quiet:
            note(
                f"results that are up to date may have another {job.unrecorded}, which they do not record: to make "
                "them again, pass --force without --resume"
            )
    if report.failures:
        raise click.exceptions.Exit(1)


def outcomes(
    job: Job, worker: Worker[Any, Any], tasks: Sequence[Task], jobs: int | None, moved: Moved, watch: CoreWatch
) -> Generator[tuple[Task, Outcome], None, None]:
    """The outcomes of the tasks, processed here or in at most one process per batch."""
    import torch

    from diffcodec.cli.batch.processes import finish_in_processes
    from diffcodec.coding.threads import limited_threads
    from diffcodec.devices import free_bytes

    together = list(batches(tasks))
    if jobs is not None:
        processes = min(jobs or cores(), len(together))
    elif job.runs_on_cpu:
        processes = processes_for(together, cores(), free_bytes(torch.device("cpu")))
    else:
        processes = 1  # they would share one device
    if processes > 1:
        yield from finish_in_processes(job.load, together, processes, moved)
        return
    with limited_threads(watch.free() if job.runs_on_cpu and THREADS not in os.environ else None):
        for batch in together:
            yield from finish(worker, batch, moved)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that temporary files are removed on the way out."""
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
