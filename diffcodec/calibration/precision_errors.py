"""Measures what half precision costs a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcodec.calibration.error_curve import at_once
from diffcodec.devices import device_of, evaluation_precision
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_unit
from diffcodec.model.precision import PrecisionTable


@torch.no_grad()
def measure_precision(denoiser: Denoiser, images: Tensor, *, points: int = 16, seed: int = 0) -> PrecisionTable:
    """The rounding error of a network in bfloat16, in units of the estimate's own error.

    Args:
        denoiser: the model.
        images: (N, 3, H, W), uint8; a few suffice, since every pixel is a sample.
        points: number of levels, evenly spaced over the range of the network's log SNR.
        seed: of the noise.
    """
    generator, device = torch.Generator().manual_seed(seed), device_of(denoiser)
    log_snrs = np.linspace(denoiser.config.log_snr_min, denoiser.config.log_snr_max, points).tolist()
    ratios = []
    for log_snr in log_snrs:
        level, rounding, error = NoiseLevel(log_snr), 0.0, 0.0
        for x_0 in torch.split(to_unit(images), at_once(*images.shape[2:])):
            x_t = (level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=generator)).to(device)
            full, half = (_estimate(denoiser, x_t, level, dtype) for dtype in (torch.float32, torch.bfloat16))
            rounding += float((half - full).square().sum())
            error += float((full - x_0).square().sum())
        # An error of less than a thousandth of a grey level does not count in a ratio.
        ratios.append((rounding / max(error, 1e-10 * images.numel())) ** 0.5)
    return PrecisionTable(tuple(log_snrs), tuple(ratios))


def _estimate(denoiser: Denoiser, x_t: Tensor, level: NoiseLevel, dtype: torch.dtype) -> Tensor:
    with evaluation_precision(x_t.device, dtype):
        return denoiser.estimate_x_0(x_t, level).cpu()
