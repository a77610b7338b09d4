"""Training losses: all combinations of prediction, loss and variance; docs/objectives.md has their equations."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from diffcodec.config import ModelConfig
from diffcodec.diffusion.denoiser import Denoiser, Estimate, alpha_sigma
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.errors import ConfigError
from diffcodec.training.config import TrainingConfig

HYBRID_WEIGHT = 0.001
"""Weight of the bound in addition to `simple`, for learned variances (Nichol & Dhariwal 2021, eq. 16)."""


def check_objective(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse combinations without a loss.

    Raises:
        ConfigError: for the bound in continuous time with a variance other than q's.
    """
    if in_continuous_time(training) and model.variance != "fixedsmall":
        raise ConfigError(
            f"variance: loss vlb in continuous time needs fixedsmall, found {model.variance}, which has a bound only "
            "in discrete time",
            parameters=["time"],
        )
    if training.log_snr_range:
        if not in_continuous_time(training):
            raise ConfigError("log_snr_range: needs loss vlb in continuous time")
        low, high = training.log_snr_range
        if low < model.network_log_snr_min or high > model.log_snr_max:
            raise ConfigError(
                f"log_snr_range: expected log SNRs from {model.network_log_snr_min:g} to {model.log_snr_max:g}, as the "
                f"model has, found {low:g} to {high:g}"
            )


def in_continuous_time(training: TrainingConfig) -> bool:
    """Whether levels are drawn from the whole range of log SNRs rather than from the schedule's timesteps."""
    return training.loss == "vlb" and training.time == "continuous"


def trained_range(model: ModelConfig, training: TrainingConfig) -> tuple[float, float]:
    """The lowest and the highest log SNR, in nats, that a run in continuous time draws."""
    if training.log_snr_range:
        low, high = training.log_snr_range
        return low, high
    return model.network_log_snr_min, model.log_snr_max


def bits_per_loss(model: ModelConfig, training: TrainingConfig) -> float:
    """Rate in bits per subpixel of a loss of 1; NaN if the loss is not a rate.

    In continuous time that is the rate over the range of log SNRs, else L_0 + ... + L_{T-1}.
    """
    if training.loss == "simple":
        return math.nan
    if training.time != "continuous":
        return 1 / math.log(2)
    low, high = trained_range(model, training)
    return 0.5 * (high - low) / math.log(2)


def draw_log_snr(config: TrainingConfig, count: int, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    """Noise levels for a batch, and the weight of each in the loss.

    The batch is spread evenly over the log SNRs, or over the timesteps, with one shared random offset (the
    low-discrepancy sampler of VDM, Kingma et al. 2021), which lowers the variance of the loss.

    Returns:
        log SNR (count,) in nats, and factors (count,) of the loss.
    """
    places = (torch.arange(count) + torch.rand(())) / count
    if in_continuous_time(config):
        low, high = trained_range(denoiser.config, config)
        if config.coarse_share:
            edge, share = config.coarse_below, config.coarse_share
            fine = edge + (high - edge) * (places - share) / max(1 - share, 1e-9)
            log_snr = torch.where(places < share, low + (edge - low) * places / share, fine)
        else:
            log_snr = low + (high - low) * places
    else:
        steps = denoiser.schedule.steps
        timesteps = (places * steps).long().clamp(max=steps - 1) + 1  # the last value may be rounded to 1
        log_snr = torch.from_numpy(denoiser.schedule.log_snr)[timesteps].float()
    is_coarse = (log_snr < config.coarse_below) & (config.loss == "vlb")
    return log_snr, torch.where(is_coarse, config.coarse_weight, 1.0)


def training_loss(denoiser: Denoiser, config: TrainingConfig, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """The loss of every image, from one evaluation of the network.

    Args:
        denoiser: the model, with its prediction and its variance.
        config: selects the loss.
        x_0: (B, C, H, W) in [-1, 1].
        log_snr: (B,), as drawn by `draw_log_snr`.
        eps: the noise, standard normal, shape of x_0.

    Returns:
        (B,), means over subpixels: of a squared error; or nats of the bound, T times those of one timestep, whose
        expectation is L_0 + ... + L_{T-1}.
    """
    alpha, sigma = alpha_sigma(log_snr)
    x_t = alpha * x_0 + sigma * eps
    estimate = denoiser.evaluate(x_t, log_snr)
    if in_continuous_time(config):
        return eps_error(estimate, x_0, log_snr)
    if config.loss == "vlb":
        return bound_loss(denoiser, estimate, x_0, x_t, log_snr)
    loss = raw_error(denoiser, estimate, x_0, log_snr)
    if denoiser.config.variance == "learned":
        # Only the error trains the mean; the bound would dominate it (Nichol & Dhariwal 2021, section 3.1).
        only_variance = replace(estimate, x_0=estimate.x_0.detach())
        loss = loss + HYBRID_WEIGHT * bound_loss(denoiser, only_variance, x_0, x_t, log_snr)
    return loss


def eps_error(estimate: Estimate, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Squared error of eps, whatever the network predicts: SNR times that of x_0. (B,).

    With the log SNR uniform over a range of R nats, R / 2 times its mean is the rate in nats per subpixel (VDM,
    Kingma et al. 2021, eq. 13).
    """
    return ((x_0 - estimate.x_0) ** 2).mean(dim=(1, 2, 3)) * log_snr.exp()


def raw_error(denoiser: Denoiser, estimate: Estimate, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Squared error of the network's prediction, (B,): eps, the posterior's mean, x_0 or v."""
    # The estimate of x_0 is from_x_t * x_t + from_raw * raw, so its error is from_raw times that of raw.
    _, _, from_raw = denoiser.coefficients(log_snr)
    return (((x_0 - estimate.x_0) / from_raw) ** 2).mean(dim=(1, 2, 3))


def bound_loss(denoiser: Denoiser, estimate: Estimate, x_0: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """T L_{t-1} in nats per subpixel (Ho et al. 2020, eq. 5), whose mean over t is the bound without L_T. (B,)."""
    schedule, variance = denoiser.schedule, denoiser.config.variance
    timesteps = [round(schedule.timestep(value)) for value in log_snr.tolist()]
    diffusion = GaussianDiffusion(schedule, denoiser, variance=variance, clip_denoised=False)
    return schedule.steps * diffusion.bound_nats(estimate, x_0, x_t, timesteps)
