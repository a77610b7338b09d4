"""Which noise levels are trained on, and what the error means."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.config import ModelConfig, TrainingConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.training.losses import draw_log_snr, eps_error


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    network = UNetConfig(channels=8, multipliers=(1,), patch=2, blocks=1, embedding_channels=16)
    model = Denoiser(ModelConfig(network=network, prediction="v", log_snr_min=-7.0, log_snr_max=9.0))
    torch.nn.init.normal_(model.network.out.weight, 0, 0.1)
    return model.eval()


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 1000))
def test_a_batch_is_spread_evenly_over_the_range(denoiser: Denoiser, count: int, seed: int) -> None:
    """One level in each of `count` equal parts of the range."""
    torch.manual_seed(seed)
    log_snr, weight = draw_log_snr(TrainingConfig(), count, denoiser)
    assert log_snr.shape == weight.shape == (count,)
    places = (log_snr + 7.0) / 16.0 * count
    assert torch.all(places >= torch.arange(count) - 1e-3)
    assert torch.all(places <= torch.arange(count) + 1 + 1e-3)
    assert torch.all(weight == 1)


def test_every_place_of_the_range_is_as_likely(denoiser: Denoiser) -> None:
    torch.manual_seed(1)
    drawn = torch.cat([draw_log_snr(TrainingConfig(), 1, denoiser)[0] for _ in range(4000)])
    counts = torch.histc(drawn, 8, -7.0, 9.0)
    assert counts.sum() == 4000
    assert torch.all((counts - 500).abs() < 5 * 500**0.5)


def test_coarse_levels_may_weigh_more(denoiser: Denoiser) -> None:
    config = TrainingConfig(coarse_weight=2.5, coarse_below=1.0)
    log_snr, weight = draw_log_snr(config, 64, denoiser)
    assert set(weight[log_snr < 1.0].tolist()) == {2.5}
    assert set(weight[log_snr >= 1.0].tolist()) == {1.0}


def test_the_simple_loss_draws_the_schedule_s_timesteps(denoiser: Denoiser) -> None:
    torch.manual_seed(2)
    log_snr, weight = draw_log_snr(TrainingConfig(loss="simple"), 5000, denoiser)
    timesteps = [denoiser.schedule.timestep(value) for value in log_snr.tolist()]
    assert max(abs(t - round(t)) for t in timesteps) < 1e-2
    assert 1 <= min(timesteps) < 10
    assert 990 < max(timesteps) <= 1000
    assert sum(timesteps) / 5000 == pytest.approx(500.5, abs=5 * 289 / 5000**0.5)
    assert torch.all(weight == 1)


def test_the_error_is_that_of_eps(denoiser: Denoiser) -> None:
    x_0, log_snr = 0.5 * torch.randn(6, 3, 8, 8), torch.linspace(-7, 9, 6)
    torch.manual_seed(3)
    found = eps_error(denoiser, x_0, log_snr)
    torch.manual_seed(3)
    eps = torch.randn_like(x_0)
    alpha, sigma = alpha_sigma(log_snr)
    with torch.no_grad():
        expected = ((denoiser(alpha * x_0 + sigma * eps, log_snr) - eps) ** 2).mean(dim=(1, 2, 3))
    assert found.shape == (6,)
    assert torch.allclose(found, expected, rtol=1e-3)


def test_the_error_integrates_to_the_rate_on_gaussian_data() -> None:
    """Half the range in nats times the error is the information between its ends (Guo, Shamai, Verdu 2005)."""
    torch.manual_seed(4)
    variance, low, high = 0.25, -7.0, 5.0
    config = ModelConfig(
        network=UNetConfig(channels=8, multipliers=(1,), patch=2, blocks=1, embedding_channels=16),
        prediction="v", data_std=0.5, log_snr_min=low, log_snr_max=high,
    )  # fmt: skip
    linear = Denoiser(config).eval()  # a new network answers zero: the best estimate for such data
    log_snr, _ = draw_log_snr(TrainingConfig(), 256, linear)
    with torch.no_grad():
        error = eps_error(linear, 0.5 * torch.randn(256, 3, 16, 16), log_snr).mean()
    ends = torch.tensor([low, high]).exp()
    expected = 0.5 * (1 + variance * ends).log().diff().item()
    assert 0.5 * (high - low) * error.item() == pytest.approx(expected, rel=0.01)
