"""`diffcodec conformance`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from diffcodec.cli.failures import painted, printable
from diffcodec.cli.help import OTHER, SPEED, SectionedCommand
from diffcodec.cli.options import device_option, precision_option
from diffcodec.config import Precision
from diffcodec.errors import DiffCodecError

if TYPE_CHECKING:
    from diffcodec.conformance.checking import Outcome


def complete_case(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes names of the bundled suite's cases."""
    from diffcodec.conformance.cases import Suite

    try:
        names = [case.name for case in Suite.bundled().cases()]
    except DiffCodecError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    "conformance",
    short_help="Check that this machine restores files correctly.",
    cls=SectionedCommand,
    sections={SPEED: ("device", "precision", "threads"), OTHER: ("folder", "as_json")},
)
@click.argument("cases", nargs=-1, metavar="[CASE]...", shell_complete=complete_case)
@device_option
@precision_option
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of threads for the computations.  [default: that of torch, and one per core for the rest]",
)
@click.option(
    "--suite",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of another suite, such as an earlier release's.  [default: the one in the package]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    cases: tuple[str, ...], device: str, precision: Precision, threads: int | None, folder: Path | None, as_json: bool
) -> None:
    """Check that this machine restores files correctly: for a new machine or GPU, or another release of torch.

    Restores a file for each feature, or those named as CASE, and compares the pictures with the references: lossless
    ones must be exact, others may differ by what docs/compatibility.md promises. Exit code 1 if one differs by more.
    """
    from diffcodec.conformance.cases import Suite
    from diffcodec.conformance.checking import check_conformance
    from diffcodec.evaluation.provenance import OWN_LIBRARIES, device_name, versions

    suite = Suite.bundled() if folder is None else Suite(folder)
    chosen = suite.cases(cases)
    width = max(len(case.name) for case in chosen)
    if not as_json:
        click.echo(f"{'case':<{width}}   bytes  picture        precision  peak    rms  allowed    seconds")
    found = []
    for outcome in check_conformance(chosen, suite, device=device, precision=precision, thread_count=threads):
        found.append(outcome)
        if not as_json:
            click.echo(printable(row(outcome, width)) + " " + verdict(outcome))
    failed = [outcome.name for outcome in found if not outcome.passed]
    where = {"device": device_name(device), "threads": threads, **versions((*OWN_LIBRARIES, "pillow"))}
    if as_json:
        shown = [{**asdict(outcome), "passed": outcome.passed} for outcome in found]
        click.echo(json.dumps({"passed": not failed, "conditions": where, "cases": shown}))
    else:
        total = sum(outcome.seconds for outcome in found)
        click.echo(f"\n{len(found) - len(failed)} of {len(found)} cases pass in {total:.1f} s: {described(where)}")
    if failed:
        raise click.ClickException(f"failed cases: {', '.join(failed)}")


def row(outcome: Outcome, width: int) -> str:
    """The figures of a case."""
    facts = outcome.facts
    size = f"{facts['width']} x {facts['height']} {facts['mode']}" if "width" in facts else "-"
    allowed = facts.get("allowed")
    limits = "-" if allowed is None else "exact" if allowed.peak == 0 else f"{allowed.peak}, {allowed.rms:.2f}"
    peak = str(facts["peak"]) if "peak" in facts else "-"
    rms = f"{facts['rms']:.3f}" if "rms" in facts else "-"
    return (
        f"{outcome.name:<{width}}  {outcome.file_bytes:>6}  {size:<13}  {facts.get('precision', '-'):<9}"
        f"  {peak:>4}  {rms:>5}  {limits:<9}  {outcome.seconds:>7.2f} "
    )


def verdict(outcome: Outcome) -> str:
    """Whether it passes, and why not."""
    if outcome.problem is None:
        return painted("pass", "green")
    return f"{painted('FAIL', 'red')}: {printable(outcome.problem)}"


def described(where: dict[str, Any]) -> str:
    """The conditions in a line."""
    return ", ".join(f"{name} {value}" for name, value in where.items() if value is not None)
