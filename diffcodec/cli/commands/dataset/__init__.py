"""`diffcodec dataset`: one module per subcommand; `options` and `running` hold shared code."""

import click

from diffcodec.cli.commands.dataset import compress, restore, verify

command = click.Group(
    "dataset",
    [compress.command, restore.command, verify.command],
    short_help="Compress and restore whole data sets.",
    help="Compress and restore whole data sets, shard by shard, on several machines.",
)
