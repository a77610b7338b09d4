"""Data sets whose best denoiser is known in closed form: a Gaussian, and a mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcodec.diffusion.denoiser import alpha_sigma


def along_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix (C, C) times every pixel of images (B, C, H, W)."""
    return torch.einsum("ij,bjhw->bihw", matrix, x)


def as_samples(x: Tensor) -> Tensor:
    """Every pixel of images (B, C, H, W) as one sample: (B H W, C)."""
    return x.movedim(1, 3).flatten(0, 2)


@dataclass(frozen=True)
class GaussianData:
    """Pixels are independent draws of N(mean, covariance) over the channels.

    Args:
        mean: (C,).
        covariance: (C, C).
    """

    mean: Tensor
    covariance: Tensor

    def gain(self, alpha: float, sigma: float) -> Tensor:
        """alpha C (alpha^2 C + sigma^2)^-1, (C, C): x_0 estimate = mean + gain (x_t - alpha mean)."""
        total = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.mean), dtype=torch.float64)
        gain: Tensor = alpha * self.covariance @ torch.linalg.inv(total)
        return gain

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The best estimate of the noise."""
        alpha, sigma = (float(value[0]) for value in alpha_sigma(log_snr.double()))
        mean = self.mean[:, None, None]
        x_0 = mean + along_channels(self.gain(alpha, sigma), x_t - alpha * mean)
        return (x_t - alpha * x_0) / sigma


@dataclass(frozen=True)
class MixtureData:
    """Pixels are independent draws of a mixture of N(mode, std^2).

    Args:
        weights: (K,).
        modes: (K, C).
        std: of every component.
    """

    weights: Tensor
    modes: Tensor
    std: float

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The best estimate of the noise: -sigma times the score of q(x_t)."""
        alpha, sigma = (float(value[0]) for value in alpha_sigma(log_snr.double()))
        variance = (alpha * self.std) ** 2 + sigma**2
        away = x_t[:, None] - alpha * self.modes[None, :, :, None, None]  # (B, K, C, H, W)
        logits = self.weights.log()[None, :, None, None] - (away**2).sum(dim=2) / (2 * variance)
        return sigma * (logits.softmax(dim=1)[:, :, None] * away).sum(dim=1) / variance

    def component(self, x_0: Tensor) -> Tensor:
        """The nearest mode of every pixel, (N,), for samples (N, C)."""
        return torch.cdist(x_0, self.modes).argmin(dim=1)
