"""Pictures from a model: samples, samples that share their noisy state, and interpolations.

Every picture has its own stream of random numbers, drawn on the CPU: a sample depends on its number and the seed, but
not on the batch or the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from diffcodec.config import VarianceKind
from diffcodec.devices import device_of
from diffcodec.diffusion.denoiser import Denoiser, Estimate
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.samplers import Noise, Sampler, SamplerKind
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_pixels, to_unit
from diffcodec.diffusion.windows import check_numbers, estimate
from diffcodec.errors import ConfigError


def clip(x_0: Tensor) -> Tensor:
    """Images clipped to [-1, 1], as the paper does with every estimate."""
    return x_0.clamp(-1, 1)


class ReverseProcess(GaussianDiffusion):
    """The process of a trained network, for pictures of any size.

    Args:
        denoiser: the network.
        variance: of p(x_s | x_t); None: the model's.
        restrict: projects estimates of x_0, (B, C, H, W), onto valid pictures.
        evaluated: is called during every evaluation with the share of it that has been done since the last call.

    Raises:
        ConfigError: for learned variances of a model without them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        variance: VarianceKind | None = None,
        restrict: Callable[[Tensor], Tensor] = clip,
        evaluated: Callable[[float], None] = lambda share: None,
    ) -> None:
        variance = variance or denoiser.config.variance
        if variance == "learned" and denoiser.config.variance != "learned":
            raise ConfigError("variance: this model has no learned variances: use fixedsmall or fixedlarge")
        super().__init__(denoiser.schedule, denoiser, variance=variance)
        self.denoiser = denoiser
        self.restrict, self.evaluated = restrict, evaluated

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return device_of(self.denoiser)

    def estimate(self, x_t: Tensor, level: NoiseLevel) -> Estimate:
        """The network's estimate, of large pictures in windows and of large batches in parts."""
        found = estimate(self.denoiser, x_t, level.log_snr, self.evaluated)
        return Estimate(self.restrict(found.x_0), found.variance_mix)


def own_noise(seed: int, numbers: Sequence[int], shape: Sequence[int], device: torch.device) -> Noise:
    """Noise for a batch in which every picture has its own stream.

    Args:
        seed: of all streams.
        numbers: of the pictures' streams, at least -1.
        shape: (C, H, W) of a picture.
        device: of the returned noise, which is drawn on the CPU.

    Raises:
        ConfigError: for a negative seed.
    """
    if seed < 0:
        raise ConfigError(f"seed: expected at least 0, found {seed}")
    # torch uses 32 bits of a seed: consecutive seeds give the pictures distinct streams.
    first = int(np.random.SeedSequence(seed).generate_state(1)[0])
    generators = [torch.Generator().manual_seed((first + number) % 2**32) for number in numbers]

    def draw() -> Tensor:
        return torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(device)

    return draw


def common_noise(seed: int, count: int, shape: Sequence[int], device: torch.device) -> Noise:
    """The same noise for all pictures of a batch: stream 0 of `own_noise`."""
    draw = own_noise(seed, [0], shape, device)
    return lambda: draw().repeat(count, 1, 1, 1)


def checked_pixels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] as uint8 pixels.

    Raises:
        CheckpointError: if the network returned NaN.
    """
    check_numbers(x)
    return to_pixels(x)


def sample_images(
    denoiser: Denoiser,
    count: int,
    *,
    size: int,
    steps: int | None = None,
    sampler: SamplerKind = "ancestral",
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Samples of a model with the most common options; `sample_progressively` has all of them.

    Args:
        denoiser: the model.
        count: number of samples.
        size: height and width, a multiple of the network's stride.
        steps: noise levels; by default all T for ancestral sampling, and 100 for the others.
        sampler: `ancestral`, `flow` or `langevin`.
        seed: sample i is the same for every `count` and `batch_size`.
        batch_size: samples at a time.
        progress: called after every level with the number of samples that have passed it.

    Returns:
        (count, C, size, size), uint8.

    Raises:
        ConfigError: if an option is invalid.
    """
    chosen = Sampler(sampler, steps=steps)
    return sample_progressively(
        denoiser, chosen, count, size=(size, size), frames=1, seed=seed, batch_size=batch_size, progress=progress
    )[-1]


def sample_progressively(
    denoiser: Denoiser,
    sampler: Sampler,
    count: int,
    *,
    size: tuple[int, int],
    frames: int,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Samples and the intermediate x_0 estimates: Ho et al. (2020), figure 6.

    Args:
        denoiser, sampler: the model, and how to sample from it.
        count: number of samples.
        size: height and width, multiples of the network's stride.
        frames: number of estimates, evenly spread over the levels; the last one is the sample.
        seed, batch_size, progress: as for `sample_images`.

    Returns:
        (frames, count, C, H, W), uint8.

    Raises:
        ConfigError: if an option is invalid.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    check_size(denoiser, *size)
    shape = (denoiser.config.network.image_channels, *size)
    levels = sampler.levels(denoiser.schedule)
    parts = []
    for first in range(0, count, batch_size):
        noise = own_noise(seed, range(first, min(first + batch_size, count)), shape, process.device)
        parts.append(finish(process, sampler, noise(), levels, noise, frames, progress))
    return torch.cat(parts, dim=1) if parts else torch.empty((frames, 0, *shape), dtype=torch.uint8)


def sample_shared(
    denoiser: Denoiser,
    sampler: Sampler,
    image: Tensor,
    timestep: int,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Tensor]:
    """Samples that share one x_t ~ q(x_t | x_0): Ho et al. (2020), figure 7.

    Args:
        denoiser, sampler: the model, and how to sample from it.
        image: x_0, (C, H, W), uint8.
        timestep: t, 1 to T.
        count: number of samples.
        seed, batch_size, progress: as for `sample_images`.

    Returns:
        x_t, clipped to pixels, (C, H, W), and the samples, (count, C, H, W); uint8.

    Raises:
        ConfigError: if an option is invalid.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    start = level_of(denoiser, timestep)
    x_0 = on_device(process, image)
    x_t = start.alpha * x_0 + start.sigma * own_noise(seed, [-1], image.shape, process.device)()
    levels = sampler.levels(denoiser.schedule, start)
    parts = []
    for first in range(0, count, batch_size):
        numbers = range(first, min(first + batch_size, count))
        noise = own_noise(seed, numbers, image.shape, process.device)
        shared = x_t.repeat(len(numbers), 1, 1, 1)
        parts.append(finish(process, sampler, shared, levels, noise, 1, progress)[-1])
    return checked_pixels(x_t)[0], torch.cat(parts)


def check_size(denoiser: Denoiser, height: int, width: int) -> None:
    """Check that the network supports pictures of a size.

    Raises:
        ConfigError: if it does not.
    """
    stride = denoiser.config.network.stride
    if height < 1 or width < 1 or height % stride or width % stride:
        raise ConfigError(f"size: expected multiples of the network's {stride} pixels, found {width} x {height}")


def level_of(denoiser: Denoiser, timestep: int) -> NoiseLevel:
    """The noise level of a timestep, 1 to T.

    Raises:
        ConfigError: if the model has no such timestep.
    """
    steps = denoiser.schedule.steps
    if not 1 <= timestep <= steps:
        raise ConfigError(f"timestep: expected 1 to the model's {steps}, found {timestep}")
    return denoiser.schedule.level(timestep)


@torch.no_grad()
def finish(
    process: ReverseProcess,
    sampler: Sampler,
    x_t: Tensor,
    levels: Sequence[NoiseLevel],
    noise: Noise,
    frames: int,
    progress: Callable[[int], None],
) -> Tensor:
    """Follow the trajectory to the image; returns intermediate x_0 estimates, (frames, B, C, H, W), uint8."""
    wanted = np.linspace(len(levels) - 1, 0, frames, endpoint=False).round().astype(int)[::-1].tolist()
    kept = []
    for place, state in enumerate(sampler.states(process, x_t, levels, noise)):
        kept += [checked_pixels(state.x_0)] * wanted.count(place)
        progress(len(x_t))
    return torch.stack(kept)


def on_device(process: ReverseProcess, image: Tensor) -> Tensor:
    """uint8 (C, H, W) as x_0 (1, C, H, W); raises a ConfigError if the network does not support the shape."""
    if image.shape[0] != (channels := process.denoiser.config.network.image_channels):
        raise ConfigError(f"expected a picture with the network's {channels} channels, found {image.shape[0]}")
    check_size(process.denoiser, *image.shape[1:])
    return to_unit(image)[None].to(process.device)


def size_of(image: Tensor) -> str:
    """Size of an image (C, H, W), for messages."""
    return f"{image.shape[2]} x {image.shape[1]}"
