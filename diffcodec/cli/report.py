"""What a run over many files tells while it goes on, and at its end."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import click

from diffcodec.cli.batch import Done, DoneBefore, Outcome, Task
from diffcodec.cli.failures import Failure, note, printable, tell, warn
from diffcodec.cli.inputs import Inputs


class Report(AbstractContextManager["Report"]):
    """Tells of every input in the order of inputs, and of all of them at the end.

    Args:
        inputs: where the tasks come from.
        tasks: all of them.
        as_json: a JSON object for every input, in place of lines and table.
        quiet: errors and warnings only.
        progress: whether there is a progress bar; None: if there are several inputs, and a person looks at it.
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
        shown = inputs.many and not quiet and sys.stderr.isatty() if progress is None else progress
        # Time goes with pixels, not with files; and at a steady rate, so that all of the past counts.
        layout = "{percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(
            total=sum(task.pixels for task in tasks), bar_format=layout, smoothing=0, disable=not shown, leave=False
        )

    def __enter__(self) -> Report:
        for failure in self.inputs.failures:
            self._tell(tell, failure)
            self.failures.append(failure)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, task: Task, outcome: Outcome) -> None:
        """Tell of an input when all before it have been told of."""
        self.counts[type(outcome)] += 1
        self._bar.set_postfix_str(self._tally(), refresh=False)
        if isinstance(outcome, Done):
            self._bar.update(task.pixels)
        else:  # takes no time, and says nothing about how much the others will take
            self._bar.total -= task.pixels
            self._bar.refresh()
        self._early[task.place] = task, outcome
        while self._next in self._early:
            self._show(*self._early.pop(self._next))
            self._next += 1

    def _tally(self) -> str:
        failed = self.counts[Failure] + len(self.inputs.failures)
        return f"{self.counts.total()} of {len(self.tasks)} files" + (f", {failed} failed" if failed else "")

    def _show(self, task: Task, outcome: Outcome) -> None:
        names = {"input": task.source, "output": task.target}
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            self._tell(tell, outcome)
            self._print("", {**names, "error": outcome.message})
        elif isinstance(outcome, DoneBefore):
            self._print(f"{task.source} -> {task.target}: done before", {**names, "done_before": True})
        else:
            self.done.append(outcome)
            if outcome.warning:
                self._tell(warn, outcome.warning)
            for line in () if self.quiet else outcome.notes:
                self._tell(note, line)
            self._print(outcome.line, {**names, **outcome.values})

    def _print(self, line: str, values: Mapping[str, Any]) -> None:
        if self.as_json:
            self._tell(click.echo, json.dumps(values))
        elif line and not self.quiet:
            self._tell(lambda line: click.echo(printable(line)), line)

    def _tell(self, action: Callable[[Any], object], text: Any) -> None:
        """Write above the bar."""
        self._bar.clear()
        action(text)
        self._bar.refresh()

    def finish(self) -> None:
        """The table of all inputs, and the failures once more, if there were several inputs."""
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
        """Tell how far it got before it was stopped."""
        self._bar.close()
        click.echo(f"Stopped after {self._tally()}: the same command with --resume does the others", err=True)

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
        counts = {
            "done before": self.counts[DoneBefore],
            "failed": len(self.failures),
            "passed over": self.inputs.passed_over,
        }
        blank = [""] * (len(columns) - 2)
        others = [(name, str(count), *blank) for name, count in counts.items() if count]
        return aligned([tuple(columns), tuple(columns.values()), *others], left=1)
