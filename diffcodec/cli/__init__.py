"""The command line: parses options, calls the library once, prints results. Contains no codec logic."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

import diffcodec
from diffcodec.cli.failures import drop_unwritable_output, errors_painted, explain, printable

# Set before numpy is loaded: on a busy machine several threads make products of small matrices many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is called, so that --help is fast."""

    commands_in_order = (
        "compress",
        "decompress",
        "dataset",
        "truncate",
        "info",
        "view",
        "compare",
        "models",
        "sample",
        "interpolate",
        "train",
        "join",
        "calibrate",
        "evaluate",
        "import",
        "export",
        "conformance",
        "completion",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a typical workflow."""
        return list(self.commands_in_order)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.commands_in_order:
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
    """A trained diffusion model as a progressive lossy image codec."""
