"""Help texts whose options are in sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

FILES, QUALITY, MODEL, SPEED, FOLDERS, OTHER = (
    "Input and output",
    "Quality",
    "Model",
    "Speed",
    "Folders and reports",
    "Other",
)
"""Titles of sections."""


class SectionedCommand(click.Command):
    """A command whose help text shows its options in sections.

    Args:
        sections: names of parameters, by the title of their section, both in the order of the help text. Options
            that are not named come last.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections = sections

    def records(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Names and help texts of the options, by the title of their section."""
        left = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        found = {
            title: [record for name in names if (record := left.pop(name, None)) is not None]
            for title, names in self.sections.items()
        }
        return found | {OTHER: list(left.values())}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections."""
        for title, records in self.records(ctx).items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
