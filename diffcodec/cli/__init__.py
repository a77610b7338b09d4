"""The command line: parses options, calls the library once, prints results. Contains no codec logic."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, ClassVar

import click

import diffcodec
from diffcodec.cli.failures import drop_unwritable_output, errors_painted, explain, printable

# Set before numpy is loaded: on a busy machine several threads make products of small matrices many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is called, so that --help is fast."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {
        "Pictures": ("compress", "decompress", "dataset", "truncate", "info", "view", "compare"),
        "Models": ("models", "train", "join", "calibrate", "evaluate", "import", "export"),
        "New pictures": ("sample", "interpolate"),
        "This computer": ("conformance", "completion"),
    }
    """Names of commands, by the title of their section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help text."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections."""
        for title, names in self.sections.items():
            with formatter.section(title):
                found = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl([(name, command.get_short_help_str(60)) for name, command in found if command])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; an unknown one fails with the name of a similar one."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and (similar := get_close_matches(args[0], names, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {similar[0]!r}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = "import_model" if cmd_name == "import" else cmd_name  # a module cannot be called import
        command: click.Command = import_module(f"diffcodec.cli.commands.{module}").command
        # Not inherited: click remembers a command's help option from the first context that asks for it.
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            each.context_settings = {**HELP_NAMES, **each.context_settings}
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options that come before the command."""
        with errors_painted():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error about input, files or memory becomes one line and exit code 1."""
        with errors_painted():
            try:
                return super().invoke(ctx)
            except Exception as error:
                command = self.get_command(ctx, ctx.invoked_subcommand or "")
                if (line := explain(error, command=command)) is None:
                    raise
                drop_unwritable_output()
                raise click.ClickException(printable(line)) from error
            except KeyboardInterrupt:
                click.echo("Stopped", err=True)
                raise click.exceptions.Exit(130) from None


@click.command(cls=LazyGroup, context_settings=HELP_NAMES)
@click.version_option(diffcodec.__version__, prog_name="diffcodec")
def main() -> None:
    """An image codec built on a diffusion model.

    \b
      diffcodec compress photo.jpg --quality 70    # writes photo.dfc
      diffcodec decompress photo.dfc -o back.png
      diffcodec COMMAND --help                     # explains every option
    """
