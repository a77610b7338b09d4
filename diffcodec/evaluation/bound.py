"""The paper's measurement: the variational bound term by term, and ideal rate against distortion, without coding.

Ho et al. (2020), section 4.3: at every timestep an independent x_t ~ q(x_t | x_0), not the trajectory that a codec
follows. No file is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diffcodec.config import GREY_LEVELS_PER_UNIT, VarianceKind
from diffcodec.diffusion.denoiser import Denoiser, Estimate, Estimator, NoisePredictor
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.bound_measurement import BoundMeasurement, FloatArray

FINE_RATIO = 1.1
"""If the SNR grows by more than this factor between two timesteps, levels are inserted between them."""


def evaluation_levels(schedule: NoiseSchedule, ratio: float = FINE_RATIO) -> list[tuple[NoiseLevel, int | None]]:
    """Levels at which the network is evaluated, from noise to image: the timesteps T...1, and levels between (None).

    Levels in between are evenly spaced in log SNR, so that no gap is wider than `ratio`. The error of a Gaussian
    source falls as 1 / (c + SNR), for which the trapezoid rule over such a gap is at most 0.15 % too high, and never
    too low, because the curve is convex. The paper's schedule has 1,034 levels.

    Raises:
        ConfigError: if the ratio is not above 1.
    """
    if not ratio > 1:
        raise ConfigError(f"ratio of SNRs: expected more than 1, found {ratio}")
    levels: list[tuple[NoiseLevel, int | None]] = [(schedule.level(schedule.steps), schedule.steps)]
    for t in range(schedule.steps - 1, 0, -1):
        start, end = float(schedule.log_snr[t + 1]), float(schedule.log_snr[t])
        gaps = math.ceil((end - start) / math.log(ratio))
        levels += [(NoiseLevel(float(value)), None) for value in np.linspace(start, end, gaps + 1)[1:-1]]
        levels.append((schedule.level(t), t))
    return levels


@torch.no_grad()
def measure_bound(
    predictor: NoisePredictor,
    schedule: NoiseSchedule,
    images: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 50,
    clip_denoised: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> BoundMeasurement:
    """The bound of every image with an independent x_t ~ q(x_t | x_0) at every timestep (section 4.3).

    One evaluation per image and level of `evaluation_levels` is used for all variances, the fine limit and the
    distortion. The noise does not depend on the batch size or the device.

    Args:
        predictor: the model, such as a `Denoiser`, or any such function; a module is evaluated on its own device.
        schedule: timesteps and their noise levels.
        images: (N, 3, H, W), uint8, of a size that the model supports.
        seed: of the noise.
        batch_size: images at a time; a few images are evaluated at several levels at a time.
        clip_denoised: clip the x_0 estimate to [-1, 1], as the paper does.
        progress: called with the number of levels done, of `len(evaluation_levels(schedule))`.

    Raises:
        ImageError: if there are no images, or they have another type or shape.
        ConfigError: if the batch size is not positive.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ImageError(
            f"expected uint8 images (N, 3, H, W), found {images.dtype} {tuple(images.shape)}: pass 8-bit pixels"
        )
    if batch_size < 1:
        raise ConfigError(f"batch size: expected at least 1, found {batch_size}")
    parameter = next(predictor.parameters(), None) if isinstance(predictor, nn.Module) else None
    device = torch.device("cpu") if parameter is None else parameter.device
    processes = processes_of(schedule, predictor, clip_denoised=clip_denoised)
    generator = torch.Generator().manual_seed(seed)
    # The network works in float32; everything after it in float64, on the CPU.
    x_0 = images.cpu().double() / GREY_LEVELS_PER_UNIT - 1
    shape = (schedule.steps + 1, len(images))
    rate_fine, mse, rounded = (np.zeros(shape) for _ in range(3))
    terms = {kind: np.zeros(shape) for kind in processes}
    for of_kind in terms.values():
        of_kind[-1] = processes["fixedsmall"].prior_term(x_0).bpd.numpy()

    area = np.zeros(len(images))
    snr_before = 0.0
    error_before: FloatArray | None = None
    levels = evaluation_levels(schedule)
    only_levels = [level for level, _ in levels]
    estimates = estimates_at(processes["fixedsmall"], only_levels, x_0, generator, batch_size, device)
    for done, ((level, t), (x_t, estimate)) in enumerate(zip(levels, estimates, strict=True), start=1):
        error = ((x_0 - estimate.x_0) ** 2).mean(dim=(1, 2, 3)).numpy()
        if error_before is None:
            error_before = error  # from SNR 0 to the noisiest timestep, where x_t has almost no information
        area += 0.5 * (error_before + error) * (level.snr - snr_before)
        snr_before, error_before = level.snr, error
        if t is not None:
            for kind, process in processes.items():
                terms[kind][t - 1] = process.bound_term_given(estimate, x_0, x_t.double(), t).bpd.numpy()
            rate_fine[t] = 0.5 * area / math.log(2)
            mse[t] = error
            grey = ((estimate.x_0 + 1) * GREY_LEVELS_PER_UNIT).round().clamp(0, 255)
            rounded[t] = ((grey - images.cpu()) ** 2).mean(dim=(1, 2, 3)).numpy()
        progress(done)
    rate_fine[0] = rate_fine[1] + terms["fixedsmall"][0]
    return BoundMeasurement(
        schedule,
        images[0].numel(),
        seed,
        clip_denoised,
        terms["fixedsmall"],
        terms["fixedlarge"],
        rate_fine,
        mse,
        rounded,
        terms.get("learned"),
    )


def processes_of(
    schedule: NoiseSchedule, predictor: NoisePredictor, *, clip_denoised: bool
) -> dict[VarianceKind, GaussianDiffusion]:
    """The process with each variance: the two fixed ones, and the learned one if the model has it."""
    kinds: list[VarianceKind] = ["fixedsmall", "fixedlarge"]
    if isinstance(predictor, Denoiser) and predictor.config.variance == "learned":
        kinds.append("learned")
    return {kind: GaussianDiffusion(schedule, predictor, clip_denoised=clip_denoised, variance=kind) for kind in kinds}


def estimates_at(
    diffusion: GaussianDiffusion,
    levels: Sequence[NoiseLevel],
    x_0: Tensor,
    generator: torch.Generator,
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Estimate]]:
    """x_t ~ q(x_t | x_0) (float32) and the model's estimate (float64) at every level, for all images.

    Args:
        diffusion: the model, and whether its estimates are clipped.
        levels: to evaluate.
        x_0: (N, 3, H, W), float64 in [-1, 1].
        generator: of the noise, level by level.
        batch_size: rows at a time, of one level or of several.
        device: of the model; results are on the CPU.
    """
    at_once = max(1, batch_size // len(x_0))
    for start in range(0, len(levels), at_once):
        block = levels[start : start + at_once]
        x_t = torch.cat(
            [level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=generator) for level in block]
        ).float()
        # alpha, sigma and log SNR of every row, computed in float64.
        rows = [(level.alpha, level.sigma, level.log_snr) for level in block for _ in x_0]
        coefficients = torch.tensor(rows, dtype=torch.float64).float()
        batches = zip(torch.split(x_t, batch_size), torch.split(coefficients, batch_size), strict=True)
        parts = [_estimate(diffusion.predictor, part.to(device), values.to(device)) for part, values in batches]
        estimates = torch.cat(parts, dim=1)
        if diffusion.clip_denoised:
            estimates[0].clamp_(-1, 1)
        for x, found in zip(torch.split(x_t, len(x_0)), torch.split(estimates, len(x_0), dim=1), strict=True):
            yield x, Estimate(*found)


def _estimate(predictor: NoisePredictor, x_t: Tensor, coefficients: Tensor) -> Tensor:
    """x_0 and, for learned variances, the variance mix; (1 or 2, B, 3, H, W), float64 on the CPU."""
    alpha, sigma, log_snr = coefficients.unbind(dim=1)
    if isinstance(predictor, Estimator):
        estimate = predictor.estimate(x_t, log_snr)
        parts = [estimate.x_0] if estimate.variance_mix is None else [estimate.x_0, estimate.variance_mix]
    else:
        parts = [(x_t - sigma[:, None, None, None] * predictor(x_t, log_snr)) / alpha[:, None, None, None]]
    return torch.stack(parts).cpu().double()
