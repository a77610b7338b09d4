"""Interpolation between two pictures (Ho et al. 2020, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.samplers import Sampler
from diffcodec.diffusion.sampling import ReverseProcess, common_noise, finish, level_of, on_device, size_of
from diffcodec.errors import ConfigError


def interpolate(
    denoiser: Denoiser,
    sampler: Sampler,
    first: Tensor,
    second: Tensor,
    timestep: int,
    weights: Sequence[float],
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Interpolate between two pictures: Ho et al. (2020), section 4.2 and figure 8.

    Both are diffused to x_t with the same noise, mixed, and denoised with the same noise at every step. Because the
    noise is shared, the mixture has the right amount: alpha ((1 - w) x_0 + w x_0') + sigma eps. Independent noises
    would partly cancel.

    Args:
        denoiser, sampler: the model, and how to sample from it.
        first, second: (C, H, W), uint8.
        timestep: t, 1 to T: the larger, the less both pictures are preserved.
        weights: of the second picture in every mixture; 0 and 1 restore the pictures themselves from x_t.
        seed, progress: as for `sample_images`.

    Returns:
        (weights, C, H, W), uint8.

    Raises:
        ConfigError: if an option is invalid.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    if first.shape != second.shape:
        raise ConfigError(f"expected two pictures of the same size, found {size_of(first)} and {size_of(second)}")
    start = level_of(denoiser, timestep)
    weight = torch.tensor(weights, device=process.device)[:, None, None, None]
    x_0 = (1 - weight) * on_device(process, first) + weight * on_device(process, second)
    noise = common_noise(seed, len(weight), first.shape, process.device)
    x_t = start.alpha * x_0 + start.sigma * noise()
    levels = sampler.levels(denoiser.schedule, start)
    return finish(process, sampler, x_t, levels, noise, 1, progress)[-1]
