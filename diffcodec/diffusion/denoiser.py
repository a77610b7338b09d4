"""From the network's raw output to estimates of the clean image and of the noise."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from diffcodec.config import ModelConfig
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.diffusion.unet import UNet


class NoisePredictor(Protocol):
    """What the diffusion process needs of a model."""

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The noise in x_t.

        Args:
            x_t: (B, C, H, W).
            log_snr: (B,), log SNR of every image, in nats.

        Returns:
            eps, (B, C, H, W).
        """


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of every image, (B, 1, 1, 1) each, from log SNRs (B,)."""
    log_snr = log_snr[:, None, None, None]
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


class Denoiser(nn.Module):
    """A U-Net with its parametrisation: one network evaluation gives x_0 and eps.

    Args:
        config: the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = NoiseSchedule(config.schedule)
        self.network = UNet(config.network)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The noise in x_t: (B, C, H, W) and (B,) -> (B, C, H, W)."""
        x_0 = self.predict_x_0(x_t, log_snr)
        alpha, sigma = alpha_sigma(log_snr)
        return (x_t - alpha * x_0) / sigma

    def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The network's estimate of the clean image, not clipped.

        Args:
            x_t: (B, C, H, W), height and width multiples of `config.network.stride`.
            log_snr: (B,), in nats, finite.

        Returns:
            (B, C, H, W), float32.
        """
        alpha, sigma = alpha_sigma(log_snr)
        # The process whose data have unit variance: the input is scaled to unit variance at every level.
        data_std = self.config.data_std
        total_std = ((alpha * data_std) ** 2 + sigma**2).sqrt()
        if self.config.prediction == "v":
            raw = self._raw(x_t / total_std, log_snr)
            # x_0 = alpha x_t - sigma v in that process, then scaled back.
            return (alpha * data_std**2 * x_t / total_std - sigma * data_std * raw) / total_std
        raw = self._raw(x_t, log_snr)
        return raw if self.config.prediction == "x0" else (x_t - sigma * raw) / alpha

    def estimate_x_0(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        """`predict_x_0` of images that are all at one level, clipped to [-1, 1]."""
        return self.predict_x_0(x_t, torch.full((len(x_t),), level.log_snr, device=x_t.device)).clamp(-1, 1)

    def _raw(self, x: Tensor, log_snr: Tensor) -> Tensor:
        condition = log_snr.clamp(self.config.log_snr_min, self.config.log_snr_max)
        if self.config.network.conditioning == "timestep":
            # The paper's network is told t - 1: the only place with its 0-based index.
            steps = [self.schedule.timestep(value) - 1 for value in log_snr.tolist()]
            condition = torch.tensor(steps, dtype=torch.float32, device=x.device)
        raw: Tensor = self.network(x, condition).float()
        return raw
