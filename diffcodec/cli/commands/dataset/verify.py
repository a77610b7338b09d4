"""`diffcodec dataset verify`."""

from __future__ import annotations

import click

from diffcodec.cli.commands.dataset.options import DATA, WORK, WORKER_PARAMETERS, worker_options
from diffcodec.cli.help import SectionedCommand
from diffcodec.cli.options import complete_file


@click.command("verify", cls=SectionedCommand, sections={DATA: ("source",), WORK: WORKER_PARAMETERS})
@click.argument("results", shell_complete=complete_file)
@click.option(
    "--source",
    shell_complete=complete_file,
    help="Also compare with the source of the results: check for missing pictures, duplicates and incomplete shards.",
)
@worker_options
def command(
    results: str,
    source: str | None,
    workers: int | None,
    threads: int,
    as_json: bool,
    quiet: bool,
    progress: bool | None,
) -> None:
    """Verify results of `dataset compress` and `dataset restore`.

    Every shard is compared with its manifest, and the checksums of every .dfc file are checked. No network is needed.
    """
    from diffcodec.cli.commands.dataset.running import follow
    from diffcodec.dataset.engine import Workers
    from diffcodec.dataset.runs import verify

    shards, outcomes = verify(results, source, Workers(workers, threads))
    totals = follow(outcomes, len(shards), as_json=as_json, quiet=quiet, progress=progress, failures=False)
    if totals.missing:
        raise click.exceptions.Exit(1)
