"""The bound of one pixel and four timesteps, from nothing but the densities of the forward and the reverse process.

All integrals are sums over a grid: the forward process by its single steps, the bound by eq. 3 of Ho et al. (2020),
which knows no posterior, and the codelength that it bounds by running the reverse process through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from diffcodec.config import ModelConfig, PredictionKind, ScheduleConfig, UNetConfig, VarianceKind
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.gaussian import GaussianDiffusion

FloatArray = NDArray[np.float64]

BETAS = np.array([0.1, 0.2, 0.3, 0.4])
STEPS = len(BETAS)
GRID = np.linspace(-7, 7, 501)
CELL = GRID[1] - GRID[0]
DATA_STD = 0.5


def estimate_of_x_0(x: FloatArray, t: int) -> FloatArray:
    """What the model takes for the image; wrong in a way that depends on everything."""
    return 0.8 * np.tanh(1.5 * x - 0.2 * t) + 0.05 * x


def variance_mix(x: FloatArray, t: int) -> FloatArray:
    """Where the model puts its variance between the fixed ones, and at times beyond them."""
    return 0.5 + 0.7 * np.sin(2 * x + t)


@cache
def forward_step(t: int) -> FloatArray:
    """q(x_t | x_{t-1}), [x_{t-1}, x_t]."""
    return np.asarray(stats.norm.pdf(GRID, math.sqrt(1 - BETAS[t - 1]) * GRID[:, None], math.sqrt(BETAS[t - 1])))


@dataclass(frozen=True)
class BruteForce:
    """Densities on the grid.

    Args:
        grey: the pixel, 0 to 255.
        variance: of the reverse process.
    """

    grey: int
    variance: VarianceKind

    @property
    def x_0(self) -> float:
        return self.grey / 127.5 - 1

    @cached_property
    def marginals(self) -> list[FloatArray]:
        """q(x_t | x_0) for t = 1...T."""
        found = [stats.norm.pdf(GRID, math.sqrt(1 - BETAS[0]) * self.x_0, math.sqrt(BETAS[0]))]
        for t in range(2, STEPS + 1):
            found.append(found[-1] @ forward_step(t) * CELL)
        return found

    def posterior_variance(self, t: int) -> float:
        """Of q(x_{t-1} | x_t, x_0), by Bayes' rule at x_t = 0; the same at every other."""
        joint = self.marginals[t - 2] * forward_step(t)[:, len(GRID) // 2]
        weights = joint / joint.sum()
        return float(weights @ GRID**2 - (weights @ GRID) ** 2)

    def reverse_variance(self, t: int) -> FloatArray:
        """Of p(x_{t-1} | x_t) at every x_t of the grid."""
        # q knows x_0 at t = 1: the decoder borrows the small variance of the step before.
        small, large = self.posterior_variance(max(t, 2)), BETAS[t - 1]
        mix = {"fixedsmall": 0 * GRID, "fixedlarge": 0 * GRID + 1, "learned": variance_mix(GRID, t)}[self.variance]
        return np.asarray(np.exp(mix * math.log(large) + (1 - mix) * math.log(small)))

    def reverse_step(self, t: int) -> FloatArray:
        """p(x_{t-1} | x_t) for t >= 2, [x_{t-1}, x_t]; the mean as in eq. 11."""
        alphas_cumprod = np.prod(1 - BETAS[:t])
        eps = (GRID - math.sqrt(alphas_cumprod) * estimate_of_x_0(GRID, t)) / math.sqrt(1 - alphas_cumprod)
        mean = (GRID - BETAS[t - 1] / math.sqrt(1 - alphas_cumprod) * eps) / math.sqrt(1 - BETAS[t - 1])
        return np.asarray(stats.norm.pdf(GRID[:, None], mean, np.sqrt(self.reverse_variance(t))))

    def decoder(self) -> FloatArray:
        """P(x_0 | x_1) at every x_1 of the grid: the density summed over the pixel's bin; eq. 13."""
        low = -8.0 if self.grey == 0 else self.x_0 - 1 / 255
        high = 8.0 if self.grey == 255 else self.x_0 + 1 / 255
        count = 4000 if self.grey in (0, 255) else 20
        middles = low + (np.arange(count) + 0.5) * (high - low) / count
        density = stats.norm.pdf(middles[:, None], estimate_of_x_0(GRID, 1), np.sqrt(self.reverse_variance(1)))
        return np.asarray(density.sum(axis=0) * (high - low) / count)

    def bound_nats(self) -> float:
        """Eq. 3: E_q[-log p(x_T) - sum log p(x_{t-1} | x_t) / q(x_t | x_{t-1})]."""
        log_first = stats.norm.logpdf(GRID, math.sqrt(1 - BETAS[0]) * self.x_0, math.sqrt(BETAS[0]))
        total = self.marginals[-1] @ -stats.norm.logpdf(GRID) * CELL
        total += self.marginals[0] @ (log_first - np.log(np.maximum(self.decoder(), 1e-300))) * CELL
        for t in range(2, STEPS + 1):
            q, p = forward_step(t), self.reverse_step(t)
            joint = self.marginals[t - 2][:, None] * q
            ratio = np.log(np.maximum(q, 1e-300)) - np.log(np.maximum(p, 1e-300))
            total += (joint * ratio).sum() * CELL**2
        return float(total)

    def codelength_nats(self) -> float:
        """-log p(x_0), by running p from x_T to x_0."""
        density = stats.norm.pdf(GRID)
        for t in range(STEPS, 1, -1):
            density = self.reverse_step(t) @ density * CELL
        return -math.log(self.decoder() @ density * CELL)


class RawOutput(nn.Module):
    """The network whose raw output, in the terms of the paper, gives `estimate_of_x_0` and `variance_mix`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        schedule = Denoiser(self.config).schedule
        t = round(schedule.timestep(float(condition[0])))
        after, before, beta = np.prod(1 - BETAS[:t]), np.prod(1 - BETAS[: t - 1]), BETAS[t - 1]
        x_t = x.numpy()
        unit = DATA_STD**2 * after / (DATA_STD**2 * after + 1 - after)  # alphas_cumprod of data of unit variance
        if self.config.prediction == "v":
            x_t = x_t * math.sqrt(DATA_STD**2 * after + 1 - after)
        x_0 = estimate_of_x_0(x_t, t)
        eps = (x_t - math.sqrt(after) * x_0) / math.sqrt(1 - after)
        mean = math.sqrt(before) * beta / (1 - after) * x_0 + math.sqrt(1 - beta) * (1 - before) / (1 - after) * x_t
        v = math.sqrt(unit) * eps - math.sqrt(1 - unit) * x_0 / DATA_STD
        raw = [{"eps": eps, "mean": mean, "x0": x_0, "v": v}[self.config.prediction]]
        if self.config.variance == "learned":
            raw.append(2 * variance_mix(x_t, t) - 1)  # Nichol & Dhariwal's code: -1 to 1
        return torch.from_numpy(np.concatenate(raw, axis=1))


def found_terms(prediction: PredictionKind, variance: VarianceKind, truth: BruteForce) -> list[float]:
    """E_q of L_T, L_{T-1}, ..., L_0 in nats: terms of the package at every x_t of the grid, weighted by q."""
    network = UNetConfig(image_channels=1, channels=8, multipliers=(1,), blocks=1, embedding_channels=8)
    schedule = ScheduleConfig(STEPS, BETAS[0], BETAS[-1])
    config = ModelConfig(network, schedule, prediction, variance, data_std=DATA_STD)
    denoiser = Denoiser(config).requires_grad_(False)
    denoiser.network = RawOutput(config)
    diffusion = GaussianDiffusion(denoiser.schedule, denoiser, variance=variance, clip_denoised=False)
    x_0 = torch.full((len(GRID), 1, 1, 1), truth.x_0, dtype=torch.float64)
    x_t = torch.from_numpy(GRID)[:, None, None, None]
    terms = [float(diffusion.prior_term(x_0[:1]).bpd)]
    for t in range(STEPS, 0, -1):
        bpd = diffusion.bound_term(x_0, x_t, t).bpd.numpy()
        terms.append(float(truth.marginals[t - 1] @ bpd * CELL))
    return [term * math.log(2) for term in terms]


@pytest.mark.parametrize("grey", [0, 140, 255])
@pytest.mark.parametrize("variance", get_args(VarianceKind))
def test_terms_add_up_to_the_bound_of_equation_3(variance: VarianceKind, grey: int) -> None:
    truth = BruteForce(grey, variance)
    assert sum(found_terms("x0", variance, truth)) == pytest.approx(truth.bound_nats(), rel=1e-5)
    assert truth.bound_nats() > truth.codelength_nats() + 0.01


@pytest.mark.parametrize("variance", get_args(VarianceKind))
@pytest.mark.parametrize("prediction", ["eps", "mean", "v"])
def test_all_predictions_describe_the_same_model(prediction: PredictionKind, variance: VarianceKind) -> None:
    """Raw outputs that mean the same image give the same terms."""
    truth = BruteForce(77, variance)
    expected = found_terms("x0", variance, truth)
    assert np.allclose(found_terms(prediction, variance, truth), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variance", get_args(VarianceKind))
def test_the_model_is_a_distribution_over_the_256_values(variance: VarianceKind) -> None:
    """So that what is bounded is a codelength."""
    density = stats.norm.pdf(GRID)
    any_pixel = BruteForce(128, variance)
    for t in range(STEPS, 1, -1):
        density = any_pixel.reverse_step(t) @ density * CELL
    total = sum(BruteForce(grey, variance).decoder() @ density * CELL for grey in range(256))
    assert total == pytest.approx(1, abs=1e-4)
