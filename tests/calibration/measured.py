"""Pictures to measure, and a curve that nothing was measured for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcodec.calibration.error_curve import BANDS, ErrorCurve
from tests.conftest import smooth_pixels


def images_of(side: int, count: int) -> Tensor:
    """Pictures, (count, 3, side, side)."""
    pictures = np.stack([smooth_pixels(side, side, seed) for seed in range(count)])
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def made_up_curve() -> ErrorCurve:
    """Errors that fall with the SNR, the sooner the lower the band."""
    log_snr = np.linspace(-8, 9, 18)
    variances = 0.25 / (1 + np.exp(log_snr[:, None] + np.linspace(0, 6, BANDS)))
    return ErrorCurve(log_snr, variances, np.full(BANDS, 0.3))
