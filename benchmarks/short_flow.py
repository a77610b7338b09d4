"""How far `short-flow` should go: SSIMULACRA 2 and PSNR over the distance along the flow at which the mean is taken.

    python benchmarks/short_flow.py --data KODAK

For states with true noise at several timesteps, on the middle 256 x 256 pixels of photographs: distance 0 is `mean`,
the largest is nearly `flow`. The flow is followed in small steps; `short-flow` takes two.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from photo_folder import read_photos
from torch import Tensor

from diffcodec import DiffusionCodec
from diffcodec.devices import evaluation_precision, has_fast_bf16
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_pixels, to_unit
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.images.visibility import Ssimulacra2
from diffcodec.model.locations import PHOTO_MODEL

DISTANCES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""In nats of the log SNR."""

STEP = 0.125
SIDE = 256


@torch.no_grad()
def estimate(denoiser: Denoiser, x_t: Tensor, level: NoiseLevel) -> Tensor:
    """x_0 of a state, (1, 3, H, W)."""
    cpu = torch.device("cpu")
    with evaluation_precision(cpu, torch.bfloat16 if has_fast_bf16(cpu) else torch.float32):
        return predict_x_0(denoiser, x_t, level.log_snr).float().clamp(-1, 1)


def scores(denoiser: Denoiser, pixels: NDArray[np.uint8], start: NoiseLevel, seed: int) -> list[tuple[float, float]]:
    """SSIMULACRA 2 and PSNR of the estimate at every distance."""
    x_0 = to_unit(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    x_t = start.alpha * x_0 + start.sigma * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed))
    scorer, level, found = Ssimulacra2(pixels), start, []
    for distance in DISTANCES:
        while level.log_snr < start.log_snr + distance - STEP / 2:
            x_0 = estimate(denoiser, x_t, level)
            eps, level = (x_t - level.alpha * x_0) / level.sigma, NoiseLevel(level.log_snr + STEP)
            x_t = level.alpha * x_0 + level.sigma * eps
        restored = to_pixels(estimate(denoiser, x_t, level))[0].permute(1, 2, 0).numpy()
        found.append((scorer.score(restored), psnr_db(squared_error(pixels, restored))))
    return found


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--limit", default=6, show_default=True)
@click.option("--model", default=PHOTO_MODEL, show_default=True)
@click.option("--timesteps", default="50,100,150,200,300,400", show_default=True)
def main(data: Path, limit: int, model: str, timesteps: str) -> None:
    """Print a row for each timestep."""
    denoiser = DiffusionCodec.from_pretrained(model).denoiser
    pictures = read_photos(data, limit=limit, crop=SIDE)
    table = [["t", *(f"{distance:g}" for distance in DISTANCES)]]
    for timestep in map(int, timesteps.split(",")):
        start = denoiser.schedule.level(timestep)
        means = np.mean([scores(denoiser, pixels, start, seed) for seed, pixels in enumerate(pictures)], axis=0)
        table.append([str(timestep), *(f"{score:.1f} / {psnr:.2f}" for score, psnr in means)])
        click.echo("  ".join(table[-1]), err=True)
    click.echo(aligned(table))


if __name__ == "__main__":
    main()
