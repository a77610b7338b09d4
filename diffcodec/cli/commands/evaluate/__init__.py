"""`diffcodec evaluate`: one module per subcommand; `options` and `quality` hold shared code."""

import click

from diffcodec.cli.commands.evaluate import fid, inception_score, nll, rd

command = click.Group(
    "evaluate",
    [nll.command, fid.command, inception_score.command, rd.command],
    short_help="Measure models and the codec.",
    help="Measure models and the codec: likelihood bound, sample quality, rate and distortion.",
)
