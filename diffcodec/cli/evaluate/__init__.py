"""`diffcodec evaluate`: one module for each subcommand, and what they share in `options` and `quality`."""

import click

from diffcodec.cli.evaluate import fid, inception_score, nll, rd

command = click.Group(
    "evaluate",
    [nll.command, fid.command, inception_score.command, rd.command],
    help="Measure models and the codec: bound, looks of samples, rate and distortion.",
)
