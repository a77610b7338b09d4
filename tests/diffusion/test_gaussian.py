"""The diffusion process and its bound, against independent arithmetic and against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffcodec.config import ScheduleConfig, VarianceKind
from diffcodec.diffusion.denoiser import NoisePredictor, alpha_sigma
from diffcodec.diffusion.gaussian import GaussianDiffusion, GaussianParameters, discretised_log_likelihood
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, posterior

SHORT = NoiseSchedule(ScheduleConfig(4, 0.1, 0.4))
VARIANCES: tuple[VarianceKind, ...] = ("fixedsmall", "fixedlarge")


def linear_predictor(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """A poor predictor whose error depends on everything."""
    return 0.6 * x_t + 0.1 * torch.tanh(log_snr)[:, None, None, None].to(x_t.dtype)


def oracle(x_0: Tensor) -> NoisePredictor:
    """The predictor that knows the image."""

    def predict(x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr.to(x_t.dtype))
        return (x_t - alpha * x_0) / sigma

    return predict


def pictures(count: int = 4, side: int = 6, seed: int = 0) -> Tensor:
    """Random 8-bit images as float64 in [-1, 1]; the extreme values are among them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (count, 3, side, side), generator=generator)
    values[:, 0, 0, 0], values[:, 0, 0, 1] = 0, 255
    return values.double() / 127.5 - 1


def test_q_sample_has_the_mean_and_variance_of_equation_4() -> None:
    torch.manual_seed(1)
    diffusion = GaussianDiffusion(NoiseSchedule(ScheduleConfig()), linear_predictor)
    x_0 = torch.full((4, 3, 200, 200), 0.5)
    for t in (1, 100, 1000):
        alphas_cumprod = float(diffusion.schedule.alphas_cumprod[t])
        x_t = diffusion.q_sample(x_0, t)
        error = math.sqrt((1 - alphas_cumprod) / x_t.numel())
        assert x_t.mean().item() == pytest.approx(0.5 * math.sqrt(alphas_cumprod), abs=5 * error)
        assert x_t.var().item() == pytest.approx(1 - alphas_cumprod, rel=0.02)
        assert stats.kstest(((x_t - x_t.mean()) / x_t.std()).flatten()[:20_000].numpy(), "norm").pvalue > 1e-4


def test_q_sample_takes_given_noise_and_is_the_image_at_zero() -> None:
    diffusion = GaussianDiffusion(SHORT, linear_predictor)
    x_0, noise = pictures(), torch.ones(4, 3, 6, 6).double()
    expected = math.sqrt(0.9 * 0.8) * x_0 + math.sqrt(1 - 0.9 * 0.8)
    assert torch.allclose(diffusion.q_sample(x_0, 2, noise), expected, atol=1e-12)
    assert torch.equal(diffusion.q_sample(x_0, 0), x_0)


def brute_force_posterior(betas: np.ndarray, x_0: Tensor, x_t: Tensor, t: int, s: int) -> tuple[Tensor, float]:
    """q(x_s | x_t, x_0) from the joint covariance of the whole chain."""
    scales = np.sqrt(1 - betas)  # of step 1, 2, ...
    count = len(betas)
    loading = np.zeros((count, count))  # x_j = ... x_0 + sum_i loading[j, i] noise_i
    for j in range(count):
        for i in range(j + 1):
            loading[j, i] = np.sqrt(betas[i]) * np.prod(scales[i + 1 : j + 1])
    covariance = loading @ loading.T
    mean = np.cumprod(scales)
    gain = covariance[s - 1, t - 1] / covariance[t - 1, t - 1]
    variance = covariance[s - 1, s - 1] - gain * covariance[s - 1, t - 1]
    return mean[s - 1] * x_0 + gain * (x_t - mean[t - 1] * x_0), math.sqrt(variance)


def q_posterior(x_0: Tensor, x_t: Tensor, t: int, s: int) -> GaussianParameters:
    """q(x_s | x_t, x_0)."""
    step = posterior(SHORT.level(t), SHORT.level(s))
    return GaussianParameters(step.of_x_0 * x_0 + step.of_x_t * x_t, step.std)


def p_posterior(diffusion: GaussianDiffusion, x_t: Tensor, t: int, s: int) -> GaussianParameters:
    """p(x_s | x_t)."""
    level = SHORT.level(t)
    return diffusion.p_between(diffusion.estimate(x_t, level), x_t, level, SHORT.level(s))


def variational_rate(t: NoiseLevel, s: NoiseLevel, squared_error: float) -> float:
    """KL(q || p) in bits with equal variances: VDM (Kingma et al. 2021), eq. 13."""
    return 0.5 * (s.snr - t.snr) * squared_error / math.log(2)


@pytest.mark.parametrize(("t", "s"), [(2, 1), (3, 2), (4, 3), (4, 1), (3, 1)])
def test_q_posterior_is_bayes_rule_on_the_whole_chain(t: int, s: int) -> None:
    x_0 = pictures()
    x_t = GaussianDiffusion(SHORT, linear_predictor).q_sample(x_0, t)
    mean, std = brute_force_posterior(SHORT.betas[1:], x_0, x_t, t, s)
    found = q_posterior(x_0, x_t, t, s)
    assert torch.allclose(found.mean, mean, atol=1e-12)
    assert found.std == pytest.approx(std, rel=1e-12)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("t", "s"), [(4, 3), (3, 1), (2, 1), (1, 0)])
def test_with_an_oracle_p_is_q(t: int, s: int, clip: bool) -> None:
    x_0 = pictures()
    diffusion = GaussianDiffusion(SHORT, oracle(x_0), clip_denoised=clip)
    x_t = diffusion.q_sample(x_0, t)
    p, q = p_posterior(diffusion, x_t, t, s), q_posterior(x_0, x_t, t, s)
    assert torch.allclose(p.mean, q.mean, atol=1e-6)
    assert p.std == q.std


def test_with_an_oracle_every_term_but_the_last_is_zero() -> None:
    x_0 = pictures()
    terms = list(GaussianDiffusion(SHORT, oracle(x_0)).bound(x_0))
    assert [term.timestep for term in terms] == [5, 4, 3, 2, 1]
    for term in terms[1:-1]:
        assert torch.all(term.bpd.abs() < 1e-9)
    assert torch.all(terms[-1].bpd > 0.01)
    for term in terms[1:]:
        assert torch.all(term.mse < 1e-10)


def test_fixedlarge_costs_what_the_wider_variance_costs() -> None:
    x_0 = pictures()
    for term in list(GaussianDiffusion(SHORT, oracle(x_0), variance="fixedlarge").bound(x_0))[1:-1]:
        t = term.timestep
        before, after = SHORT.alphas_cumprod[t - 1], SHORT.alphas_cumprod[t]
        ratio = (1 - before) / (1 - after)  # beta_tilde / beta
        assert torch.allclose(term.bpd, torch.tensor(0.5 * (ratio - 1 - math.log(ratio)) / math.log(2)).double())


@pytest.mark.parametrize("t", [1, 2, 3, 4])
def test_fixedlarge_has_the_same_mean_and_the_variance_beta(t: int) -> None:
    x_t = pictures()
    small = p_posterior(GaussianDiffusion(SHORT, linear_predictor), x_t, t, t - 1)
    large = p_posterior(GaussianDiffusion(SHORT, linear_predictor, variance="fixedlarge"), x_t, t, t - 1)
    assert torch.equal(small.mean, large.mean)
    assert large.std**2 == pytest.approx(SHORT.betas[t], rel=1e-12)
    assert small.std < large.std


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("t", [2, 3, 4])
def test_bound_terms_are_the_divergences_of_equation_5(t: int, variance: VarianceKind) -> None:
    """q from the covariance of the chain, p from the eps form of its mean (eq. 11), KL by torch.distributions."""
    x_0 = pictures()
    diffusion = GaussianDiffusion(SHORT, linear_predictor, variance=variance, clip_denoised=False)
    x_t = diffusion.q_sample(x_0, t)
    beta, after = SHORT.betas[t], SHORT.alphas_cumprod[t]
    q_mean, q_std = brute_force_posterior(SHORT.betas[1:], x_0, x_t, t, t - 1)
    eps = linear_predictor(x_t, torch.full((len(x_t),), SHORT.level(t).log_snr))
    p_mean = (x_t - beta / math.sqrt(1 - after) * eps) / math.sqrt(1 - beta)
    p_std = q_std if variance == "fixedsmall" else math.sqrt(beta)
    expected = kl_divergence(Normal(q_mean, q_std), Normal(p_mean, p_std)).mean(dim=(1, 2, 3)) / math.log(2)
    found = diffusion.bound_term(x_0, x_t, t)
    assert torch.allclose(found.bpd, expected, rtol=1e-9)
    estimate = (x_t - math.sqrt(1 - after) * eps) / math.sqrt(after)
    assert torch.allclose(found.mse, ((x_0 - estimate) ** 2).mean(dim=(1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_last_term_is_the_discretised_decoder(variance: VarianceKind) -> None:
    x_0 = pictures()
    diffusion = GaussianDiffusion(SHORT, linear_predictor, variance=variance)
    x_1 = diffusion.q_sample(x_0, 1)
    a1, a2, b1, b2 = SHORT.alphas_cumprod[1], SHORT.alphas_cumprod[2], SHORT.betas[1], SHORT.betas[2]
    std = math.sqrt(b1 if variance == "fixedlarge" else (1 - a1) / (1 - a2) * b2)
    eps = linear_predictor(x_1, torch.full((len(x_1),), SHORT.level(1).log_snr))
    mean = ((x_1 - math.sqrt(1 - a1) * eps) / math.sqrt(a1)).clamp(-1, 1).numpy()
    image = x_0.numpy()
    upper = np.where(image > 0.999, 1, stats.norm.cdf(image + 1 / 255, mean, std))
    lower = np.where(image < -0.999, 0, stats.norm.cdf(image - 1 / 255, mean, std))
    expected = -np.log2(upper - lower).mean(axis=(1, 2, 3))
    assert np.allclose(diffusion.bound_term(x_0, x_1, 1).bpd.numpy(), expected, rtol=1e-6)


def test_the_prior_term_is_its_closed_form() -> None:
    x_0 = pictures()
    for schedule in (SHORT, NoiseSchedule(ScheduleConfig())):
        alphas_cumprod = float(schedule.alphas_cumprod[-1])
        q = Normal(math.sqrt(alphas_cumprod) * x_0, math.sqrt(1 - alphas_cumprod))
        expected = kl_divergence(q, Normal(0.0, 1.0)).mean(dim=(1, 2, 3)) / math.log(2)
        found = GaussianDiffusion(schedule, linear_predictor).prior_term(x_0)
        assert torch.allclose(found.bpd, expected, rtol=1e-6)
        assert found.timestep == schedule.steps + 1
        assert torch.isnan(found.mse).all()


@pytest.mark.parametrize("std", [0.004, 0.05, 1.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.37, 0.0, 0.6, 1.0])
def test_the_discretised_likelihood_is_a_distribution_over_256_values(mean: float, std: float) -> None:
    values = torch.arange(256).double() / 127.5 - 1
    found = discretised_log_likelihood(values, torch.full((256,), mean, dtype=torch.float64), std).exp()
    assert found.sum().item() == pytest.approx(1, abs=1e-9)  # up to the floor of 1e-12
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 127.5 - 1, [np.inf]])
    expected = np.diff(stats.norm.cdf(edges, mean, std))
    assert np.allclose(found.numpy(), np.maximum(expected, 1e-12), rtol=1e-6, atol=1e-11)


def test_impossible_pixels_have_a_finite_cost() -> None:
    found = discretised_log_likelihood(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([-1.0, 1.0, 1.0]), 1e-3)
    assert torch.allclose(found, torch.full((3,), math.log(1e-12)), rtol=1e-5)


@pytest.mark.parametrize("t", [2, 3, 4])
def test_the_rate_of_a_step_is_its_divergence(t: int) -> None:
    """VDM's form of the same term; also what a jump over several timesteps costs."""
    x_0 = pictures(count=1)
    diffusion = GaussianDiffusion(SHORT, linear_predictor)
    x_t = diffusion.q_sample(x_0, t)
    term = diffusion.bound_term(x_0, x_t, t)
    squared_error = float(((x_0 - diffusion.predict_x_0(x_t, t)) ** 2).sum())
    rate = variational_rate(SHORT.level(t), SHORT.level(t - 1), squared_error)
    assert rate == pytest.approx(term.bpd.item() * x_0.numel(), rel=1e-9)
    if t > 2:
        q, p = q_posterior(x_0, x_t, t, 1), p_posterior(diffusion, x_t, t, 1)
        jump = kl_divergence(Normal(q.mean, q.std), Normal(p.mean, p.std)).sum() / math.log(2)
        assert variational_rate(SHORT.level(t), SHORT.level(1), squared_error) == pytest.approx(jump.item(), rel=1e-9)
    from_noise = variational_rate(NoiseLevel(-math.inf), SHORT.level(t), 2.0)
    assert from_noise == pytest.approx(SHORT.level(t).snr / math.log(2))


def test_on_gaussian_data_the_bound_is_its_closed_form() -> None:
    """Pixels N(0, 1/16) with the optimal predictor: every term, and with them the sum, is known exactly."""
    torch.manual_seed(2)
    variance = (32 / 127.5) ** 2
    schedule = NoiseSchedule(ScheduleConfig(300, 1e-3, 0.05))
    x_0 = (32 * torch.randn(8, 3, 32, 32) + 127.5).round().clamp(0, 255) / 127.5 - 1

    def optimal(x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr)
        return sigma * x_t / (alpha**2 * variance + sigma**2)

    terms = list(GaussianDiffusion(schedule, optimal, clip_denoised=False).bound(x_0))
    found = sum(term.bpd.mean().item() for term in terms)

    snr = np.exp(schedule.log_snr[1:])  # of timesteps 1...T
    mmse = variance / (1 + snr * variance)
    steps = 0.5 * (snr[:-1] - snr[1:]) * mmse[1:]
    a1, a2, b2 = schedule.alphas_cumprod[1], schedule.alphas_cumprod[2], schedule.betas[2]
    decoder = (1 - a1) / (1 - a2) * b2
    last = 0.5 * math.log(2 * math.pi * decoder) + mmse[0] / (2 * decoder) - math.log(1 / 127.5)
    prior = 0.5 * (schedule.alphas_cumprod[-1] * (variance - 1) - math.log(1 - schedule.alphas_cumprod[-1]))
    assert found == pytest.approx((steps.sum() + last + prior) / math.log(2), rel=0.01)

    entropy = (0.5 * math.log(2 * math.pi * math.e * variance) - math.log(1 / 127.5)) / math.log(2)
    assert entropy < found < 1.1 * entropy
    measured = torch.tensor([term.mse.mean() for term in terms[1:]]).flip(0).numpy()
    assert np.allclose(measured, mmse, rtol=0.05)


def test_estimates_are_clipped_only_if_asked_to() -> None:
    def loud(x_t: Tensor, log_snr: Tensor) -> Tensor:
        return -10 * torch.ones_like(x_t)

    x_t = pictures()
    assert GaussianDiffusion(SHORT, loud).predict_x_0(x_t, 3).max().item() == 1
    assert GaussianDiffusion(SHORT, loud, clip_denoised=False).predict_x_0(x_t, 3).max().item() > 5


@pytest.mark.parametrize("t", [1, 2, 3, 4])
def test_one_evaluation_is_enough_for_the_terms_of_both_variances(t: int) -> None:
    calls = []

    def counted(x_t: Tensor, log_snr: Tensor) -> Tensor:
        calls.append(len(x_t))
        return linear_predictor(x_t, log_snr)

    x_0 = pictures()
    x_t = GaussianDiffusion(SHORT, linear_predictor).q_sample(x_0, t)
    diffusions = [GaussianDiffusion(SHORT, counted, variance=variance) for variance in VARIANCES]
    estimate = diffusions[0].estimate(x_t, SHORT.level(t))
    given = [diffusion.bound_term_given(estimate, x_0, x_t, t) for diffusion in diffusions]
    assert calls == [4]
    for diffusion, found in zip(diffusions, given, strict=True):
        expected = diffusion.bound_term(x_0, x_t, t)
        assert found.timestep == expected.timestep
        assert torch.equal(found.bpd, expected.bpd)
        assert torch.equal(found.mse, expected.mse)
    assert calls == [4, 4, 4]


def test_estimates_are_made_between_timesteps_too() -> None:
    x_0 = pictures()
    level = NoiseLevel(0.5 * (SHORT.level(2).log_snr + SHORT.level(3).log_snr))
    diffusion = GaussianDiffusion(SHORT, oracle(x_0))
    assert torch.allclose(diffusion.predict_x_0_at(level.alpha * x_0 + level.sigma * 0.7, level), x_0, atol=1e-6)
    assert torch.equal(diffusion.predict_x_0_at(x_0, SHORT.level(2)), diffusion.predict_x_0(x_0, 2))


def test_timesteps_out_of_range_are_value_errors() -> None:
    diffusion = GaussianDiffusion(SHORT, linear_predictor)
    with pytest.raises(ValueError, match="expected"):
        diffusion.q_sample(pictures(), 5)
