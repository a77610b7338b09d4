"""Writes the man pages, from the help texts: `bin/man [FOLDER]`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from diffcodec import __version__
from diffcodec.cli import main
from diffcodec.cli.help import SectionedCommand


def roff(text: str) -> str:
    """The text, with what roff would take for its own escaped."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those that click would not wrap keep their lines."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield f".PP\n.nf\n{roff(paragraph[2:])}\n.fi"
        else:
            yield f".PP\n{roff(' '.join(paragraph.split()))}"


def options(ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Names and help texts of the options, by the title of their section."""
    command = ctx.command
    if isinstance(command, SectionedCommand):
        return command.records(ctx)
    records = [each.get_help_record(ctx) for each in command.get_params(ctx) if isinstance(each, click.Option)]
    return {"Options": [record for record in records if record is not None]}


def entries(records: list[tuple[str, str]]) -> Iterator[str]:
    """Names, each with an indented text."""
    for name, text in records:
        yield f".TP\n\\fB{roff(name)}\\fR\n{roff(' '.join(text.split()))}"


def page(ctx: click.Context) -> str:
    """The page of a command, in the man macros."""
    command, name = ctx.command, ctx.command_path.replace(" ", "-")
    pieces = " ".join(command.collect_usage_pieces(ctx))
    parts = [
        f'.TH "{roff(name.upper())}" "1" "" "diffcodec {roff(__version__)}" ""',
        f".SH NAME\n{roff(name)} \\- {roff(command.get_short_help_str(200).rstrip('.'))}",
        f".SH SYNOPSIS\n\\fB{roff(ctx.command_path)}\\fR {roff(pieces)}",
        ".SH DESCRIPTION",
        *paragraphs(command.help or ""),
    ]
    for title, records in options(ctx).items():
        if records:
            parts += [f".SH {roff(title.upper())}", *entries(records)]
    if isinstance(command, click.Group):
        parts += [".SH COMMANDS", *entries([(each.info_name or "", short_help(each)) for each in children(ctx)])]
    if command.epilog:
        parts += [".SH NOTES", *paragraphs(command.epilog)]
    return "\n".join(parts) + "\n"


def short_help(ctx: click.Context) -> str:
    """The first sentence of a command's help, and the name of its page."""
    return f"{ctx.command.get_short_help_str(200)} See {ctx.command_path.replace(' ', '-')}(1)."


def children(ctx: click.Context) -> Iterator[click.Context]:
    """The commands of a group."""
    group = ctx.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield click.Context(command, info_name=name, parent=ctx)


def pages(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """File name and content of the page of a command, and of all below it."""
    yield f"{ctx.command_path.replace(' ', '-')}.1", page(ctx)
    if isinstance(ctx.command, click.Group):
        for child in children(ctx):
            yield from pages(child)


def write(folder: Path) -> None:
    """Write all pages into a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    made = list(pages(click.Context(main, info_name="diffcodec", **main.context_settings)))
    for name, text in made:
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(made)} pages in {folder}")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "build" / "man")
