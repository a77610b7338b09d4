"""Measures how a network is best evaluated."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffcodec.calibration.error_curve import at_once, noisy
from diffcodec.coding.restoring import mean_of_mirrored
from diffcodec.devices import device_of, evaluation_precision
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.model.evaluation_profile import EvaluationProfile

LARGEST_SEAM = 0.01
"""Largest rms difference beside a window's edge, relative to the estimate's error."""


@torch.no_grad()
def measure_profile(denoiser: Denoiser, x_0: Tensor, *, points: int = 16, seed: int = 0) -> EvaluationProfile:
    """A network's rounding error in bfloat16, its gain from mirrored inputs, and the margin of windows.

    Args:
        denoiser: the model.
        x_0: signals, (N, C, H, W); a few suffice, since every pixel is a sample.
        points: number of levels, evenly spaced over the range of the network's log SNR.
        seed: of the noise.
    """
    generator, device = torch.Generator().manual_seed(seed), device_of(denoiser)
    log_snrs = np.linspace(denoiser.config.log_snr_min, denoiser.config.log_snr_max, points).tolist()
    ratios, gains = [], []
    for log_snr in log_snrs:
        level, rounding, error, averaged = NoiseLevel(log_snr), 0.0, 0.0, 0.0
        for batch in torch.split(x_0, at_once(*x_0.shape[2:])):
            x_t = noisy(batch, level, generator).to(device)
            full, half = (_estimate(denoiser, level, dtype, x_t) for dtype in (torch.float32, torch.bfloat16))
            rounding += float((half - full).square().sum())
            error += float((full - batch).square().sum())
            mean = mean_of_mirrored(partial(_estimate, denoiser, level, torch.float32), x_t, full)
            averaged += float((mean - batch).square().sum())
        # An error of less than a thousandth of a grey level does not count in a ratio.
        least = 1e-10 * x_0.numel()
        ratios.append((rounding / max(error, least)) ** 0.5)
        gains.append(10 * math.log10(max(error, least) / max(averaged, least)))
    margin = measure_margin(denoiser, x_0, seed=seed)
    return EvaluationProfile(tuple(log_snrs), tuple(ratios), margin, tuple(gains))


@torch.no_grad()
def measure_margin(denoiser: Denoiser, x_0: Tensor, *, points: int = 4, seed: int = 0) -> int | None:
    """The least margin of windows that changes pixels beside a window's edge by at most 1 % of the estimate's error.

    Args:
        denoiser: the model.
        x_0: signals, (N, C, H, W); only what is beside their middle column is compared.
        points: number of levels, evenly spaced over the range of the network's log SNR.
        seed: of the noise.

    Returns:
        None if the network sees everything, or signals are not twice as wide as its receptive field.
    """
    generator, device, network = torch.Generator().manual_seed(seed), device_of(denoiser), denoiser.config.network
    middle = x_0.shape[3] // 2 // network.stride * network.stride
    if not network.is_local or middle < network.receptive_radius:
        return None
    # Halved levels are evaluated in windows of the halved picture, at a higher log SNR.
    least = max(denoiser.config.log_snr_min, denoiser.config.half_resolution_below or -math.inf)
    beside, margin = slice(middle, middle + network.stride), 0
    for log_snr in np.linspace(least, denoiser.config.log_snr_max, points).tolist():
        level, condition = NoiseLevel(log_snr), torch.tensor([log_snr])
        x_t = noisy(x_0, level, generator).to(device)
        whole = denoiser.evaluate(x_t, condition).x_0.cpu()
        allowed = LARGEST_SEAM * float((whole - x_0).square().mean().sqrt())
        while margin < network.receptive_radius:
            part = denoiser.evaluate(x_t[..., middle - margin :], condition).x_0.cpu()
            difference = part[..., margin : margin + network.stride] - whole[..., beside]
            if float(difference.square().mean().sqrt()) <= allowed:
                break
            margin += network.stride
    return margin


def _estimate(denoiser: Denoiser, level: NoiseLevel, dtype: torch.dtype, x_t: Tensor) -> Tensor:
    with evaluation_precision(x_t.device, dtype):
        return denoiser.estimate_x_0(x_t, level).cpu()
