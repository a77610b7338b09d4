"""Options of all subcommands."""

from __future__ import annotations

import click

from diffcodec.cli.help import MODEL, QUALITY, SPEED
from diffcodec.cli.options import complete_file, together

DATA, WORK = "Data", "Workers and reports"
"""Titles of sections of the help texts."""

SECTIONS = (QUALITY, DATA, MODEL, SPEED, WORK)
FORMATS = ("folder", "webdataset", "parquet")

source_argument = click.argument("source", shell_complete=complete_file)
worker_options = together(
    click.option(
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        help="Number of workers; 0: work in this process, without Ray.  [default: one per core and thread, of this "
        "machine or of the cluster of RAY_ADDRESS]",
    ),
    click.option(
        "--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Threads of a worker."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the totals as a JSON object."),
    click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: on a terminal]"),
)
gpu_option = click.option(
    "--gpus-per-worker",
    "gpus",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="X",
    help="GPUs per worker, on which the network then runs; fractions share a GPU.",
)
data_options = together(
    click.option(
        "-o",
        "--out",
        "destination",
        required=True,
        shell_complete=complete_file,
        help="Folder of the results, or a URL.",
    ),
    click.option(
        "--to",
        "format",
        type=click.Choice(FORMATS),
        help="Form of the results: files in folders, tar files for WebDataset, or Parquet.  [default: as the source]",
    ),
    click.option(
        "--name-column", default="name", show_default=True, metavar="NAME", help="Column of names in Parquet files."
    ),
    click.option("--retry-failed", is_flag=True, help="Process shards with failed pictures again."),
    click.option("--force", is_flag=True, help="Start over, even if there are results made with other options."),
)
DATA_PARAMETERS = ("destination", "format", "data_column", "name_column", "retry_failed", "force")
WORKER_PARAMETERS = ("workers", "threads", "gpus", "as_json", "quiet", "progress")
