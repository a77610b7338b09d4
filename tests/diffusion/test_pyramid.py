"""Estimates at lower resolution."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion import windows
from diffcodec.diffusion.denoiser import Denoiser, Estimate, alpha_sigma
from diffcodec.diffusion.pyramid import HALVING_GAIN, double, halve, padded
from diffcodec.errors import ConfigError

NETWORK = UNetConfig(
    channels=8, multipliers=(1, 2), blocks=1, patch=2, full_resolution_channels=4, embedding_channels=16
)
CONFIG = ModelConfig(NETWORK, prediction="v", data_std=0.5, half_resolution_below=-1.0)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    """A network that has been moved away from its start, where it returns zeros."""
    generator = torch.Generator().manual_seed(0)
    made = Denoiser(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_halving_gives_the_state_of_the_smaller_picture() -> None:
    x_0, eps = noise(2, 3, 12, 20, seed=2).clamp(-1, 1), noise(2, 3, 12, 20)
    log_snr = torch.tensor([-5.0, -0.5])
    alpha, sigma = alpha_sigma(log_snr)
    half, higher = halve(alpha * x_0 + sigma * eps, log_snr)
    alpha, sigma = alpha_sigma(higher)
    assert torch.allclose(higher - log_snr, torch.full((2,), HALVING_GAIN))
    # Four independent normals, added up and divided by two, are a standard normal.
    expected = alpha * functional.avg_pool2d(x_0, 2) + sigma * 2 * functional.avg_pool2d(eps, 2)
    assert torch.allclose(half, expected, atol=1e-5)


def test_doubling_keeps_means_and_continues_slopes() -> None:
    x_0 = noise(2, 3, 5, 9)
    assert torch.allclose(functional.avg_pool2d(double(x_0), 2), x_0, atol=1e-6)
    ramp = torch.arange(16.0).expand(1, 1, 8, 16)
    doubled = double(functional.avg_pool2d(ramp, 2))
    assert torch.allclose(doubled[..., 2:-2], ramp[..., 2:-2])


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (12, 15), (10, 8)])
def test_padding_mirrors_what_is_there(shape: tuple[int, int]) -> None:
    x = noise(1, 3, *shape)
    found = padded(x, 8)
    assert all(side % 8 == 0 for side in found.shape[2:])
    assert torch.equal(found[:, :, : shape[0], : shape[1]], x)


@pytest.mark.parametrize(("log_snr", "halvings"), [(-0.9, 0), (-1.1, 1), (-3.0, 2), (-30.0, 4)])
def test_a_coarse_level_asks_the_network_at_lower_resolution(
    denoiser: Denoiser, log_snr: float, halvings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    evaluate = denoiser.evaluate

    def watched(x: Tensor, level: Tensor) -> Estimate:
        asked.append(tuple(x.shape[2:]))
        return evaluate(x, level)

    monkeypatch.setattr(denoiser, "evaluate", watched)
    found = denoiser.predict_x_0(noise(1, 3, 64, 40), torch.tensor([log_snr]))
    assert found.shape == (1, 3, 64, 40)
    sides = [(64, 40), (32, 20), (16, 12), (8, 8), (4, 4)]  # 10 and then 6, mirrored to multiples of the stride
    assert asked == [sides[halvings]]


@pytest.mark.parametrize("log_snr", [-4.0, 2.0])
def test_noise_and_picture_belong_together_at_lower_resolution(denoiser: Denoiser, log_snr: float) -> None:
    """Also where the network predicts the noise, which it is not asked for at full resolution."""
    other = Denoiser(replace(CONFIG, prediction="eps")).eval()
    other.load_state_dict(denoiser.state_dict())
    x_t, level = noise(1, 3, 24, 36), torch.tensor([log_snr])
    alpha, sigma = alpha_sigma(level)
    with torch.no_grad():
        expected = alpha * other.predict_x_0(x_t, level) + sigma * other(x_t, level)
    assert torch.allclose(expected, x_t, atol=1e-4)


def test_a_level_that_single_precision_rounds_down_is_not_halved_in_windows(
    denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-0.1 is less in single precision: windows would be halved, one by one, and margins be too narrow."""
    other = Denoiser(replace(CONFIG, half_resolution_below=-0.1)).eval()
    other.load_state_dict(denoiser.state_dict())
    x_t = noise(1, 3, 200, 136)
    with torch.no_grad():
        whole = other.predict_x_0(x_t, torch.tensor([-0.1]))
        monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 96 * 96)
        assert torch.allclose(windows.predict_x_0(other, x_t, -0.1), whole, atol=1e-4)


def test_levels_of_a_batch_may_differ(denoiser: Denoiser) -> None:
    x_t, levels = noise(4, 3, 24, 36), torch.tensor([-6.0, 2.0, -1.5, 5.0])
    together = denoiser.predict_x_0(x_t, levels)
    alone = [denoiser.predict_x_0(x_t[i : i + 1], levels[i : i + 1]) for i in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    in_windows = [windows.predict_x_0(denoiser, x_t[i : i + 1], float(levels[i])) for i in range(4)]
    assert torch.allclose(together, torch.cat(in_windows), atol=1e-5)


def test_a_large_picture_is_halved_before_it_is_cut_into_windows(
    denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 96 * 96)
    x_t = noise(1, 3, 200, 136)
    for log_snr in (-2.0, 1.0):
        whole = denoiser.predict_x_0(x_t, torch.tensor([log_snr]))
        assert torch.allclose(windows.predict_x_0(denoiser, x_t, log_snr), whole, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"half_resolution_below": -9.0},
        {"half_resolution_below": 9.6},
        {"half_resolution_below": float("nan")},
        {"variance": "learned"},
        {"network": UNetConfig(conditioning="timestep")},
        {"network": UNetConfig(multipliers=(1,))},
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="half_resolution_below"):
        replace(CONFIG, **changes)  # type: ignore[arg-type]


def test_the_network_is_trained_where_it_is_asked() -> None:
    assert CONFIG.network_log_snr_min == -3.0
    assert replace(CONFIG, half_resolution_below=None).network_log_snr_min == CONFIG.log_snr_min
    assert replace(CONFIG, log_snr_min=-2.0).network_log_snr_min == -2.0
