"""What the last step to t = 0 costs, and what its parts are worth: rounding alike, correction and classes.

    python benchmarks/last_step.py

For the bundled test images at every level that the lossless tables know: bits per subpixel of the pattern numbers and
of the pixels, beside those of DDPM's decoder (one normal distribution for all pixels, the best std, means not rounded).
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm import tqdm

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.signals import ColourPictures
from diffcodec.diffusion.gaussian import discretised_log_likelihood
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_unit
from diffcodec.images import Picture
from diffcodec.lossless.residuals import ResidualModel
from diffcodec.lossless.rounding import UNIT, round_values
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.training.data import load_images

HERE = Path(__file__).parent


@torch.no_grad()
def estimates(codec: DiffusionCodec, x_0: Tensor, level: NoiseLevel) -> Tensor:
    """The network's clipped estimate from x_t ~ q(x_t | x_0), (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    x_t = level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=generator)
    return torch.cat([codec.denoiser.estimate_x_0(part, level) for part in torch.split(x_t, 20)])


def one_normal_bits(x_0: Tensor, estimate: Tensor) -> float:
    """Bits per subpixel with the one std that is best for all pixels (Ho et al. 2020, eq. 13)."""

    def bits(std: float) -> float:
        return -float(discretised_log_likelihood(x_0, estimate, std).double().mean()) / math.log(2)

    return float(minimize_scalar(bits, bounds=(1e-3, 0.5), method="bounded").fun)


@click.command()
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Number of test images.")
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
def main(limit: int, model: str | None) -> None:
    """Measure the parts of the last step on CIFAR-10 test images."""
    codec = DiffusionCodec.from_pretrained(model)
    tables = codec.tables.lossless
    if tables is None:
        raise click.ClickException(f"{codec.model.card.name} has no lossless tables: run `diffcodec calibrate`")
    images = load_images(str(HERE / "data" / "cifar10-test-100.webp"))[:limit]
    x_0, signal = to_unit(images), ColourPictures()
    canvas = codec.canvas_for(Picture(images[0].permute(1, 2, 0).numpy()))
    click.echo("       t  grid (grey levels)  one normal  patterns  pixels   (bits/dim)")
    for fit in reversed(tables.colour):
        level = NoiseLevel(fit.log_snr / LOG_SNR_SCALE)
        estimate = estimates(codec, x_0, level)
        patterns = pixels = 0.0
        for image, means in zip(tqdm(images.numpy(), leave=False), estimate, strict=True):
            writer = SymbolWriter()
            levels = signal.grey_levels(means, canvas)
            rounded = round_values(levels.reshape(-1) * UNIT, fit.spacing, writer).reshape(levels.shape)
            patterns += writer.information_bits / images.numel()
            ResidualModel(tables.shape, fit).encode(image, rounded, writer)
            pixels += writer.information_bits / images.numel()
        pixels -= patterns
        timestep = codec.denoiser.schedule.timestep(level.log_snr)
        click.echo(
            f"{timestep:8.2f}  {fit.spacing / UNIT:18.2f}  {one_normal_bits(x_0, estimate):10.4f}  "
            f"{patterns:8.4f}  {pixels:6.4f}"
        )


if __name__ == "__main__":
    main()
