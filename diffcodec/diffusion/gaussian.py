"""The Gaussian diffusion process and its variational bound, term by term (Ho et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from diffcodec.config import VarianceKind
from diffcodec.diffusion.denoiser import Estimate, Estimator, NoisePredictor
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, forward_std, posterior
from diffcodec.errors import ConfigError

Std = TypeVar("Std", float, Tensor)


@dataclass(frozen=True)
class GaussianParameters:
    """A normal distribution: mean of shape (B, C, H, W), and a std that broadcasts to it."""

    mean: Tensor
    std: float | Tensor


@dataclass(frozen=True)
class BoundTerm:
    """One term of the variational bound, for every image of a batch.

    Args:
        timestep: t; the term is L_T for t = T + 1, L_{t-1} for 2 <= t <= T, and L_0 for t = 1.
        bpd: (B,), bits per subpixel.
        mse: (B,), mean squared error of the x_0 estimate at this t ([-1, 1] units); NaN for L_T.
    """

    timestep: int
    bpd: Tensor
    mse: Tensor


class GaussianDiffusion:
    """Forward process, reverse process and the bound, for any predictor of the noise.

    Args:
        schedule: the noise schedule.
        predictor: (x_t, log_snr) -> eps.
        variance: of p(x_s | x_t): `fixedsmall` is that of q, beta_tilde for single steps; `fixedlarge` is beta;
            `learned` is interpolated between them by the predictor, which must be an `Estimator`.
        clip_denoised: clip the x_0 estimate to [-1, 1], as the paper does.

    Raises:
        ConfigError: for learned variances if the predictor is not an `Estimator`.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        predictor: NoisePredictor,
        *,
        variance: VarianceKind = "fixedsmall",
        clip_denoised: bool = True,
    ) -> None:
        if variance == "learned" and not isinstance(predictor, Estimator):
            raise ConfigError("learned variances need a model that estimates them")
        self.schedule = schedule
        self.predictor = predictor
        self.variance = variance
        self.clip_denoised = clip_denoised

    def q_sample(self, x_0: Tensor, t: int, noise: Tensor | None = None) -> Tensor:
        """A sample of q(x_t | x_0) = N(alpha_t x_0, sigma_t^2); eq. 4.

        Args:
            x_0: (B, C, H, W) in [-1, 1].
            t: timestep, 0 <= t <= T.
            noise: standard normal, shape of x_0; drawn if not given.

        Returns:
            x_t, (B, C, H, W).

        Raises:
            ValueError: if not 0 <= t <= T.
        """
        level = self.schedule.level(t)
        noise = torch.randn_like(x_0) if noise is None else noise
        return level.alpha * x_0 + level.sigma * noise

    def p_between(self, estimate: Estimate, x_t: Tensor, t: NoiseLevel, s: NoiseLevel) -> GaussianParameters:
        """p(x_s | x_t) for any level s cleaner than t: q's mean with the model's estimate of x_0.

        `fixedlarge` is the std of q(x_t | x_s), and `learned` is interpolated between the stds of this step (as for
        fewer steps in Nichol & Dhariwal 2021, section 4).

        Args:
            estimate: of the model, at x_t.
            x_t: (B, C, H, W).
            t, s: noise levels; s may be the image, where the stds of q and of `learned` are 0.
        """
        coefficients = posterior(t, s)
        mean = coefficients.of_x_0 * estimate.x_0 + coefficients.of_x_t * x_t
        if coefficients.std == 0 and self.variance != "fixedlarge":
            return GaussianParameters(mean, 0.0)
        return GaussianParameters(mean, self._std(estimate, coefficients.std, forward_std(t, s)))

    def _std(self, estimate: Estimate, small: Std, large: Std) -> Std | Tensor:
        """Std of p, given those of `fixedsmall` and `fixedlarge`, neither of them 0."""
        if self.variance == "learned":
            assert estimate.variance_mix is not None
            return large * (small / large) ** (1 - estimate.variance_mix)
        return large if self.variance == "fixedlarge" else small

    def predict_x_0(self, x_t: Tensor, t: int) -> Tensor:
        """The model's estimate of the clean image at timestep t >= 1; eq. 15. (B, C, H, W)."""
        return self.predict_x_0_at(x_t, self.schedule.level(t))

    def predict_x_0_at(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        """`predict_x_0` at any noise level of finite log SNR, also between the timesteps. (B, C, H, W)."""
        return self.estimate(x_t, level).x_0

    def estimate(self, x_t: Tensor, level: NoiseLevel) -> Estimate:
        """The model's estimate at a noise level, with the variance mix if variances are learned."""
        log_snr = torch.full((len(x_t),), level.log_snr, device=x_t.device)
        if isinstance(self.predictor, Estimator):
            estimate = self.predictor.estimate(x_t, log_snr)
        else:
            estimate = Estimate((x_t - level.sigma * self.predictor(x_t, log_snr)) / level.alpha)
        return replace(estimate, x_0=estimate.x_0.clamp(-1, 1)) if self.clip_denoised else estimate

    def prior_term(self, x_0: Tensor) -> BoundTerm:
        """L_T = KL(q(x_T | x_0) || N(0, I)), in bits per subpixel."""
        level = self.schedule.level(self.schedule.steps)
        variance = level.sigma**2
        nats = 0.5 * ((level.alpha * x_0) ** 2 + variance - 1 - math.log(variance)).mean(dim=(1, 2, 3))
        return BoundTerm(self.schedule.steps + 1, nats / math.log(2), torch.full_like(nats, math.nan))

    def bound_term(self, x_0: Tensor, x_t: Tensor, t: int) -> BoundTerm:
        """L_{t-1} for t >= 2, and the discretised decoder's L_0 for t = 1, at given samples x_t.

        Args:
            x_0: (B, C, H, W), 256 levels in [-1, 1].
            x_t: a sample of q(x_t | x_0), same shape.
            t: 1 <= t <= T.
        """
        return self.bound_term_given(self.estimate(x_t, self.schedule.level(t)), x_0, x_t, t)

    def bound_term_given(self, estimate: Estimate, x_0: Tensor, x_t: Tensor, t: int) -> BoundTerm:
        """`bound_term` from a given estimate, so that several variances share one evaluation.

        Args:
            estimate: at x_t.
            x_0, x_t, t: as for `bound_term`.
        """
        nats = self.bound_nats(estimate, x_0, x_t, [t] * len(x_0))
        return BoundTerm(t, nats / math.log(2), ((x_0 - estimate.x_0) ** 2).mean(dim=(1, 2, 3)))

    def bound_nats(self, estimate: Estimate, x_0: Tensor, x_t: Tensor, timesteps: Sequence[int]) -> Tensor:
        """`bound_term_given` for images at different timesteps, as in training.

        Args:
            estimate: at x_t.
            x_0, x_t: as for `bound_term`.
            timesteps: t of every image, 1 <= t <= T.

        Returns:
            (B,), nats per subpixel.
        """
        steps = {t: self._step(t) for t in set(timesteps)}
        rows = torch.tensor([steps[t] for t in timesteps], dtype=torch.float64).to(x_0)
        of_x_0, of_x_t, small, large = rows[:, :, None, None, None].unbind(dim=1)
        q = GaussianParameters(of_x_0 * x_0 + of_x_t * x_t, small)
        mean, std = of_x_0 * estimate.x_0 + of_x_t * x_t, self._std(estimate, small, large)
        nats = gaussian_divergence(q, GaussianParameters(mean, std))
        if last := [image for image, t in enumerate(timesteps) if t == 1]:
            nats[last] = -discretised_log_likelihood(x_0[last], mean[last], std[last])
        return nats.mean(dim=(1, 2, 3))

    def _step(self, t: int) -> tuple[float, float, float, float]:
        """Factors of x_0 and x_t in the mean of q(x_{t-1} | x_t, x_0), and the stds of `fixedsmall` and `fixedlarge`.

        For t = 1 they are those of p(x_0 | x_1) before discretisation (eq. 13), whose mean is the x_0 estimate itself.
        q's variance is 0 there, so `fixedsmall` uses beta_tilde of step 2. The paper's code does so for both fixed
        kinds; here `fixedlarge` is beta_1.
        """
        level = self.schedule.level
        step = posterior(level(t), level(t - 1))
        large = forward_std(level(t), level(t - 1))
        small = step.std or (posterior(level(2), level(1)).std if self.schedule.steps > 1 else large)
        return step.of_x_0, step.of_x_t, small, large

    @torch.no_grad()
    def bound(self, x_0: Tensor) -> Iterator[BoundTerm]:
        """All terms of the bound from L_T to L_0, each with an independent x_t ~ q(x_t | x_0).

        Their sum bounds the codelength of the image in bits per subpixel (eq. 5).
        """
        yield self.prior_term(x_0)
        for t in range(self.schedule.steps, 0, -1):
            yield self.bound_term(x_0, self.q_sample(x_0, t), t)


def gaussian_divergence(q: GaussianParameters, p: GaussianParameters) -> Tensor:
    """KL(q || p) of every coordinate, in nats, (B, C, H, W)."""
    p_std = torch.as_tensor(p.std, dtype=p.mean.dtype, device=p.mean.device)
    ratio = (q.std / p_std) ** 2
    return 0.5 * (((q.mean - p.mean) / p_std) ** 2 + ratio - 1 - ratio.log())


def discretised_log_likelihood(x_0: Tensor, mean: Tensor, std: float | Tensor) -> Tensor:
    """log of the probability of 8-bit pixels under a Gaussian cut into 256 bins; eq. 13.

    The outermost bins reach to infinity.

    Args:
        x_0: pixels v / 127.5 - 1 with integers v, any shape.
        mean: same shape, same units.
        std: same units, a scalar or of the same shape.

    Returns:
        Nats, same shape.
    """
    centred = (x_0 - mean).double()
    upper = torch.special.ndtr((centred + 1 / 255) / std)
    lower = torch.special.ndtr((centred - 1 / 255) / std)
    upper = torch.where(x_0 > 0.999, torch.ones_like(upper), upper)
    lower = torch.where(x_0 < -0.999, torch.zeros_like(lower), lower)
    return (upper - lower).clamp(min=1e-12).log().to(x_0.dtype)
