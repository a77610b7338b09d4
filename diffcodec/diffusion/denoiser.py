"""Turns the network's raw output into estimates of the clean image and of the noise."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diffcodec.config import ExternalNetworkConfig, ModelConfig, NetworkConfig, PlainUNetConfig
from diffcodec.diffusion.experts import Experts, edges_of
from diffcodec.diffusion.external import ExternalNetwork
from diffcodec.diffusion.plain_unet import PlainUNet
from diffcodec.diffusion.pyramid import HALVING_GAIN, estimate_at_half_size
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, posterior
from diffcodec.diffusion.unet import UNet
from diffcodec.errors import CheckpointError


class NoisePredictor(Protocol):
    """A model of the noise, as the diffusion process needs it."""

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The noise in x_t.

        Args:
            x_t: (B, C, H, W).
            log_snr: (B,), log SNR of every image, in nats.

        Returns:
            eps, (B, C, H, W).
        """


@dataclass(frozen=True)
class Estimate:
    """A model's estimates for noisy images.

    Args:
        x_0: the clean images, (B, C, H, W).
        variance_mix: of a model with learned variances, (B, C, H, W): the log variance of p(x_s | x_t), interpolated
            between beta_tilde (0) and beta (1). Nichol & Dhariwal (2021), eq. 15; as there, it is not clipped.
    """

    x_0: Tensor
    variance_mix: Tensor | None = None


@runtime_checkable
class Estimator(Protocol):
    """A model that estimates more than the noise in x_t."""

    def estimate(self, x_t: Tensor, log_snr: Tensor) -> Estimate:
        """The clean images, not clipped, and the variance mix if variances are learned.

        Args:
            x_t: (B, C, H, W).
            log_snr: (B,), in nats, finite.
        """


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of every image, (B, 1, 1, 1) each, from log SNRs (B,)."""
    log_snr = log_snr[:, None, None, None]
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def make_network(config: NetworkConfig, out_channels: int) -> nn.Module:
    """The untrained network of a configuration, with `out_channels` channels of raw output.

    Raises:
        CheckpointError: if it is made elsewhere.
    """
    if isinstance(config, ExternalNetworkConfig):
        raise CheckpointError("the model's network is not in its file: pass it to DiffusionCodec.from_noise_predictor")
    if isinstance(config, PlainUNetConfig):
        return Experts(config, out_channels) if config.expert_edges else PlainUNet(config, out_channels)
    return UNet(config, out_channels)


class Denoiser(nn.Module):
    """A network with its parametrisation: one network evaluation gives x_0 and eps.

    Args:
        config: the model.
        network: the network, if it is made elsewhere.

    Raises:
        CheckpointError: if it is, but is not given.
    """

    def __init__(self, config: ModelConfig, network: ExternalNetwork | None = None) -> None:
        super().__init__()
        self.config = config
        self.schedule = NoiseSchedule(config.schedule)
        self.window_margin: int | None = None
        """Pixels around a window that its estimate needs, if that is known to be less than the receptive radius."""
        learned = config.variance == "learned"
        out_channels = config.network.image_channels * (2 if learned else 1)
        self.network = make_network(config.network, out_channels) if network is None else network

    def weights(self) -> dict[str, Tensor]:
        """The tensors that its output depends on, by name."""
        if isinstance(self.network, ExternalNetwork):
            return self.network.weights()
        return self.state_dict(keep_vars=True)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The noise in x_t: (B, C, H, W) and (B,) -> (B, C, H, W)."""
        if self.config.prediction == "eps" and self.config.half_resolution_below is None:
            # Directly, as the conversion to x_0 and back would lose precision.
            return self._raw(x_t, log_snr)[:, : x_t.shape[1]].to(x_t.dtype)
        x_0 = self.predict_x_0(x_t, log_snr)
        alpha, sigma = alpha_sigma(log_snr)
        return (x_t - alpha * x_0) / sigma

    def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """The network's estimate of the clean image, not clipped.

        Args:
            x_t: (B, C, H, W), height and width multiples of `config.network.stride`.
            log_snr: (B,), in nats, finite. If it is on the CPU, nothing waits for another device.

        Returns:
            (B, C, H, W), float32.
        """
        return self.estimate(x_t, log_snr).x_0

    def estimate(self, x_t: Tensor, log_snr: Tensor) -> Estimate:
        """x_0 as in `predict_x_0`, and the variance mix if variances are learned, from one evaluation.

        Runs at lower resolution where the model is configured so.
        """
        if self.config.half_resolution_below is None:
            return self.evaluate(x_t, log_snr)
        halved = [self.is_halved(x_t.shape, value) for value in log_snr.tolist()]
        if any(halved) and not all(halved):
            x_0 = torch.empty_like(x_t, dtype=torch.float32)
            for which in (True, False):
                part = [index for index, value in enumerate(halved) if value is which]
                x_0[part] = self.estimate(x_t[part], log_snr[part]).x_0
            return Estimate(x_0)
        if not any(halved):
            return self.evaluate(x_t, log_snr)
        return Estimate(estimate_at_half_size(self.predict_x_0, x_t, log_snr, self.config.network.stride))

    def is_halved(self, shape: Sequence[int], log_snr: float) -> bool:
        """Whether pictures (B, C, H, W) at a log SNR are estimated at half their resolution."""
        below = self.config.half_resolution_below
        return below is not None and log_snr < below and min(shape[2:]) >= 2 * self.config.network.stride

    def same_network_until(self, shape: Sequence[int], log_snr: float) -> float:
        """The log SNR up to which pictures (B, C, H, W) are estimated by the network of a level, at its resolution."""
        sides, shift, until = list(shape[2:]), 0.0, math.inf
        while self.is_halved((1, 1, *sides), log_snr + shift):
            assert self.config.half_resolution_below is not None
            sides, until = [-(-side // 2) for side in sides], self.config.half_resolution_below - shift
            shift += HALVING_GAIN
        edges = edges_of(self.config.network)
        place = bisect_right(edges, log_snr + shift)
        return min(until, edges[place] - shift if place < len(edges) else math.inf)

    def evaluate(self, x_t: Tensor, log_snr: Tensor) -> Estimate:
        """`estimate` at full resolution, as trained."""
        scale, from_x_t, from_raw = (each.to(x_t.device) for each in self.coefficients(log_snr))
        raw = self._raw(scale * x_t, log_snr)
        mix = None
        if self.config.variance == "learned":
            raw, mix = raw.chunk(2, dim=1)
            mix = (mix + 1) / 2  # an untrained network, whose output is zero, starts in the middle
        return Estimate(from_x_t * x_t + from_raw * raw, mix)

    def coefficients(self, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale of the network's input, and coefficients of x_0 from its raw output, at log SNRs (B,).

        Returns:
            `scale`, `from_x_t` and `from_raw`, (B, 1, 1, 1) each: the network's input is scale * x_t, and the estimate
            of x_0 is from_x_t * x_t + from_raw * raw.
        """
        alpha, sigma = alpha_sigma(log_snr)
        one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
        match self.config.prediction:
            case "x0":
                return one, zero, one
            case "eps":
                return one, 1 / alpha, -sigma / alpha
            case "v":
                # v of the process whose data have unit variance; the input then has unit variance at every level.
                data_std = self.config.data_std
                total_std = ((alpha * data_std) ** 2 + sigma**2).sqrt()
                return 1 / total_std, alpha * (data_std / total_std) ** 2, -sigma * data_std / total_std
            case "mean":
                steps = [posterior(NoiseLevel(value), self.schedule.before(value)) for value in log_snr.tolist()]
                values = [(-step.of_x_t / step.of_x_0, 1 / step.of_x_0) for step in steps]
                from_x_t, from_raw = torch.tensor(values).to(alpha)[:, :, None, None, None].unbind(dim=1)
                return one, from_x_t, from_raw

    def estimate_x_0(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        """`predict_x_0` of images at one level, clipped to [-1, 1]."""
        x_0 = self.predict_x_0(x_t, torch.full((len(x_t),), level.log_snr, device=x_t.device))
        return x_0 if self.config.latent is not None else x_0.clamp(-1, 1)

    def _raw(self, x: Tensor, log_snr: Tensor) -> Tensor:
        condition = log_snr.clamp(self.config.network_log_snr_min, self.config.log_snr_max)
        if self.config.network.conditioning == "timestep":
            # The paper's network receives t - 1; only here are timesteps 0-based.
            steps = [self.schedule.timestep_nearby(value) - 1 for value in log_snr.tolist()]
            condition = torch.tensor(steps, dtype=torch.float32)
        levels = (log_snr.tolist(),) if isinstance(self.network, Experts) else ()
        raw: Tensor = self.network(x, condition.to(x.device), *levels).float()
        return raw
