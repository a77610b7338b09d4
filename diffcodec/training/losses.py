"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcodec.config import TrainingConfig
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma


def draw_log_snr(config: TrainingConfig, count: int, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    """Noise levels for a batch, and the weight of each in training.

    `vlb` spreads the batch evenly over the range with one shared random offset (the low-discrepancy sampler
    of VDM, Kingma et al. 2021), which lowers the variance of the loss.

    Returns:
        log SNR (count,) in nats, and factors (count,) of the loss that is trained on.
    """
    if config.loss == "simple":
        timesteps = torch.randint(1, denoiser.schedule.steps + 1, (count,))
        return torch.from_numpy(denoiser.schedule.log_snr)[timesteps].float(), torch.ones(count)
    low, high = denoiser.config.log_snr_min, denoiser.config.log_snr_max
    log_snr = low + (high - low) * (torch.arange(count) + torch.rand(())) / count
    return log_snr, torch.where(log_snr < config.coarse_below, config.coarse_weight, 1.0)


def eps_error(denoiser: Denoiser, x_0: Tensor, log_snr: Tensor, eps: Tensor | None = None) -> Tensor:
    """Mean squared error of eps for every image.

    With the log SNR uniform over a range of R nats, R / 2 times its mean is the rate in nats per subpixel
    (VDM, Kingma et al. 2021, eq. 13); in terms of the image it is SNR * (x_0 - xhat_0)^2.

    Args:
        denoiser: the model.
        x_0: (B, C, H, W) in [-1, 1].
        log_snr: (B,).
        eps: the noise, (B, C, H, W); drawn if not given.

    Returns:
        (B,), the mean over subpixels.
    """
    alpha, sigma = alpha_sigma(log_snr)
    x_t = alpha * x_0 + sigma * (torch.randn_like(x_0) if eps is None else eps)
    error = (x_0 - denoiser.predict_x_0(x_t, log_snr)) ** 2
    return error.mean(dim=(1, 2, 3)) * log_snr.exp()
