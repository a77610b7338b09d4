"""`diffcodec sample`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch.inputs import STANDARD
from diffcodec.cli.batch.outputs import names_folder, write_output
from diffcodec.cli.options import complete_file
from diffcodec.cli.pictures import SamplingOptions, check_target, read_image, sampling_options, to_array, write_sheet

if TYPE_CHECKING:
    from torch import Tensor

FRAMES = 48
"""Number of frames of an animation."""


@click.command("sample")
@click.option(
    "-o",
    "--out",
    required=True,
    shell_complete=complete_file,
    help="A grid of all samples, format by its suffix; FOLDER/ for a PNG file per sample; - for standard output.",
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1),
    help="Number of samples.  [default: 16; 6 with --progressive and --share-from]",
)
@click.option(
    "--size",
    type=click.IntRange(1),
    help="Height and width, a multiple of the network's stride: 4 for cifar10-small, 8 for photo-small. With "
    "--share-from the image is cropped and scaled to it.  [default: 32; that of the image]",
)
@click.option(
    "--columns", type=click.IntRange(1), help="Pictures in a row.  [default: a square grid; 10 with --progressive]"
)
@click.option(
    "--progressive",
    is_flag=True,
    help="Show intermediate estimates of the image: a row per sample, or an animation if the output's name ends in "
    ".apng or .webp.",
)
@click.option("--share-from", metavar="IMAGE", help="Draw samples from the noisy state of this image at -t.")
@click.option(
    "-t",
    "--timestep",
    "timesteps",
    multiple=True,
    type=click.IntRange(1, 4095),
    help="Noise level for --share-from; repeatable, each makes a row.",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Batch size.")
@sampling_options
def command(
    out: str,
    count: int | None,
    size: int | None,
    columns: int | None,
    progressive: bool,
    share_from: str | None,
    timesteps: tuple[int, ...],
    batch_size: int,
    options: SamplingOptions,
) -> None:
    """Draw samples of a model.

    With --share-from IMAGE -t T a row shows the image, its noisy state x_T, and samples drawn from that state.
    """
    if bool(share_from) != bool(timesteps):
        raise click.UsageError("--share-from and -t need each other.")
    if share_from and (progressive or columns):
        raise click.UsageError("--share-from cannot be combined with --progressive or --columns.")
    folder = out != STANDARD and names_folder(out)
    if folder and (share_from or progressive or columns):
        raise click.UsageError(f"{out} is a folder; --share-from, --progressive and --columns make one picture.")

    from diffcodec.images.grids import ANIMATED_FORMATS, grid, write_animation

    suffix = Path(out).suffix.lower()
    animated = progressive and suffix in ANIMATED_FORMATS
    count = count or (6 if progressive or share_from else 16)
    targets = [os.path.join(out, f"sample-{number:04d}.png") for number in range(count)] if folder else [out]
    for target in targets:
        check_target(target, options.force, own_format=animated, makes_folder=folder)
    if share_from:
        pictures = to_array(shared_rows(share_from, timesteps, count, size, batch_size, options))
        write_sheet(grid(pictures, count + 2, options.zoom), out, options.force)
        return
    frames = FRAMES if animated else (columns or 10) if progressive else 1
    estimates = samples(count, size or 32, frames, batch_size, options)
    square = columns or math.isqrt(count - 1) + 1
    if animated:
        sheets = [grid(to_array(estimate), square, options.zoom) for estimate in estimates]
        write_output(out, options.force, lambda file: write_animation(sheets, file, ANIMATED_FORMATS[suffix]))
    elif progressive:
        write_sheet(grid(to_array(estimates.transpose(0, 1).flatten(0, 1)), frames, options.zoom), out, options.force)
    elif folder:
        for target, pixels in zip(targets, to_array(estimates[-1]), strict=True):
            write_sheet(grid(pixels[None], 1, options.zoom), target, options.force, make_folder=True)
    else:
        write_sheet(grid(to_array(estimates[-1]), square, options.zoom), out, options.force)


def samples(count: int, size: int, frames: int, batch_size: int, options: SamplingOptions) -> Tensor:
    """Intermediate estimates and, last, the samples: (frames, N, 3, H, W), uint8."""
    from diffcodec.diffusion.sampling import sample_progressively

    sampler, denoiser = options.sampler(), options.denoiser()
    with options.sampling_run(sampler, denoiser, [denoiser.schedule.steps], count) as progress:
        return sample_progressively(
            denoiser,
            sampler,
            count,
            size=(size, size),
            frames=frames,
            seed=options.seed,
            batch_size=batch_size,
            progress=progress,
        )


def shared_rows(
    name: str, timesteps: Sequence[int], count: int, size: int | None, batch_size: int, options: SamplingOptions
) -> Tensor:
    """For every timestep the image, its noisy state, and samples from there: (N, 3, H, W), uint8."""
    import torch

    from diffcodec.diffusion.sampling import sample_shared

    sampler, denoiser = options.sampler(), options.denoiser()
    image = read_image(name, denoiser, size)
    rows = []
    with options.sampling_run(sampler, denoiser, timesteps, count) as progress:
        for timestep in timesteps:
            x_t, found = sample_shared(
                denoiser, sampler, image, timestep, count, seed=options.seed, batch_size=batch_size, progress=progress
            )
            rows += [image[None], x_t[None], found]
    return torch.cat(rows)
