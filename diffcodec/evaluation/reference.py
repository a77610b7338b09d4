"""The rate of the network itself, independent of the codec's steps: many levels, exact Gaussian states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.devices import device_of
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_grey_levels, to_unit


@dataclass(frozen=True)
class Reference:
    """Rate and distortion at some noise levels, for every image.

    Args:
        bits: (levels, N), sum of KL from pure noise to the level, equal variances.
        mse: (levels, N), of the clipped and rounded estimate at the level, in squared grey levels.
    """

    bits: NDArray[np.float64]
    mse: NDArray[np.float64]


@torch.no_grad()
def measure_reference(
    denoiser: Denoiser,
    images: Tensor,
    log_snrs: Sequence[float],
    *,
    levels: int = 500,
    batch_size: int = 50,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Reference:
    """Rate and distortion with many levels, uniform in log SNR, and an independent x_t ~ q(x_t | x_0) at each.

    The rate is the sum of 1/2 (SNR(s) - SNR(t)) ||x_0 - xhat_0(x_t)||^2 over `levels` steps in the model's range; steps
    are split at the wanted log SNRs.

    Args:
        denoiser: the model.
        images: (N, 3, H, W), uint8.
        log_snrs: wanted log SNRs, rising.
        levels: number of steps over the model's range.
        batch_size: images at a time.
        seed: of the noise.
        progress: called with the number of levels done.
    """
    generator = torch.Generator().manual_seed(seed)
    device = device_of(denoiser)
    config = denoiser.config
    grid = np.union1d(np.linspace(config.log_snr_min, config.log_snr_max, levels + 1), np.array(log_snrs))
    grid = grid[grid <= max(log_snrs)]
    bits = np.zeros((len(log_snrs), len(images)))
    mse = np.zeros_like(bits)
    total = np.zeros(len(images))
    for index, value in enumerate(grid):
        level = NoiseLevel(float(value))
        following = float(grid[index + 1]) if index + 1 < len(grid) else value
        gain = math.exp(following) - (math.exp(value) if index else 0.0)
        wanted = [place for place, log_snr in enumerate(log_snrs) if log_snr == value]
        for place in wanted:
            bits[place] = total
        errors = []
        for batch in torch.split(images, batch_size):
            x_0 = to_unit(batch).to(device)
            noise = torch.randn(x_0.shape, generator=generator).to(device)
            x_t = level.alpha * x_0 + level.sigma * noise
            estimate = denoiser.estimate_x_0(x_t, level)
            errors.append(((x_0 - estimate) ** 2).sum(dim=(1, 2, 3)).double().cpu().numpy())
            for place in wanted:
                grey = to_grey_levels(estimate).round().cpu() - batch
                begin = sum(len(part) for part in errors[:-1])
                mse[place, begin : begin + len(batch)] = (grey.double() ** 2).mean(dim=(1, 2, 3)).numpy()
        total += 0.5 * gain * np.concatenate(errors) / math.log(2)
        progress(index + 1)
    return Reference(bits, mse)
