"""Would variances that follow the picture pay? The ideal rate of the default steps with ever smaller groups of blocks.

    python benchmarks/local_variances.py --data KODAK --training PHOTOS --limit 8

p(x_s | x_t) has a variance per band of a block's DCT, times a factor per tile, which the length of the tile's message
conveys. A network, or a rule, could predict a factor per block from the estimate at no cost. This prints the sum of the
KL divergences along the default level list with

- `static`: the bands of TRAINING's mean error,
- `picture`, `tile 128` ... `tile 8`: and the best factor for each picture or square,
- `predicted`: and a factor per block that a small network predicts from the estimate's activity, fitted to TRAINING,
- `predicted, tile 32`: both,

for blocks of 32, 16 and 8 pixels. Factors are not charged: these are lower bounds.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from photo_folder import read_photos
from scipy.fft import dct, dctn
from torch import nn

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.band_transform import BLOCK, CLASS_OF_FREQUENCY
from diffcodec.devices import evaluation_precision
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.evaluation.summary_table import aligned
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.model.locations import PHOTO_MODEL

Floats = NDArray[np.float32]
FACTORS = np.exp2(np.arange(-6, 6.01, 0.5))
TILES = (128, 64, 32, 16, 8)


def errors_and_estimates(denoiser: Denoiser, pictures: NDArray[np.uint8], log_snr: float) -> tuple[Floats, Floats]:
    """x_0 - xhat_0 and xhat_0 of pictures (N, H, W, 3) with true noise, both (N, 3, H, W)."""
    x_0 = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    alpha, sigma = alpha_sigma(torch.tensor([log_snr]))
    x_t = alpha * x_0 + sigma * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), evaluation_precision(torch.device("cpu"), torch.bfloat16):
        estimate = torch.cat([predict_x_0(denoiser, each, log_snr).clamp(-1, 1) for each in torch.split(x_t, 1)])
    return (x_0 - estimate).numpy(), estimate.numpy()


def coefficients(planes: Floats, block: int) -> Floats:
    """DCT over colours and blocks: (N, rows, columns, 3, block, block)."""
    mixed = np.einsum("kc,nchw->nkhw", dct(np.eye(3), norm="ortho", axis=0).astype(np.float32), planes)
    count, channels, height, width = planes.shape
    blocks = mixed.reshape(count, channels, height // block, block, width // block, block)
    result: Floats = dctn(blocks, axes=(3, 5), norm="ortho").transpose(0, 2, 4, 1, 3, 5)
    return result


def bands_of(block: int) -> NDArray[np.int64]:
    """The band of every coefficient of a block, (3 * block**2,)."""
    classes = np.array(CLASS_OF_FREQUENCY)[np.arange(block) * BLOCK // block]
    count = classes.max() + 1
    bands: NDArray[np.int64] = np.arange(3)[:, None, None] * count**2 + classes[:, None] * count + classes
    return np.unique(bands.reshape(-1), return_inverse=True)[1]  # small blocks lack some classes


def activity(estimate: Floats, block: int) -> Floats:
    """Log energies, low and high, grey and colours, of each block and of 3 x 3 around it: (N, rows, columns, 8)."""
    energy = coefficients(estimate, block) ** 2
    frequency = np.maximum.outer(np.arange(block), np.arange(block))
    found = []
    for low, high in ((1, block // 4), (block // 4 + 1, block)):
        chosen = (frequency >= low) & (frequency <= high)
        for channels in ((0,), (1, 2)):
            mean = sum(energy[:, :, :, channel][..., chosen].mean(-1) for channel in channels)
            padded = np.pad(mean, ((0, 0), (1, 1), (1, 1)), mode="edge")
            rows, columns = mean.shape[1:]
            around = sum(padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)) / 9
            found += [np.log(mean + 1e-6), np.log(around + 1e-6)]
    return np.stack(found, axis=-1).astype(np.float32)


def bits_of(variance: NDArray[np.floating], energy: Floats, gap: float) -> NDArray[np.float64]:
    """KL divergence in bits, summed over the last axis, of coefficients with squared errors `energy`."""
    ratio = 1 + gap * variance
    bits: NDArray[np.float64] = (np.log(ratio) + (1 + gap * energy) / ratio - 1).sum(-1) / (2 * math.log(2))
    return bits


def best_factors(base: Floats, energy: Floats, gap: float, groups: NDArray[np.int64]) -> float:
    """Bits with the best factor for every group of blocks; `base` broadcasts to the energies."""
    costs = [np.bincount(groups.reshape(-1), bits_of(base * factor, energy, gap).reshape(-1)) for factor in FACTORS]
    return float(np.min(costs, axis=0).sum())


def squares(shape: tuple[int, ...], blocks: int) -> NDArray[np.int64]:
    """The square of so many blocks, across and down, in which each block lies: (N, rows, columns)."""
    count, rows, columns = shape
    across, down = -(-columns // blocks), -(-rows // blocks)
    picture = np.arange(count)[:, None, None] * down
    return (picture + (np.arange(rows) // blocks)[:, None]) * across + np.arange(columns) // blocks


def fit_factors(features: Floats, energy: Floats, base: Floats, gap: float) -> nn.Module:
    """A network from activity to the log of a block's factor, fitted by maximum likelihood."""
    weight = gap * base / (1 + gap * base)
    ratio = torch.from_numpy((((energy / base) * weight).sum(-1) / weight.sum()).reshape(-1).astype(np.float32))
    inputs = torch.from_numpy(features.reshape(-1, features.shape[-1]))
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm1d(inputs.shape[1]), nn.Linear(inputs.shape[1], 24), nn.SiLU(), nn.Linear(24, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(400):
        some = torch.randint(len(inputs), (4096,))
        log_factor = network(inputs[some])[:, 0]
        loss = (log_factor + ratio[some] * torch.exp(-log_factor)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def step_bits(
    tests: tuple[Floats, Floats], training: tuple[Floats, Floats], gap: float, block: int
) -> dict[str, float]:
    """Bits of one step with every kind of variance, by its name."""
    bands = bands_of(block)
    energy, known = (
        coefficients(errors, block).reshape(*(np.array(errors.shape)[[0, 2, 3]] // (1, block, block)), -1) ** 2
        for errors, _ in (tests, training)
    )
    base = np.array([known[..., bands == band].mean() for band in range(bands.max() + 1)], np.float32)[bands]
    shape = energy.shape[:3]
    found = {"static": float(bits_of(base, energy, gap).sum())}
    found["picture"] = best_factors(base, energy, gap, squares(shape, max(shape)))
    for side in TILES:
        if side >= block:
            found[f"tile {side}"] = best_factors(base, energy, gap, squares(shape, side // block))
    network = fit_factors(activity(training[1], block), known, base, gap)
    with torch.no_grad():
        features = activity(tests[1], block)
        log_factor = network(torch.from_numpy(features.reshape(-1, features.shape[-1])))[:, 0].clamp(-4, 4)
    own = base * np.exp(log_factor.numpy()).reshape(*shape, 1)
    found["predicted"] = float(bits_of(own, energy, gap).sum())
    found["predicted, tile 32"] = best_factors(own, energy, gap, squares(shape, max(1, 32 // block)))
    return found


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--training", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=PHOTO_MODEL, show_default=True)
@click.option("--timestep", type=click.IntRange(1), default=50, show_default=True, help="Where the files end.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Pictures of --data.")
@click.option("--training-limit", type=click.IntRange(1), default=40, show_default=True)
@click.option("--crop", type=click.IntRange(32), default=256, show_default=True, help="Side of the middle square used.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def main(
    data: Path, training: Path, model: str, timestep: int, limit: int, training_limit: int, crop: int, threads: int
) -> None:
    """Print the bits of all kinds of variances."""
    torch.set_num_threads(threads)
    codec = DiffusionCodec.from_pretrained(model)
    tests, known = (np.stack(read_photos(*each, crop)) for each in ((data, limit), (training, training_limit)))
    levels = codec.tables.lists[codec.tables.list_for(crop * crop)].steps_to(codec.tables.level(timestep))
    log_snrs = [level.log_snr / LOG_SNR_SCALE for level in levels]
    totals: dict[tuple[int, str], float] = {}
    for here, there in pairwise(log_snrs):
        results = [errors_and_estimates(codec.denoiser, pictures, here) for pictures in (tests, known)]
        for block in (32, 16, 8):
            for name, bits in step_bits(results[0], results[1], math.exp(there) - math.exp(here), block).items():
                totals[block, name] = totals.get((block, name), 0.0) + bits
    reference = totals[32, "tile 32"]
    rows = [(str(block), name, f"{bits:.0f}", f"{bits / reference - 1:+.2%}") for (block, name), bits in totals.items()]
    click.echo(aligned([("block", "variances", "bits", "of tile 32"), *rows], left=2))


if __name__ == "__main__":
    main()
