"""Options of several subcommands, and the report that all of them print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from diffcodec.cli.batch.inputs import STANDARD
from diffcodec.cli.batch.outputs import check_folder, check_writable, write_output
from diffcodec.cli.options import together

root_option = click.option(
    "--root", default="data", show_default=True, help="Where to find CIFAR-10, or to download it to."
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Use only the first N pictures.  [default: all]")
data_options = together(
    click.option(
        "--data",
        default="cifar10",
        show_default=True,
        help="Pictures to measure on: `cifar10` (torchvision's test set), `cifar10-train`, a grid of 32 x 32 tiles, or "
        "a folder of pictures.",
    ),
    root_option,
    limit_option,
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Seed of all noise."
)
report_options = together(
    click.option(
        "--json",
        "json_file",
        metavar="[FILE]",
        is_flag=False,
        flag_value=STANDARD,
        help="Write all figures as JSON to FILE, or without FILE to standard output instead of the table.",
    ),
    click.option("--force", is_flag=True, help="Overwrite an existing file."),
)


def check_report(json_file: str | None, force: bool) -> None:
    """Fail before the work if the report's file cannot be written.

    Raises:
        ConfigError: if it exists and `force` is not set, or its folder does not exist.
    """
    if json_file is None:
        return
    check_writable(json_file, force)
    check_folder(json_file)


def report(json_file: str | None, force: bool, document: Mapping[str, Any], text: str) -> None:
    """Print the text, and write the document if requested.

    Args:
        json_file: the file, or `-` for standard output, which replaces the text; None for no document.
        force: whether to overwrite it.
        document: all figures.
        text: summary to print.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from diffcodec.evaluation.records import to_text

    if json_file != STANDARD:
        click.echo(text)
    if json_file is not None:
        write_output(json_file, force, lambda file: file.write(to_text(document).encode()))
