"""From raw output to estimates, for every parametrisation; and large pictures in windows."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from diffcodec.config import ModelConfig, PredictionKind, UNetConfig
from diffcodec.diffusion import windows
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma

NETWORK = UNetConfig(
    channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
)
TINY = ModelConfig(network=NETWORK, prediction="v", data_std=0.5)
LEVELS = torch.tensor([-8.0, -3.0, 0.0, 4.0, 9.0])


class Stub(nn.Module):
    """A network that answers with what it is given, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        self.asked.append((x, condition))
        return self.answer(x, condition)


def stubbed(config: ModelConfig, answer: Callable[[Tensor, Tensor], Tensor]) -> tuple[Denoiser, Stub]:
    denoiser, stub = Denoiser(config), Stub(answer)
    denoiser.network = stub
    return denoiser, stub


def randomised(config: ModelConfig) -> Denoiser:
    torch.manual_seed(7)
    denoiser = Denoiser(config).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        parameter.normal_(0, parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1)
    return denoiser


def test_alpha_and_sigma_are_those_of_the_process() -> None:
    alpha, sigma = alpha_sigma(LEVELS)
    assert alpha.shape == sigma.shape == (5, 1, 1, 1)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(5, 1, 1, 1))
    assert torch.allclose(2 * (alpha / sigma).log().flatten(), LEVELS, atol=1e-5)


@pytest.mark.parametrize("data_std", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_an_exact_raw_output_gives_the_exact_image(prediction: PredictionKind, data_std: float) -> None:
    torch.manual_seed(8)
    x_0, eps = 0.5 * torch.randn(5, 3, 4, 4).double(), torch.randn(5, 3, 4, 4).double()
    levels = LEVELS.double()
    alpha, sigma = alpha_sigma(levels)
    # v of the process whose data have unit variance: u = x_0 / data_std, alpha' and sigma' to sum 1 in squares.
    total = ((alpha * data_std) ** 2 + sigma**2).sqrt()
    v = (alpha * data_std / total) * eps - (sigma / total) * x_0 / data_std
    raw = {"eps": eps, "x0": x_0, "v": v}[prediction]
    denoiser, _ = stubbed(replace(TINY, prediction=prediction, data_std=data_std), lambda x, condition: raw)
    x_t = alpha * x_0 + sigma * eps
    # The raw output is taken as float32, which x_0 / alpha magnifies.
    assert torch.allclose(denoiser.predict_x_0(x_t, levels).double(), x_0, atol=2e-5)
    assert torch.allclose(denoiser(x_t, levels), eps, atol=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_noise_estimate_is_what_the_image_estimate_leaves(prediction: PredictionKind) -> None:
    denoiser = randomised(replace(TINY, prediction=prediction))
    x_t = torch.randn(5, 3, 8, 8)
    alpha, sigma = alpha_sigma(LEVELS)
    with torch.no_grad():
        eps, x_0 = denoiser(x_t, LEVELS), denoiser.predict_x_0(x_t, LEVELS)
    assert eps.dtype == x_0.dtype == torch.float32
    assert torch.allclose(alpha * x_0 + sigma * eps, x_t, atol=1e-4)


@pytest.mark.parametrize("data_std", [0.5, 0.1])
def test_input_and_target_of_v_have_unit_variance_at_every_level(data_std: float) -> None:
    torch.manual_seed(9)
    x_0, eps = data_std * torch.randn(5, 3, 64, 64), torch.randn(5, 3, 64, 64)
    alpha, sigma = alpha_sigma(LEVELS)
    x_t = alpha * x_0 + sigma * eps
    denoiser, stub = stubbed(replace(TINY, data_std=data_std), lambda x, condition: torch.zeros_like(x))
    estimate = denoiser.predict_x_0(x_t, LEVELS)
    deviations = stub.asked[0][0].std(dim=(1, 2, 3))
    assert torch.allclose(deviations, torch.ones(5), atol=0.03)
    # A raw output of zero is the best linear estimate, and v is what it lacks.
    assert torch.allclose(estimate, alpha * data_std**2 * x_t / (alpha**2 * data_std**2 + sigma**2), atol=1e-5)
    total = ((alpha * data_std) ** 2 + sigma**2).sqrt()
    v = (estimate - x_0) * total / (sigma * data_std)
    assert torch.allclose(v.std(dim=(1, 2, 3)), torch.ones(5), atol=0.03)


@pytest.mark.parametrize("prediction", ["eps", "x0"])
def test_the_input_is_x_t_where_the_parametrisation_has_no_scale(prediction: PredictionKind) -> None:
    x_t = torch.randn(5, 3, 8, 8)
    denoiser, stub = stubbed(replace(TINY, prediction=prediction), lambda x, condition: torch.zeros_like(x))
    denoiser.predict_x_0(x_t, LEVELS)
    assert torch.equal(stub.asked[0][0], x_t)


def test_the_network_is_never_asked_about_a_level_outside_its_range() -> None:
    config = replace(TINY, log_snr_min=-2.0, log_snr_max=3.0)
    denoiser, stub = stubbed(config, lambda x, condition: torch.zeros_like(x))
    denoiser.predict_x_0(torch.randn(5, 3, 4, 4), torch.tensor([-30.0, -2.0, 0.5, 3.0, 40.0]))
    assert stub.asked[0][1].tolist() == [-2.0, -2.0, 0.5, 3.0, 3.0]


def test_a_network_of_the_paper_receives_the_timestep_less_one() -> None:
    config = replace(TINY, prediction="eps", network=replace(NETWORK, conditioning="timestep"))
    denoiser, stub = stubbed(config, lambda x, condition: torch.zeros_like(x))
    levels = torch.tensor([denoiser.schedule.level(t).log_snr for t in (1, 2, 500, 1000)])
    denoiser.predict_x_0(torch.randn(6, 3, 4, 4), torch.cat([levels, torch.tensor([20.0, -20.0])]))
    assert torch.allclose(stub.asked[0][1], torch.tensor([0.0, 1.0, 499.0, 999.0, 0.0, 999.0]), atol=1e-3)


# Windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        replace(NETWORK, channels=8),
        UNetConfig(channels=8, multipliers=(1, 1), blocks=1, embedding_channels=16),
        UNetConfig(channels=8, multipliers=(1,), blocks=1, patch=4, embedding_channels=16),
    ],
    ids=["full-resolution branch", "unpatched", "patch 4"],
)
def test_windows_give_the_result_of_the_whole(network: UNetConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = randomised(replace(TINY, network=network))
    stride, margin = network.stride, network.receptive_radius
    x_t = torch.randn(2, 3, 3 * margin, 5 * margin + stride)
    whole = windows.predict_x_0(denoiser, x_t, 1.5)
    assert torch.allclose(whole, denoiser.predict_x_0(x_t, torch.tensor([1.5, 1.5])), atol=1e-5)
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 0)
    calls: list[tuple[int, ...]] = []
    original = denoiser.predict_x_0

    def counted(x: Tensor, log_snr: Tensor) -> Tensor:
        calls.append(tuple(x.shape))
        return original(x, log_snr)

    monkeypatch.setattr(denoiser, "predict_x_0", counted)
    assert torch.allclose(windows.predict_x_0(denoiser, x_t, 1.5), whole, atol=1e-4)
    assert len(calls) == 2 * 2 * 5  # the two pictures one after the other, each in 2 x 5 windows
    assert all(side % stride == 0 and side <= 3 * margin + stride for shape in calls for side in shape[2:])


def test_a_picture_much_larger_than_the_margin_goes_in_true_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here windows end inside the picture on all sides, so the margin is what makes the result right."""
    network = UNetConfig(channels=8, multipliers=(1,), blocks=1, embedding_channels=16)
    denoiser = randomised(replace(TINY, network=network))
    margin = network.receptive_radius
    x_t = torch.randn(1, 3, 5 * margin, 5 * margin)
    whole = windows.predict_x_0(denoiser, x_t, 0.0)
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 0)
    assert torch.allclose(windows.predict_x_0(denoiser, x_t, 0.0), whole, atol=1e-4)
    # The margin is needed: with a quarter of it there are seams.
    monkeypatch.setattr(UNetConfig, "receptive_radius", margin // 4)
    assert (windows.predict_x_0(denoiser, x_t, 0.0) - whole).abs().max() > 1e-3


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 40), st.sampled_from([1, 2, 8]))
def test_windows_are_small_and_few(height: int, width: int, margin: int, stride: int) -> None:
    height, width, margin = height * stride, width * stride, margin * stride
    parts = windows._division(height, width, margin, stride)
    found = []
    for side, count in zip((height, width), parts, strict=True):
        cores = list(windows._cores(side, count, stride))
        assert [cores[0][0], cores[-1][1]] == [0, side]
        assert all(before[1] == after[0] for before, after in pairwise(cores))
        assert all(start % stride == stop % stride == 0 for start, stop in cores)
        found.append(max(min(stop + margin, side) - max(start - margin, 0) for start, stop in cores))
    cut_further = any(count < side // margin for side, count in zip((height, width), parts, strict=True))
    assert math.prod(found) <= windows.MAX_WINDOW_PIXELS or not cut_further or margin > 300
    assert parts == (1, 1) or height * width > windows.MAX_WINDOW_PIXELS


def test_a_photograph_is_cut_where_that_costs_least() -> None:
    assert windows._division(1504, 2000, 184, 8) == (1, 2)
    assert windows._division(3000, 4000, 184, 8) == (2, 5)
    assert windows._division(96, 40_000, 184, 8) == (1, 2)


def test_a_network_that_sees_everything_is_evaluated_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = randomised(replace(TINY, network=replace(NETWORK, attention_scales=(1,))))
    x_t = torch.randn(1, 3, 16, 16)
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 0)
    found = windows.predict_x_0(denoiser, x_t, 0.0)
    assert torch.equal(found, denoiser.predict_x_0(x_t, torch.zeros(1)))
