"""Progress and summary of a run over many files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import click

from diffcodec.cli.batch.inputs import Inputs
from diffcodec.cli.batch.work import Done, Outcome, Task, UpToDate
from diffcodec.cli.failures import Failure, note, printable, report, warn

BAR_AFTER_S = 2.0
"""Shorter runs show no progress bar."""


def terminal_size() -> tuple[int, int]:
    """Columns and lines of standard error's terminal, 80 x 24 where it does not know them: tqdm would show nothing."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # there is no terminal, or no standard error
        columns, lines = 0, 0
    return columns or 80, lines or 24


class RunReport(AbstractContextManager["RunReport"]):
    """Reports every input, in the order of inputs, and prints a summary at the end.

    Args:
        inputs: the tasks' inputs.
        tasks: all tasks.
        as_json: print a JSON object per input instead of lines and table.
        quiet: print errors and warnings only.
        progress: whether to show a progress bar; None: on a terminal, once the run takes longer than BAR_AFTER_S.
    """

    def __init__(
        self, inputs: Inputs, tasks: Sequence[Task], *, as_json: bool, quiet: bool, progress: bool | None
    ) -> None:
        from tqdm import tqdm

        self.inputs, self.tasks, self.as_json, self.quiet = inputs, tasks, as_json, quiet
        self.failures: list[Failure] = []
        self.done: list[Done] = []
        self.counts: Counter[type[Outcome]] = Counter()
        self._early: dict[int, tuple[Task, Outcome]] = {}
        self._next = 0
        self._start = time.perf_counter()
        columns, lines = terminal_size()
        shown = not quiet and sys.stderr.isatty() if progress is None else progress
        # Time is proportional to pixels, not files. The rate is steady, so smoothing=0 averages over the whole run.
        self._bar = tqdm(
            total=sum(task.pixels for task in tasks),
            bar_format="{percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}",
            smoothing=0,
            ncols=columns,
            nrows=lines,
            miniters=1,  # tqdm would wait for as many pixels as came at once before
            disable=not shown,
            delay=BAR_AFTER_S if progress is None else 0,
            leave=False,
        )
        self._moved: dict[int, float] = {}  # pixels of unfinished tasks that are done
        self._done_pixels = 0

    def __enter__(self) -> RunReport:
        for failure in self.inputs.failures:
            self._above_bar(report, failure)
            self.failures.append(failure)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, task: Task, outcome: Outcome) -> None:
        """Report an input's outcome once all inputs before it have been reported."""
        self.counts[type(outcome)] += 1
        if self.inputs.many:
            self._bar.set_postfix_str(self._tally(), refresh=False)
        self._moved.pop(task.place, None)
        if isinstance(outcome, Done):
            self._done_pixels += task.pixels
        else:  # took no time, so it must not count towards the rate
            self._bar.total -= task.pixels
        self._move_bar()
        self._early[task.place] = task, outcome
        while self._next in self._early:
            self._show(*self._early.pop(self._next))
            self._next += 1

    def moved(self, places: Sequence[int], fraction: float) -> None:
        """Report the fraction that is done of tasks that are worked on together."""
        self._moved.update({place: fraction * self.tasks[place].pixels for place in places})
        self._move_bar()

    def _move_bar(self) -> None:
        self._bar.update(self._done_pixels + sum(self._moved.values()) - self._bar.n)

    def _tally(self) -> str:
        failed = self.counts[Failure] + len(self.inputs.failures)
        return f"{self.counts.total()} of {len(self.tasks)} files" + (f", {failed} failed" if failed else "")

    def _show(self, task: Task, outcome: Outcome) -> None:
        names = {"input": task.source, "output": task.target}
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            self._above_bar(report, outcome)
            self._print("", {**names, "error": outcome.message})
        elif isinstance(outcome, UpToDate):
            self._print(f"{task.source} -> {task.target}: up to date", {**names, "up_to_date": True})
        else:
            self.done.append(outcome)
            if outcome.warning:
                self._above_bar(warn, outcome.warning)
            for line in () if self.quiet else outcome.notes:
                self._above_bar(note, line)
            self._print(outcome.line, {**names, **outcome.values})
            if outcome.table and not self.as_json and not self.quiet:
                self._above_bar(click.echo, outcome.table)

    def _print(self, line: str, values: Mapping[str, Any]) -> None:
        if self.as_json:
            self._above_bar(click.echo, json.dumps(values))
        elif line and not self.quiet:
            self._above_bar(lambda line: click.echo(printable(line)), line)

    def _above_bar(self, action: Callable[[Any], object], text: Any) -> None:
        """Print above the progress bar."""
        self._bar.clear()
        action(text)
        self._bar.refresh()

    def finish(self) -> None:
        """Print the table of all inputs, and repeat the failures, if there were several inputs."""
        self._bar.close()
        if not self.inputs.many or self.quiet:
            return
        if not self.as_json:
            click.echo(self.table())
        if self.failures and len(self.tasks) > 1:
            click.echo(f"{len(self.failures)} failed:", err=True)
            for failure in self.failures:
                click.echo(f"  {printable(failure.message)}", err=True)

    def stopped(self) -> None:
        """Report how far the run got before it was stopped."""
        self._bar.close()
        click.echo(f"Stopped after {self._tally()}: repeat the command with --resume to do the rest", err=True)

    def table(self) -> str:
        """Numbers of files and bytes, rate and distortion."""
        from diffcodec.evaluation.summary_table import aligned

        pixels = sum(done.pixels for done in self.done)
        psnr_db = [done.psnr_db for done in self.done if done.psnr_db is not None]
        columns = {
            "": "done",
            "files": str(len(self.done)),
            "bytes in": f"{sum(done.read_bytes for done in self.done):,}",
            "bytes out": f"{sum(done.written_bytes for done in self.done):,}",
            "bpp": f"{sum(done.bpp * done.pixels for done in self.done) / pixels:.3f}" if pixels else "-",
        }
        if psnr_db:
            columns["mean PSNR"] = f"{sum(psnr_db) / len(psnr_db):.2f} dB"
        columns["seconds"] = f"{time.perf_counter() - self._start:.1f}"
        counts = {"up to date": self.counts[UpToDate], "failed": len(self.failures), "skipped": self.inputs.skipped}
        blank = [""] * (len(columns) - 2)
        others = [(name, str(count), *blank) for name, count in counts.items() if count]
        return aligned([tuple(columns), tuple(columns.values()), *others], left=1)
