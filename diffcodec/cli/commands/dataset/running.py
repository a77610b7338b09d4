"""Progress and report of a run over a data set."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from diffcodec.cli.failures import Failure, note, report

if TYPE_CHECKING:
    from diffcodec.dataset.manifest import FailedMember
    from diffcodec.dataset.runs import DatasetRun, Totals
    from diffcodec.dataset.work import Outcome

MOST_SHOWN = 20
"""Failures that are printed; the table at the destination has all."""


def run_dataset(run: DatasetRun, *, force: bool, as_json: bool, quiet: bool, progress: bool | None) -> None:
    """Do all shards of a data set, and report.

    Raises:
        click.exceptions.Exit: with code 1 if anything failed.
    """
    from diffcodec.dataset.manifest import ERRORS
    from diffcodec.dataset.places import Folder

    shards, destination = run.shards, Folder(run.job.destination)
    if shards[0].format == run.job.format == "folder" and "RAY_ADDRESS" not in os.environ and not quiet:
        local = Folder(shards[0].source).is_local and destination.is_local
        if local and run.job.kind == "compress":
            note("for folders on one machine, `diffcodec compress --recursive` is simpler and starts faster")
        elif local:
            note("for folders on one machine, `diffcodec decompress --recursive` is simpler and starts faster")
    run.start(force=force)
    totals = follow(run.outcomes(), len(shards), as_json=as_json, quiet=quiet, progress=progress)
    if totals.failed and not quiet:
        note(f"all failures are in {destination.name_of(ERRORS)}")
    if totals.failed or totals.missing:
        raise click.exceptions.Exit(1)


def follow(
    outcomes: Iterable[Outcome], count: int, *, as_json: bool, quiet: bool, progress: bool | None, failures: bool = True
) -> Totals:
    """Show outcomes as they come, and their totals.

    Args:
        outcomes: of shards.
        count: number of shards.
        as_json, quiet, progress: see the options.
        failures: whether to show pictures that failed, too, and not only shards.
    """
    from tqdm import tqdm

    from diffcodec.dataset.runs import Totals

    totals, begin, shown = Totals(), time.monotonic(), 0
    hidden = None if progress is None else not progress
    with tqdm(total=count, unit=" shards", disable=hidden if not quiet else True, dynamic_ncols=True) as bar:
        for outcome in outcomes:
            totals.add(outcome)
            found = outcome.manifest
            messages = [outcome.error] if found is None else [message_of(outcome.stem, each) for each in found.failed]
            for message in messages if failures or found is None else []:
                shown += 1
                if shown <= MOST_SHOWN:
                    with tqdm.external_write_mode():
                        report(Failure(message))
            rate = totals.new_members / max(1e-9, time.monotonic() - begin)
            bar.set_postfix_str(f"{rate:.1f} pictures/s, {totals.bpp:.3f} bpp", refresh=False)
            bar.update()
    seconds = time.monotonic() - begin
    if as_json:
        values = dataclasses.asdict(totals) | {"bpp": totals.bpp, "elapsed_s": round(seconds, 3)}
        click.echo(json.dumps(values))
    elif not quiet:
        click.echo(summary(totals, seconds))
    if shown > MOST_SHOWN:
        note(f"{shown - MOST_SHOWN} more errors are not shown")
    return totals


def message_of(stem: str, failed: FailedMember) -> str:
    """A line about a failure; most errors name the picture themselves."""
    return f"{stem}: {failed.error if failed.name in failed.error else f'{failed.name}: {failed.error}'}"


def summary(totals: Totals, seconds: float) -> str:
    """The totals as a table."""
    from diffcodec.evaluation.summary_table import aligned

    head = ("shards", "done", "up to date", "incomplete", "pictures", "failed", "bpp", "pictures/s", "MB a worker")
    shards = totals.done + totals.up_to_date + totals.missing
    row = (
        f"{shards:,}",
        f"{totals.done:,}",
        f"{totals.up_to_date:,}",
        f"{totals.missing:,}",
        f"{totals.members:,}",
        f"{totals.failed:,}",
        f"{totals.bpp:.3f}",
        f"{totals.new_members / max(1e-9, seconds):.1f}",
        f"{totals.memory_bytes / 1e6:.0f}",
    )
    return aligned([head, row])
