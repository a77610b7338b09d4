"""Decoders as on other machines: networks whose arithmetic differs a little, other numbers of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from diffcodec.codec import DiffusionCodec
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.model.checkpoint import Checkpoint


class PerturbedDenoiser(Denoiser):
    """Adds N(0, std^2) to eps at every evaluation, as another machine's arithmetic might, only much more."""

    std: float = 1e-5

    def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr)
        eps = (x_t - alpha * super().predict_x_0(x_t, log_snr)) / sigma
        return (x_t - sigma * (eps + self.std * torch.randn_like(eps))) / alpha


def perturbed(checkpoint: Checkpoint, std: float = PerturbedDenoiser.std) -> DiffusionCodec:
    """A decoder whose network is a little off."""
    denoiser = PerturbedDenoiser(checkpoint.config)
    denoiser.std = std
    denoiser.load_state_dict(checkpoint.denoiser().state_dict())
    return DiffusionCodec(checkpoint, denoiser=denoiser.eval().requires_grad_(False))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
