"""`diffcodec interpolate`."""

from __future__ import annotations

import click

from diffcodec.cli.options import complete_file
from diffcodec.cli.pictures import SamplingOptions, check_target, read_image, sampling_options, to_array, write_sheet
from diffcodec.errors import ImageError


@click.command("interpolate")
@click.argument("first", metavar="A", shell_complete=complete_file)
@click.argument("second", metavar="B", shell_complete=complete_file)
@click.option(
    "-o",
    "--out",
    required=True,
    shell_complete=complete_file,
    help="Output picture, format by its suffix; - for standard output.",
)
@click.option(
    "-t",
    "--timestep",
    "timesteps",
    multiple=True,
    type=click.IntRange(1, 4095),
    default=(500,),
    show_default=True,
    help="Noise level at which both are mixed; repeatable, each makes a row.",
)
@click.option(
    "-n", "--count", type=click.IntRange(2), default=9, show_default=True, help="Pictures between the two originals."
)
@click.option("--size", type=click.IntRange(1), help="Crop both to their central squares, and scale them to this side.")
@sampling_options
def command(
    first: str,
    second: str,
    out: str,
    timesteps: tuple[int, ...],
    count: int,
    size: int | None,
    options: SamplingOptions,
) -> None:
    """Interpolate between two pictures.

    Both are diffused to t with the same noise, mixed, and denoised. A row shows A, its restoration from t, the
    mixtures, the restoration of B, and B.
    """
    check_target(out, options.force)

    import numpy as np
    import torch

    from diffcodec.diffusion.interpolation import interpolate
    from diffcodec.images.grids import grid

    sampler, denoiser = options.sampler(), options.denoiser()
    a, b = read_image(first, denoiser, size), read_image(second, denoiser, size)
    if a.shape != b.shape:
        raise ImageError(
            f"{first} has {a.shape[2]} x {a.shape[1]} pixels and {second} {b.shape[2]} x {b.shape[1]}: pass --size to "
            "crop and scale both"
        )
    weights = np.linspace(0, 1, count).tolist()
    rows = []
    with options.sampling_run(sampler, denoiser, timesteps, count) as progress:
        for timestep in timesteps:
            between = interpolate(denoiser, sampler, a, b, timestep, weights, seed=options.seed, progress=progress)
            rows += [a[None], between, b[None]]
    write_sheet(grid(to_array(torch.cat(rows)), count + 2, options.zoom), out, options.force)
