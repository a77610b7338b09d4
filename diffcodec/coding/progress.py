"""How far a call is, by evaluations of the network, which take most of its time. Torch-free."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a call is.

    Args:
        evaluations: of the network that are done. An evaluation of a batch counts for each picture; one of a large
            picture in windows counts in parts.
        expected: number of evaluations in all; a search for a target may take fewer.
    """

    evaluations: float
    expected: float

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.evaluations / self.expected if self.expected else 1.0


ProgressCallback = Callable[[Progress], None]
"""Is called after every evaluation, in the thread of the call. An exception that it raises ends the call."""


class ProgressCounter:
    """Counts the evaluations of a call, and reports them.

    Args:
        report: is called after each; True shows a bar.
        expected: number of evaluations in all.
    """

    def __init__(self, report: ProgressCallback | bool, expected: float) -> None:
        self.report = ProgressBar() if report is True else report or None
        self.expected, self.done = expected, 0.0

    def part(self, expected: float, pictures: int = 1) -> Callable[[float], None]:
        """Counts evaluations of a batch of pictures.

        Args:
            expected: evaluations of the batch. More are not counted.
            pictures: of the batch.
        """
        most = self.done + expected * pictures

        def evaluated(share: float) -> None:
            self.reach(min(self.done + share * pictures, most))

        return evaluated

    def reach(self, done: float) -> None:
        """Report that so many evaluations are done, or no longer needed, unless that is known."""
        if done > self.done or not self.expected:
            self.done = done
            if self.report is not None:
                self.report(Progress(done, self.expected))


class ProgressBar:
    """tqdm's progress bar, on a terminal or in a notebook. It closes itself at the end."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(
            total=1.0,
            bar_format="{percentage:3.0f}% |{bar}| {elapsed}<{remaining}",
            leave=False,
            miniters=0,
            disable=False if "ipykernel" in sys.modules else None,  # None: only on a terminal
        )

    def __call__(self, progress: Progress) -> None:
        """Move the bar."""
        self._bar.update(progress.fraction - self._bar.n)
        if progress.fraction >= 1:
            self._bar.close()
