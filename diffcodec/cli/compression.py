"""Options of commands that compress, and what they choose."""

from __future__ import annotations

import click

from diffcodec.cli.options import Timestep, together
from diffcodec.coding.targets import DEFAULT_TIMESTEP, Target

GOAL_PARAMETERS = ("quality", "timestep", "max_bytes", "max_bpp", "min_psnr")
"""Names of the parameters of `goal_options`."""


class Quality(click.FloatRange):
    """A number in a range, called so in messages."""

    name = "number"


goal_options = together(
    click.option(
        "--quality",
        type=Quality(0, 100),
        metavar="Q",
        help="Perceived quality from 0 to 100: 100 is visually lossless, 70 good, 50 like the default, 20 rough.",
    ),
    click.option(
        "-t",
        "--timestep",
        type=Timestep(", or set the quality with --quality, --bytes, --bpp or --psnr"),
        help="Instead, the noise level at which to stop: 0 is lossless, 1 the finest lossy one, the model's last "
        f"(1000) the coarsest.  [default: {DEFAULT_TIMESTEP}]",
    ),
    click.option(
        "--bytes", "max_bytes", type=click.IntRange(1), metavar="N", help="Instead, the finest file of at most N bytes."
    ),
    click.option(
        "--bpp",
        "max_bpp",
        type=click.FloatRange(0, min_open=True),
        metavar="X",
        help="Instead, the finest file of at most X bits per pixel.",
    ),
    click.option(
        "--psnr", "min_psnr", type=float, metavar="DB", help="Instead, the coarsest file with a PSNR of at least DB."
    ),
)
steps_option = click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="K",
    help="Noise levels from pure noise to t = 1, one network evaluation each: 4, 8, 12, 16, 24, 32 or 64. "
    "Fewer are faster, more are smaller.  [default: those of the speed]",
)
shared_seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Seed of the shared randomness. A seed other than 0 adds 8 bytes.",
)
measure_option = click.option(
    "--measure", is_flag=True, help="Restore every picture to report its PSNR: one more evaluation of the network."
)
picture_options = together(
    click.option(
        "--first-frame", is_flag=True, help="Use the first frame of animations, and the first page of documents."
    ),
    click.option(
        "--keep-metadata",
        is_flag=True,
        help="Keep the colour profile and EXIF, which may include where a photo was taken.  "
        "[default: convert colours to sRGB; t = 0 keeps them, and their profile]",
    ),
)


def chosen_goal(
    quality: float | None, timestep: int | None, max_bytes: int | None, max_bpp: float | None, min_psnr: float | None
) -> tuple[int | None, Target | None]:
    """The timestep, or the target instead; the default timestep if nothing was given.

    Raises:
        click.UsageError: if several were given.
    """
    if [quality, timestep, max_bytes, max_bpp, min_psnr].count(None) < 4:
        raise click.UsageError("Pass only one of --quality, -t, --bytes, --bpp and --psnr.")
    goal = make_target(quality, max_bytes, max_bpp, min_psnr)
    return (DEFAULT_TIMESTEP if timestep is None and goal is None else timestep), goal


def make_target(
    quality: float | None, max_bytes: int | None, max_bpp: float | None, min_psnr: float | None
) -> Target | None:
    """The target that was given, if any."""
    if quality is not None:
        return Target.quality(quality)
    if max_bytes is not None:
        return Target.bytes(max_bytes)
    if max_bpp is not None:
        return Target.bpp(max_bpp)
    return None if min_psnr is None else Target.psnr(min_psnr)
