"""Which noise levels are trained on, and what each loss measures."""

import math
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffcodec.config import ModelConfig, PredictionKind, ScheduleConfig, UNetConfig, VarianceKind
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.errors import ConfigError
from diffcodec.training.config import LossKind, TimeKind, TrainingConfig
from diffcodec.training.log import Progress
from diffcodec.training.loop import Trainer
from diffcodec.training.losses import HYBRID_WEIGHT, bits_per_loss, check_objective, draw_log_snr, training_loss

PREDICTIONS: tuple[PredictionKind, ...] = get_args(PredictionKind)
VARIANCES: tuple[VarianceKind, ...] = get_args(VarianceKind)
TINY = UNetConfig(channels=8, multipliers=(1,), patch=2, blocks=1, embedding_channels=16)
SHORT = ScheduleConfig(4, 0.1, 0.4)
CONTINUOUS, SIMPLE = TrainingConfig(), TrainingConfig(loss="simple")
DISCRETE = TrainingConfig(time="discrete")


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(ModelConfig(network=TINY, prediction="v", log_snr_min=-7.0, log_snr_max=9.0))
    nn.init.normal_(model.network.get_parameter("out.weight"), 0, 0.1)
    return model.eval()


class Answer(nn.Module):
    """A network that gives one answer, which can be learnt."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.answer


def answering(config: ModelConfig, answer: Tensor) -> tuple[Denoiser, nn.Parameter]:
    """A model whose raw output is given, and that raw output."""
    denoiser, network = Denoiser(config), Answer(answer)
    denoiser.network = network
    return denoiser, network.answer


def pictures(count: int, seed: int = 0) -> Tensor:
    """Random 8-bit pixels in [-1, 1]."""
    values = torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return values / 127.5 - 1


# ------------------------------------------------------------------------------------------------ noise levels


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 1000))
def test_a_batch_is_spread_evenly_over_the_range(denoiser: Denoiser, count: int, seed: int) -> None:
    """One level in each of `count` equal parts of the range."""
    torch.manual_seed(seed)
    log_snr, weight = draw_log_snr(CONTINUOUS, count, denoiser)
    assert log_snr.shape == weight.shape == (count,)
    places = (log_snr + 7.0) / 16.0 * count
    assert torch.all(places >= torch.arange(count) - 1e-3)
    assert torch.all(places <= torch.arange(count) + 1 + 1e-3)
    assert torch.all(weight == 1)


def test_every_place_of_the_range_is_as_likely(denoiser: Denoiser) -> None:
    torch.manual_seed(1)
    drawn = torch.cat([draw_log_snr(CONTINUOUS, 1, denoiser)[0] for _ in range(4000)])
    counts = torch.histc(drawn, 8, -7.0, 9.0)
    assert counts.sum() == 4000
    assert torch.all((counts - 500).abs() < 5 * 500**0.5)


@pytest.mark.parametrize("time", get_args(TimeKind))
def test_coarse_levels_may_weigh_more(denoiser: Denoiser, time: TimeKind) -> None:
    config = TrainingConfig(time=time, coarse_weight=2.5, coarse_below=1.0)
    log_snr, weight = draw_log_snr(config, 64, denoiser)
    assert set(weight[log_snr < 1.0].tolist()) == {2.5}
    assert set(weight[log_snr >= 1.0].tolist()) == {1.0}
    assert torch.all(draw_log_snr(replace(config, loss="simple"), 64, denoiser)[1] == 1)


@pytest.mark.parametrize("config", [SIMPLE, DISCRETE], ids=["simple", "vlb"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_timestep_of_the_schedule_is_as_likely(config: TrainingConfig, count: int) -> None:
    denoiser = Denoiser(ModelConfig(network=TINY, schedule=SHORT))
    torch.manual_seed(2)
    drawn = torch.cat([draw_log_snr(config, count, denoiser)[0] for _ in range(4000)])
    levels = torch.from_numpy(denoiser.schedule.log_snr[1:]).float()
    counts = (drawn[:, None] == levels).sum(dim=0)
    assert counts.sum() == len(drawn)
    assert torch.all((counts - 1000 * count).abs() < 5 * (1000 * count) ** 0.5)


def test_a_batch_as_large_as_the_schedule_has_every_timestep_once(denoiser: Denoiser) -> None:
    torch.manual_seed(3)
    log_snr, _ = draw_log_snr(DISCRETE, 1000, denoiser)
    assert torch.equal(log_snr, torch.from_numpy(denoiser.schedule.log_snr[1:]).float())


# ----------------------------------------------------------------------------------------------- squared errors


def test_the_bound_in_continuous_time_is_the_error_of_eps(denoiser: Denoiser) -> None:
    torch.manual_seed(4)
    x_0, eps, log_snr = 0.5 * torch.randn(6, 3, 8, 8), torch.randn(6, 3, 8, 8), torch.linspace(-7, 9, 6)
    alpha, sigma = alpha_sigma(log_snr)
    with torch.no_grad():
        found = training_loss(denoiser, CONTINUOUS, x_0, log_snr, eps)
        expected = ((denoiser(alpha * x_0 + sigma * eps, log_snr) - eps) ** 2).mean(dim=(1, 2, 3))
    assert found.shape == (6,)
    assert torch.allclose(found, expected, rtol=1e-3)


def test_the_error_integrates_to_the_rate_on_gaussian_data() -> None:
    """Half the range in nats times the error is the information between its ends (Guo, Shamai, Verdu 2005)."""
    torch.manual_seed(5)
    variance, low, high = 0.25, -7.0, 5.0
    config = ModelConfig(network=TINY, prediction="v", data_std=0.5, log_snr_min=low, log_snr_max=high)
    linear = Denoiser(config).eval()  # a new network answers zero: the best estimate for such data
    log_snr, _ = draw_log_snr(CONTINUOUS, 256, linear)
    x_0, eps = 0.5 * torch.randn(256, 3, 16, 16), torch.randn(256, 3, 16, 16)
    with torch.no_grad():
        loss = training_loss(linear, CONTINUOUS, x_0, log_snr, eps).mean().item()
    ends = torch.tensor([low, high]).exp()
    expected = 0.5 * (1 + variance * ends).log2().diff().item()
    assert bits_per_loss(config, CONTINUOUS) * loss == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("variance", ["fixedsmall", "fixedlarge"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_simple_is_the_unweighted_error_of_what_is_predicted(
    prediction: PredictionKind, variance: VarianceKind
) -> None:
    """Eq. 14 for eps, eq. 8 without its factor for the mean; v is that of data scaled to unit variance."""
    torch.manual_seed(6)
    config = ModelConfig(network=TINY, schedule=SHORT, prediction=prediction, variance=variance, data_std=0.5)
    denoiser, raw = answering(config, torch.randn(4, 3, 4, 4))
    x_0, eps = pictures(4), torch.randn(4, 3, 4, 4)
    log_snr = torch.from_numpy(denoiser.schedule.log_snr[1:]).float()
    a = torch.from_numpy(denoiser.schedule.alphas_cumprod)[:, None, None, None]
    beta = torch.from_numpy(denoiser.schedule.betas)[1:, None, None, None]
    before, after = a[:-1], a[1:]
    x_t = after.sqrt() * x_0 + (1 - after).sqrt() * eps
    mean = before.sqrt() * beta / (1 - after) * x_0 + (1 - beta).sqrt() * (1 - before) / (1 - after) * x_t
    unit = 0.25 * after / (0.25 * after + 1 - after)  # alphas_cumprod of the scaled process
    v = unit.sqrt() * eps - (1 - unit).sqrt() * x_0 / 0.5
    target = {"eps": eps, "x0": x_0, "mean": mean, "v": v}[prediction]
    found = training_loss(denoiser, SIMPLE, x_0, log_snr, eps)
    assert torch.allclose(found, ((raw - target) ** 2).mean(dim=(1, 2, 3)).float(), rtol=1e-4)


# ----------------------------------------------------------------------------------------------------- bounds


def every_noise(denoiser: Denoiser, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """One picture at every timestep with several noises: x_0, log SNRs and noise."""
    log_snr = torch.from_numpy(denoiser.schedule.log_snr[1:]).float().repeat(draws)
    return pictures(1).expand(len(log_snr), -1, -1, -1), log_snr, torch.randn(len(log_snr), 3, 4, 4)


@pytest.mark.parametrize("variance", VARIANCES)
def test_each_image_of_a_batch_gets_the_term_of_its_own_timestep(variance: VarianceKind) -> None:
    torch.manual_seed(7)
    config = ModelConfig(network=TINY, schedule=SHORT, prediction="x0", variance=variance)
    raw = 0.3 * torch.randn(8, 6 if variance == "learned" else 3, 4, 4)
    denoiser, _ = answering(config, raw)
    x_0, log_snr, eps = every_noise(denoiser, draws=2)
    found = training_loss(denoiser, DISCRETE, x_0, log_snr, eps)
    alpha, sigma = alpha_sigma(log_snr)
    for place, t in enumerate([1, 2, 3, 4, 1, 2, 3, 4]):
        one, _ = answering(config, raw[place : place + 1])
        diffusion = GaussianDiffusion(one.schedule, one, variance=variance, clip_denoised=False)
        term = diffusion.bound_term(x_0[:1], (alpha * x_0 + sigma * eps)[place : place + 1], t)
        assert found[place].item() == pytest.approx(4 * term.bpd.item() * math.log(2), rel=1e-4)


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_discrete_bound_is_estimated_without_bias(variance: VarianceKind) -> None:
    """Random timesteps, as they are drawn in training, against the sum of all terms."""
    config = ModelConfig(network=TINY, schedule=SHORT, prediction="v", variance=variance)
    torch.manual_seed(8)
    denoiser = Denoiser(config).eval().requires_grad_(False)
    nn.init.normal_(denoiser.network.get_parameter("out.weight"), 0, 0.1)
    x_0, losses = pictures(1), []
    for _ in range(300):
        log_snr, weight = draw_log_snr(DISCRETE, 5, denoiser)
        loss = training_loss(denoiser, DISCRETE, x_0.expand(5, -1, -1, -1), log_snr, torch.randn(5, 3, 4, 4))
        losses.append((loss * weight).mean().item())
    drawn = bits_per_loss(config, DISCRETE) * torch.tensor(losses)
    diffusion = GaussianDiffusion(denoiser.schedule, denoiser, variance=variance, clip_denoised=False)
    many = x_0.expand(2000, -1, -1, -1)
    expected = sum(term.bpd.mean().item() for term in list(diffusion.bound(many))[1:])
    error = drawn.std().item() / 300**0.5
    assert error < 0.03 * expected
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * error)


def test_the_hybrid_teaches_the_mean_by_the_error_and_the_variance_by_the_bound() -> None:
    torch.manual_seed(9)
    config = ModelConfig(network=TINY, schedule=SHORT, variance="learned")
    denoiser, raw = answering(config, torch.randn(4, 6, 4, 4))
    plain, raw_of_plain = answering(replace(config, variance="fixedsmall"), raw.detach()[:, :3])
    x_0, log_snr, eps = every_noise(denoiser, draws=1)
    hybrid, error, bound = (
        training_loss(model, training, x_0, log_snr, eps).sum()
        for model, training in ((denoiser, SIMPLE), (plain, SIMPLE), (denoiser, DISCRETE))
    )
    assert hybrid.item() == pytest.approx(error.item() + HYBRID_WEIGHT * bound.item(), rel=1e-5)
    (by_hybrid,), (by_error,), (by_bound,) = (
        torch.autograd.grad(loss, parameter) for loss, parameter in ((hybrid, raw), (error, raw_of_plain), (bound, raw))
    )
    assert torch.equal(by_hybrid[:, :3], by_error)
    assert torch.allclose(by_hybrid[:, 3:], HYBRID_WEIGHT * by_bound[:, 3:], rtol=1e-5)
    assert torch.all(by_hybrid[:, 3:] != 0)
    assert torch.all(by_bound[:, :3].abs().sum(dim=(1, 2, 3)) > 0)  # the whole bound teaches both


@pytest.mark.parametrize("variance", ["fixedlarge", "learned"])
def test_the_bound_in_continuous_time_is_that_of_small_variances_alone(variance: VarianceKind) -> None:
    model = ModelConfig(network=TINY, variance=variance)
    with pytest.raises(ConfigError, match=f"found {variance}, which has a bound only in discrete time"):
        check_objective(model, CONTINUOUS)
    with pytest.raises(ConfigError, match="which has a bound only in discrete time"):
        Trainer(model, CONTINUOUS, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    check_objective(model, DISCRETE)
    check_objective(model, SIMPLE)


def test_a_loss_that_is_no_bound_is_no_rate() -> None:
    model = ModelConfig(network=TINY, log_snr_min=-7.0, log_snr_max=9.0)
    assert math.isnan(bits_per_loss(model, SIMPLE))
    assert bits_per_loss(model, DISCRETE) == pytest.approx(1 / math.log(2))
    assert bits_per_loss(model, CONTINUOUS) == pytest.approx(8 / math.log(2))


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("loss", "variance"), list(product(get_args(LossKind), VARIANCES)))
def test_every_combination_learns(prediction: PredictionKind, loss: LossKind, variance: VarianceKind) -> None:
    """On pictures of one colour the loss falls at once; every batch has all four timesteps."""
    colours = torch.randint(0, 2, (8, 3, 1, 1), generator=torch.Generator().manual_seed(0)) * 200 + 20
    model = ModelConfig(network=TINY, schedule=SHORT, prediction=prediction, variance=variance, data_std=0.5)
    training = TrainingConfig(
        loss=loss, time="discrete", batch_size=16, learning_rate=1e-2, warmup_images=0, final_learning_rate=1.0
    )
    trainer = Trainer(model, training, colours.to(torch.uint8).expand(8, 3, 4, 4).contiguous())
    lines: list[Progress] = []
    trainer.run(max_images=24 * training.batch_size, report=lines.append, report_every_s=0.0)
    losses = torch.tensor([line.loss for line in lines])
    assert torch.isfinite(losses).all()
    assert losses[-4:].mean() < 0.98 * losses[:4].mean()
