"""The bound of learned variances, on data of which the best ones are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig, VarianceKind
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, forward_std, posterior
from diffcodec.evaluation.bound import measure_bound
from diffcodec.evaluation.bound_measurement import BoundMeasurement
from diffcodec.evaluation.bound_results import join
from diffcodec.evaluation.summary_table import bound_line
from diffcodec.training.config import TrainingConfig
from diffcodec.training.losses import training_loss

SCHEDULE = ScheduleConfig(20, 1e-3, 0.3)
SIDE, COUNT = 8, 48
STD = torch.full((SIDE, SIDE), 0.3)
STD[:, : SIDE // 2] = 0.02
"""Of the Gaussian pixels: the left half is nearly grey, the right half is not."""


class Expert(nn.Module):
    """A network that knows the data: the best x_0 estimate, and for every timestep and half a place between variances.

    Args:
        places: (T + 1, 2), as `Estimate.variance_mix`; can be learnt.
    """

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.places = nn.Parameter(places)
        self.schedule = NoiseSchedule(SCHEDULE)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(condition)
        x_0 = alpha * STD**2 * x / ((alpha * STD) ** 2 + sigma**2)
        timesteps = [round(self.schedule.timestep(value)) for value in condition.tolist()]
        mix = self.places[timesteps].repeat_interleave(SIDE // 2, dim=1)
        return torch.cat([x_0, (2 * mix - 1)[:, None, None].expand_as(x_0)], dim=1)


def expert(places: Tensor | float, variance: VarianceKind = "learned") -> Denoiser:
    network = UNetConfig(channels=8, multipliers=(1,), blocks=1, embedding_channels=8)
    # It is asked about the schedule's own levels, all within the range.
    config = ModelConfig(network, SCHEDULE, "x0", variance, log_snr_min=-20.0, log_snr_max=20.0)
    denoiser = Denoiser(config)
    places = torch.full((SCHEDULE.steps + 1, 2), places) if isinstance(places, float) else places
    denoiser.network = Expert(places)
    return denoiser


def solved_places() -> Tensor:
    """Where the variance of p is q's and that of the error of its mean: the least divergence on average."""
    schedule = NoiseSchedule(SCHEDULE)
    places = torch.zeros(SCHEDULE.steps + 1, 2)
    for t in range(1, SCHEDULE.steps + 1):
        level, before = schedule.level(t), schedule.level(t - 1)
        step, large = posterior(level, before), forward_std(level, before)
        small = step.std or posterior(schedule.level(2), schedule.level(1)).std  # as the decoder has it
        for half, std in enumerate((0.02, 0.3)):
            error = std**2 / (1 + level.snr * std**2)
            best = step.std**2 + step.of_x_0**2 * error
            places[t, half] = np.log(best / small**2) / np.log(large**2 / small**2)
    return places


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    grey = 127.5 * (1 + STD * torch.randn(COUNT, 3, SIDE, SIDE, generator=generator))
    return grey.round().clamp(0, 255).to(torch.uint8)


def bound(denoiser: Denoiser) -> BoundMeasurement:
    return measure_bound(denoiser, denoiser.schedule, images(), seed=1, batch_size=500, clip_denoised=False)


@pytest.fixture(scope="module")
def solved() -> BoundMeasurement:
    return bound(expert(solved_places()))


@pytest.mark.parametrize(("place", "kind"), [(0.0, "fixedsmall"), (1.0, "fixedlarge")])
def test_the_ends_are_the_fixed_variances(place: float, kind: VarianceKind) -> None:
    found = bound(expert(place))
    assert np.allclose(found.terms["learned"], found.terms[kind], rtol=1e-5, atol=1e-9)
    other = found.terms["fixedlarge" if kind == "fixedsmall" else "fixedsmall"]
    assert not np.allclose(found.terms["learned"][:-1], other[:-1], rtol=0.01)


def test_variances_that_fit_are_never_worse_than_the_better_fixed_ones(solved: BoundMeasurement) -> None:
    """Term by term, and much better in sum: neither fixed variance suits both halves."""
    terms = {kind: of_kind[:-1].mean(axis=1) for kind, of_kind in solved.terms.items()}
    better = np.minimum(terms["fixedsmall"], terms["fixedlarge"])
    assert np.all(terms["learned"] < better + 1e-4)
    assert terms["learned"].sum() < better.sum() - 0.1
    totals = {kind: solved.rates(kind)[0].mean() for kind in solved.terms}
    assert totals["learned"] < min(totals["fixedsmall"], totals["fixedlarge"]) - 0.1


@pytest.mark.parametrize("loss", ["simple", "vlb"])
def test_training_finds_the_variances_that_fit(loss: str, solved: BoundMeasurement) -> None:
    denoiser = expert(0.5)
    config = TrainingConfig.from_dict({"loss": loss, "time": "discrete"})
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.1)
    log_snr = torch.from_numpy(denoiser.schedule.log_snr[1:]).float()
    torch.manual_seed(2)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 150)
        x_0 = (STD * torch.randn(len(log_snr), 3, SIDE, SIDE)).mul(127.5).round() / 127.5
        optimizer.zero_grad()
        torch.autograd.backward(training_loss(denoiser, config, x_0, log_snr, torch.randn_like(x_0)).mean())
        optimizer.step()
    found = bound(denoiser)
    assert found.rates("learned")[1].mean() == pytest.approx(solved.rates("learned")[1].mean(), abs=0.005)
    # The decoder's best place is at -21, too far to go in so few steps; but it is well on the way.
    assert found.rates("learned")[0].mean() < found.rates("fixedlarge")[0].mean() - 0.5


def test_learned_terms_are_in_all_that_is_reported(solved: BoundMeasurement) -> None:
    total = solved.rates("learned")[0]
    assert [row["total_learned"] for row in solved.bound_rows()] == total.tolist()
    row = solved.bound_rows()[3]
    parts = [row[name] for name in ("L_T", "L_learned", "L_0_learned")]
    assert row["total_learned"] == pytest.approx(sum(part for part in parts if part is not None), rel=1e-12)
    assert solved.rows(7)[3]["rate_learned"] == solved.rates("learned")[7, 3]
    last = solved.term_means()[-1]
    assert last["bpd_learned"] == pytest.approx(solved.terms["learned"][0].mean())
    assert last["rate_learned"] == pytest.approx(solved.rates("learned")[1].mean())
    assert f"total learned {total.mean():.4f}" in bound_line(solved.without_points(0))
    halves = [list(range(0, COUNT, 2)), list(range(1, COUNT, 2))]
    joined = join(halves, [measure_bound(expert(0.3), NoiseSchedule(SCHEDULE), images()[half]) for half in halves])
    assert joined.terms["learned"].shape == (SCHEDULE.steps + 1, COUNT)


def test_a_model_of_fixed_variances_has_no_learned_terms() -> None:
    denoiser = expert(0.5, "fixedlarge")
    denoiser.network.forward = lambda x, condition: torch.zeros_like(x)
    found = measure_bound(denoiser, denoiser.schedule, images()[:2])
    assert found.terms_learned is None
    assert "total_learned" not in found.bound_rows()[0]
    assert "learned" not in bound_line(found.without_points(0))


def test_levels_between_timesteps_have_variances_too() -> None:
    """Samplers that take fewer steps ask p between any two levels."""
    denoiser = expert(0.25)
    process = GaussianDiffusion(denoiser.schedule, denoiser, variance="learned")
    t, s = NoiseLevel(-1.0), NoiseLevel(2.5)
    x_t = torch.randn(2, 3, SIDE, SIDE)
    std = process.p_between(process.estimate(x_t, t), x_t, t, s).std
    assert isinstance(std, Tensor)
    assert std.shape == x_t.shape
    expected = posterior(t, s).std ** 0.75 * forward_std(t, s) ** 0.25
    assert torch.allclose(std, torch.full_like(std, expected))
    assert process.p_between(process.estimate(x_t, t), x_t, t, NoiseLevel(float("inf"))).std == 0
