"""`diffcodec completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="Print a script for completion in your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a shell script that completes commands, options, models and files.

    \b
    bash   echo 'eval "$(diffcodec completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(diffcodec completion zsh)"' >> ~/.zshrc
    fish   diffcodec completion fish > ~/.config/fish/completions/diffcodec.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None
    script = complete(context.find_root().command, {}, "diffcodec", "_DIFFCODEC_COMPLETE")
    click.echo(script.source())
