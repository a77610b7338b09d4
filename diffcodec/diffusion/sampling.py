"""Pictures from a model: samples, samples that share their noisy state, and interpolations.

Every picture has a stream of random numbers of its own, drawn on the CPU: a sample depends on its number and the seed,
not on the batch in which it is made or on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from diffcodec.config import VarianceKind
from diffcodec.diffusion.denoiser import Denoiser, Estimate
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.samplers import Noise, Sampler, SamplerKind
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.windows import check_numbers, estimate
from diffcodec.errors import ConfigError


def clip(x_0: Tensor) -> Tensor:
    """Images moved to the range of pixels, as the paper does with every estimate."""
    return x_0.clamp(-1, 1)


class ReverseProcess(GaussianDiffusion):
    """The process of a trained network, for pictures of any size.

    Args:
        denoiser: the network.
        variance: of p(x_s | x_t); None: what the model was trained for.
        restrict: moves estimates of x_0, (B, C, H, W), to the pictures that are possible.

    Raises:
        ConfigError: for learned variances of a model that has not learned them.
    """

    def __init__(
        self, denoiser: Denoiser, *, variance: VarianceKind | None = None, restrict: Callable[[Tensor], Tensor] = clip
    ) -> None:
        variance = variance or denoiser.config.variance
        if variance == "learned" and denoiser.config.variance != "learned":
            raise ConfigError("this model has not learned its variances: take fixedsmall or fixedlarge")
        super().__init__(denoiser.schedule, denoiser, variance=variance)
        self.denoiser = denoiser
        self.restrict = restrict

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.denoiser.parameters()).device

    def estimate(self, x_t: Tensor, level: NoiseLevel) -> Estimate:
        """The network's estimate, large pictures in windows and large batches in parts."""
        found = estimate(self.denoiser, x_t, level.log_snr)
        return Estimate(self.restrict(found.x_0), found.variance_mix)


def own_noise(seed: int, numbers: Sequence[int], shape: Sequence[int], device: torch.device) -> Noise:
    """Noise for a batch in which every picture has a stream of its own.

    Args:
        seed: of all streams.
        numbers: of the pictures' streams, from -1 on.
        shape: (C, H, W) of a picture.
        device: where the noise goes; it is drawn on the CPU.

    Raises:
        ConfigError: for a negative seed.
    """
    if seed < 0:
        raise ConfigError(f"seed: expected at least 0, found {seed}")
    # torch takes 32 bits of a seed, so streams of one seed follow each other and never meet.
    first = int(np.random.SeedSequence(seed).generate_state(1)[0])
    generators = [torch.Generator().manual_seed((first + number) % 2**32) for number in numbers]

    def draw() -> Tensor:
        return torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(device)

    return draw


def common_noise(seed: int, count: int, shape: Sequence[int], device: torch.device) -> Noise:
    """The same noise for all pictures of a batch, that of the first stream; see `own_noise`."""
    draw = own_noise(seed, [0], shape, device)
    return lambda: draw().repeat(count, 1, 1, 1)


def to_pixels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1], clipped and rounded to uint8, on the CPU.

    Raises:
        CheckpointError: if they hold what are not numbers.
    """
    check_numbers(x)
    return ((x + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def sample_images(
    denoiser: Denoiser, count: int, *, size: int, steps: int | None = None, sampler: SamplerKind = "ancestral",
    seed: int = 0, batch_size: int = 16, progress: Callable[[int], None] = lambda done: None,
) -> Tensor:  # fmt: skip
    """Samples of a model, for those who want no more than that; see `sample_progressively` for every option.

    Args:
        denoiser: the model.
        count: number of samples.
        size: height and width, a multiple of the network's stride.
        steps: noise levels; by default all T for ancestral sampling, and 100 for the others.
        sampler: `ancestral`, `flow` or `langevin`.
        seed: sample i is the same for every `count` and `batch_size`.
        batch_size: samples at a time.
        progress: told after every level how many samples have passed it.

    Returns:
        (count, C, size, size), uint8.

    Raises:
        ConfigError: if an option makes no sense.
    """
    chosen = Sampler(sampler, steps=steps)
    return sample_progressively(
        denoiser, chosen, count, size=(size, size), frames=1, seed=seed, batch_size=batch_size, progress=progress
    )[-1]


def sample_progressively(
    denoiser: Denoiser, sampler: Sampler, count: int, *, size: tuple[int, int], frames: int, seed: int = 0,
    batch_size: int = 16, progress: Callable[[int], None] = lambda done: None,
) -> Tensor:  # fmt: skip
    """Samples and the x_0 estimates on the way to them: Ho et al. (2020), figure 6.

    Args:
        denoiser, sampler: the model, and how to sample from it.
        count: number of samples.
        size: height and width, multiples of the network's stride.
        frames: so many estimates, evenly spread over the levels; the last one is the sample.
        seed, batch_size, progress: as for `sample_images`.

    Returns:
        (frames, count, C, H, W), uint8.

    Raises:
        ConfigError: if an option makes no sense.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    check_size(denoiser, *size)
    shape = (denoiser.config.network.image_channels, *size)
    levels = sampler.levels(denoiser.schedule)
    parts = []
    for first in range(0, count, batch_size):
        noise = own_noise(seed, range(first, min(first + batch_size, count)), shape, process.device)
        parts.append(_finish(process, sampler, noise(), levels, noise, frames, progress))
    return torch.cat(parts, dim=1) if parts else torch.empty((frames, 0, *shape), dtype=torch.uint8)


def sample_shared(
    denoiser: Denoiser, sampler: Sampler, image: Tensor, timestep: int, count: int, *, seed: int = 0,
    batch_size: int = 16, progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
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
        ConfigError: if an option makes no sense.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    start = level_of(denoiser, timestep)
    x_0 = _on_device(process, image)
    x_t = start.alpha * x_0 + start.sigma * own_noise(seed, [-1], image.shape, process.device)()
    levels = sampler.levels(denoiser.schedule, start)
    parts = []
    for first in range(0, count, batch_size):
        numbers = range(first, min(first + batch_size, count))
        noise = own_noise(seed, numbers, image.shape, process.device)
        shared = x_t.repeat(len(numbers), 1, 1, 1)
        parts.append(_finish(process, sampler, shared, levels, noise, 1, progress)[-1])
    return to_pixels(x_t)[0], torch.cat(parts)


def interpolate(
    denoiser: Denoiser, sampler: Sampler, first: Tensor, second: Tensor, timestep: int, weights: Sequence[float],
    *, seed: int = 0, progress: Callable[[int], None] = lambda done: None,
) -> Tensor:  # fmt: skip
    """Pictures between two: Ho et al. (2020), section 4.2 and figure 8.

    Both are diffused to x_t with the same noise, mixed, and denoised with the same noise at every step. As the noise
    is the same the mixture has it in full: alpha ((1 - w) x_0 + w x_0') + sigma eps; of independent noises it would
    have too little for the network.

    Args:
        denoiser, sampler: the model, and how to sample from it.
        first, second: (C, H, W), uint8.
        timestep: t, 1 to T: the larger, the less is left of either.
        weights: of the second picture in every mixture; 0 and 1 give what is left of the pictures themselves.
        seed, progress: as for `sample_images`.

    Returns:
        (weights, C, H, W), uint8.

    Raises:
        ConfigError: if an option makes no sense.
    """
    process = ReverseProcess(denoiser, variance=sampler.variance)
    if first.shape != second.shape:
        raise ConfigError(f"expected two pictures of one size, found {_size(first)} and {_size(second)}")
    start = level_of(denoiser, timestep)
    weight = torch.tensor(weights, device=process.device)[:, None, None, None]
    x_0 = (1 - weight) * _on_device(process, first) + weight * _on_device(process, second)
    noise = common_noise(seed, len(weight), first.shape, process.device)
    x_t = start.alpha * x_0 + start.sigma * noise()
    levels = sampler.levels(denoiser.schedule, start)
    return _finish(process, sampler, x_t, levels, noise, 1, progress)[-1]


def check_size(denoiser: Denoiser, height: int, width: int) -> None:
    """Whether the network takes pictures of a size.

    Raises:
        ConfigError: if not.
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
def _finish(
    process: ReverseProcess, sampler: Sampler, x_t: Tensor, levels: Sequence[NoiseLevel], noise: Noise, frames: int,
    progress: Callable[[int], None],
) -> Tensor:  # fmt: skip
    """Walk to the image: x_0 estimates on the way, (frames, B, C, H, W), uint8."""
    wanted = np.linspace(len(levels) - 1, 0, frames, endpoint=False).round().astype(int)[::-1].tolist()
    kept = []
    for place, state in enumerate(sampler.walk(process, x_t, levels, noise)):
        kept += [to_pixels(state.x_0)] * wanted.count(place)
        progress(len(x_t))
    return torch.stack(kept)


def _on_device(process: ReverseProcess, image: Tensor) -> Tensor:
    """uint8 (C, H, W) as x_0 (1, C, H, W), of a shape that the network takes."""
    if image.shape[0] != (channels := process.denoiser.config.network.image_channels):
        raise ConfigError(f"expected a picture of the network's {channels} channels, found {image.shape[0]}")
    check_size(process.denoiser, *image.shape[1:])
    return (image.float() / 127.5 - 1)[None].to(process.device)


def _size(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"
