"""Would a rotation of a latent model's channels pay? The rate of the default steps with and without one.

    python benchmarks/latent_rotation.py RUN/pipeline --data PICTURES --limit 24 --crop 192

p has a variance per channel and band of the blocks' DCT. If errors of channels are correlated, a rotation leaves fewer
bits. This sums 1/2 log2(1 + g v) over the steps of the default level list, with the variances v of

- the channels themselves,
- the channels in one fixed basis: the principal axes of all errors,
- the principal axes of every band at every level, which is a lower bound for any rotation.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from photo_folder import read_photos

from diffcodec import DiffusionCodec
from diffcodec.calibration.error_curve import noisy
from diffcodec.calibration.samples import Samples
from diffcodec.coding.band_transform import BANDS_OF_CHANNEL
from diffcodec.coding.canvas import SignalKind
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.model.latent import LatentModel
from diffcodec.model.levels import LOG_SNR_SCALE


def covariances(errors: NDArray[np.float32], kind: SignalKind) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of the channels in every band: (bands, C, C), and the number of coefficients of one channel in each band.

    Args:
        errors: (N, C, h, w).
        kind: of the signal.
    """
    count, channels, height, width = errors.shape
    transform = SignalKind(kind.name, 1, 1, False).transform(width, height)
    planes = transform.forward(errors.reshape(count * channels, -1)).reshape(count, channels, -1).astype(np.float64)
    sizes = np.bincount(transform.band, minlength=BANDS_OF_CHANNEL)
    found = np.zeros((BANDS_OF_CHANNEL, channels, channels))
    for band in np.flatnonzero(sizes):
        part = planes[:, :, transform.band == band]
        found[band] = np.einsum("ncd,nkd->ck", part, part) / (count * sizes[band])
    return found, sizes


@click.command(help=__doc__)
@click.argument("model")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--limit", default=24, show_default=True)
@click.option("--crop", default=192, show_default=True)
@torch.no_grad()
def main(model: str, data: Path, limit: int, crop: int) -> None:
    """Print the three sums."""
    codec = DiffusionCodec.from_pretrained(model, precision="fp32")
    if not isinstance(codec.checkpoint, LatentModel):
        raise click.UsageError("expected a latent model")
    pictures = torch.from_numpy(np.stack(read_photos(data, limit=limit, crop=crop))).permute(0, 3, 1, 2)
    samples = Samples.of_latents(pictures, codec.checkpoint.autoencoder(codec.device), codec.model.config)
    levels = codec.tables.lists[codec.tables.list_for(crop * crop)].levels
    generator = torch.Generator().manual_seed(0)
    steps = []
    for index, end in enumerate(levels):
        before = 0.0 if not index else float(np.exp(levels[index - 1].log_snr / LOG_SNR_SCALE))
        gap = float(np.exp(end.log_snr / LOG_SNR_SCALE)) - before
        if index:
            level = NoiseLevel(levels[index - 1].log_snr / LOG_SNR_SCALE)
            estimates = [codec.denoiser.estimate_x_0(noisy(x[None], level, generator), level) for x in samples.x_0]
            errors = samples.x_0 - torch.cat(estimates)
        else:
            errors = samples.x_0 - samples.constant
        steps.append((gap, *covariances(errors.numpy(), samples.kind)))
    # All errors, weighted by what they cost: the SNR gained.
    total = sum(gap * np.einsum("bcd,b->cd", matrices, sizes) for gap, matrices, sizes in steps)
    fixed = np.linalg.eigh(total)[1]
    sums = np.zeros(3)
    for gap, matrices, sizes in steps:
        rotated = np.einsum("ki,bkl,lj->bij", fixed, matrices, fixed)
        for place, variances in enumerate(
            (
                np.diagonal(matrices, axis1=1, axis2=2),
                np.diagonal(rotated, axis1=1, axis2=2),
                np.maximum(np.linalg.eigvalsh(matrices), 0),
            )
        ):
            sums[place] += float((0.5 * np.log2(1 + gap * variances).sum(axis=1) * sizes).sum())
    for name, value in zip(("channels", "fixed rotation", "rotation of every band"), sums, strict=True):
        click.echo(f"{name}: {value / crop**2:.4f} bits/pixel, {100 * (value / sums[0] - 1):+.2f} %")


if __name__ == "__main__":
    main()
