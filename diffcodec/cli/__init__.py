"""The command line: options in, one call of the library, results out. No logic of its own."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

import diffcodec
from diffcodec.cli.failures import drop_unwritable_output, explain, printable

# Before numpy is loaded: products of small matrices on a busy machine are many times slower with several threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class LazyGroup(click.Group):
    """Imports a command's module when the command is named, so that --help answers at once."""

    commands_in_order = (
        "compress", "decompress", "truncate", "info", "view", "models", "sample", "interpolate", "train", "calibrate",
        "evaluate", "import", "export", "completion",
    )  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which a person needs them."""
        return list(self.commands_in_order)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.commands_in_order:
            return None
        module = "import_model" if cmd_name == "import" else cmd_name  # a module cannot be called import
        command: click.Command = import_module(f"diffcodec.cli.{module}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error about input, files or memory becomes one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if (line := explain(error)) is None:
                raise
            drop_unwritable_output()
            raise click.ClickException(printable(line)) from error


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(diffcodec.__version__, prog_name="diffcodec")
def main() -> None:
    """A trained diffusion model as a progressive lossy image codec."""
