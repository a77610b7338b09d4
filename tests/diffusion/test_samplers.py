"""Walks from noise to images, against data sets whose best denoiser is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffcodec.config import ScheduleConfig, VarianceKind
from diffcodec.diffusion.denoiser import Estimate
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.samplers import IMAGE, Noise, Sampler, Spacing, State, ancestral, flow, langevin, levels_below
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import ConfigError
from diffcodec.model.levels import LOG_SNR_SCALE
from tests.diffusion.closed_forms import GaussianData, MixtureData, as_samples

SCHEDULE = NoiseSchedule(ScheduleConfig())
START = SCHEDULE.level(1000)
DATA = GaussianData(
    torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64),
    torch.tensor([[0.25, 0.12, 0.02], [0.12, 0.16, -0.05], [0.02, -0.05, 0.04]], dtype=torch.float64),
)
SIDE = 50
COUNT = SIDE**2
MIX = 0.3


class Learned(GaussianData):
    """The same model with learned variances, which lie at MIX everywhere."""

    def estimate(self, x_t: Tensor, log_snr: Tensor) -> Estimate:
        alpha, sigma = math.sqrt(torch.sigmoid(log_snr[0])), math.sqrt(torch.sigmoid(-log_snr[0]))
        x_0 = (x_t - sigma * self(x_t, log_snr)) / alpha
        return Estimate(x_0, torch.full_like(x_t, MIX))


def process(variance: VarianceKind = "fixedsmall", data: object = DATA) -> GaussianDiffusion:
    predictor = Learned(DATA.mean, DATA.covariance) if variance == "learned" else data
    return GaussianDiffusion(SCHEDULE, predictor, variance=variance, clip_denoised=False)  # type: ignore[arg-type]


def noise_of(shape: Sequence[int], seed: int) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(*shape, generator=generator, dtype=torch.float64)


def last(states: Iterator[State]) -> Tensor:
    *_, state = states
    assert state.level == IMAGE
    assert torch.equal(state.x_t, state.x_0)
    return state.x_t


# What a step does to mean and covariance, from the papers' formulas ------------------------------------------

Moments = tuple[Tensor, Tensor]


def affine(moments: Moments, matrix: Tensor, offset: Tensor, variance: float) -> Moments:
    mean, covariance = moments
    eye = torch.eye(len(mean), dtype=torch.float64)
    return matrix @ mean + offset, matrix @ covariance @ matrix.T + variance * eye


def after_ddim_step(moments: Moments, t: NoiseLevel, s: NoiseLevel, kept: float, variance: float) -> Moments:
    """x_s = alpha_s x_0 + kept * eps + noise, x_0 and eps as the best denoiser has them."""
    gain = DATA.gain(t.alpha, t.sigma)
    rest = (torch.eye(3, dtype=torch.float64) - t.alpha * gain) / t.sigma
    matrix = s.alpha * gain + kept * rest
    offset = s.alpha * (DATA.mean - t.alpha * gain @ DATA.mean) - kept * t.alpha * rest @ DATA.mean
    return affine(moments, matrix, offset, variance)


def moments_of(levels: Sequence[NoiseLevel], eta: float, variance: VarianceKind = "fixedsmall") -> Moments:
    moments = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for t, s in pairwise(levels):
        large = 1 - (t.alpha / s.alpha) ** 2
        small = large * (s.sigma / t.sigma) ** 2
        kept = math.sqrt(max(0.0, s.sigma**2 - eta**2 * small))
        added = eta**2 * small
        if variance == "fixedlarge":
            added = large if s != IMAGE else 0.0
        elif variance == "learned" and small:
            added = small ** (1 - MIX) * large**MIX
        moments = after_ddim_step(moments, t, s, kept, added)
    return moments


def langevin_moments(levels: Sequence[NoiseLevel], updates: int, step_size: float) -> Moments:
    eye = torch.eye(3, dtype=torch.float64)
    moments = torch.zeros(3, dtype=torch.float64), eye
    for t, s in pairwise(levels):
        delta = step_size * t.sigma**2
        precision = torch.linalg.inv(t.alpha**2 * DATA.covariance + t.sigma**2 * eye)
        for _ in range(updates):
            offset = delta / 2 * t.alpha * precision @ DATA.mean
            moments = affine(moments, eye - delta / 2 * precision, offset, delta)
        moments = after_ddim_step(moments, t, s, s.sigma, 0.0)
    return moments


def check_moments(found: Tensor, expected: Moments) -> None:
    """Within five standard errors of a sample of this size."""
    mean, covariance = expected
    samples = as_samples(found)
    variances = covariance.diagonal()
    error = ((variances[:, None] * variances + covariance**2) / len(samples)).sqrt()
    assert ((samples.mean(dim=0) - mean).abs() < 5 * (variances / len(samples)).sqrt()).all()
    assert ((samples.T.cov() - covariance).abs() < 5 * error).all()


SAMPLERS: dict[str, tuple[Callable[[list[NoiseLevel], Noise], Iterator[State]], Callable[..., Moments]]] = {
    "fixedsmall": (
        lambda levels, noise: ancestral(process(), noise(), levels, noise),
        lambda levels: moments_of(levels, 1.0),
    ),
    "fixedlarge": (
        lambda levels, noise: ancestral(process("fixedlarge"), noise(), levels, noise),
        lambda levels: moments_of(levels, 1.0, "fixedlarge"),
    ),
    "learned": (
        lambda levels, noise: ancestral(process("learned"), noise(), levels, noise),
        lambda levels: moments_of(levels, 1.0, "learned"),
    ),
    "flow": (lambda levels, noise: flow(process(), noise(), levels), lambda levels: moments_of(levels, 0.0)),
    "half flow": (
        lambda levels, noise: flow(process(), noise(), levels, noise, eta=0.5),
        lambda levels: moments_of(levels, 0.5),
    ),
    "langevin": (
        lambda levels, noise: langevin(process(), noise(), levels, noise, updates=3, step_size=0.3),
        lambda levels: langevin_moments(levels, 3, 0.3),
    ),
}


def spacing_of(name: str) -> Spacing:
    return "log_snr" if name == "langevin" else "timestep"


@pytest.mark.parametrize("spacing", ["timestep", "log_snr"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_few_steps_give_the_moments_of_their_own_recursion(name: str, spacing: str) -> None:
    sample, moments = SAMPLERS[name]
    levels = levels_below(SCHEDULE, START, 12, spacing)  # type: ignore[arg-type]
    check_moments(last(sample(levels, noise_of((1, 3, SIDE, SIDE), 1))), moments(levels))


@pytest.mark.parametrize("name", SAMPLERS)
def test_many_steps_give_the_mean_and_covariance_of_the_data(name: str) -> None:
    sample, moments = SAMPLERS[name]
    levels = levels_below(SCHEDULE, START, 1000 if name != "langevin" else 250, spacing_of(name))
    found = last(sample(levels, noise_of((1, 3, SIDE, SIDE), 2)))
    check_moments(found, (DATA.mean, DATA.covariance))
    # And beyond what a sample can tell: the recursion itself comes to the data, up to what so many steps leave.
    mean, covariance = moments(levels)
    assert torch.allclose(mean, DATA.mean, atol=2e-3)
    assert torch.allclose(covariance, DATA.covariance, atol=0.02 * float(DATA.covariance.max()))


@pytest.mark.parametrize("name", ["fixedsmall", "fixedlarge", "flow", "half flow"])
def test_more_steps_come_closer_to_the_data(name: str) -> None:
    _, moments = SAMPLERS[name]
    counts = (10, 40, 160, 640)
    errors = [float((moments(levels_below(SCHEDULE, START, k))[1] - DATA.covariance).abs().max()) for k in counts]
    assert all(b < 0.5 * a for a, b in pairwise(errors))


@pytest.mark.parametrize("name", ["fixedsmall", "half flow"])
def test_random_walks_from_a_state_sample_what_the_state_leaves_open(name: str) -> None:
    """p(x_0 | x_t) is N(x_0 estimate, C - alpha gain C), whatever x_t."""
    start = SCHEDULE.level(300)
    x_t = torch.tensor([0.9, -0.4, 0.2], dtype=torch.float64)
    levels = levels_below(SCHEDULE, start)
    noise = noise_of((1, 3, SIDE, SIDE), 3)
    state = x_t[:, None, None].expand(1, 3, SIDE, SIDE)
    walk = ancestral if name == "fixedsmall" else flow
    found = last(walk(process(), state, levels, noise, **({} if walk is ancestral else {"eta": 1.0})))
    gain = DATA.gain(start.alpha, start.sigma)
    mean = DATA.mean + gain @ (x_t - start.alpha * DATA.mean)
    open_part = DATA.covariance - start.alpha * gain @ DATA.covariance
    samples = as_samples(found)
    assert torch.allclose(samples.mean(dim=0), mean, atol=5 * float(open_part.diagonal().max().sqrt()) / SIDE)
    assert torch.allclose(samples.T.cov(), open_part, atol=0.04 * float(open_part.max()))


# Mixtures ----------------------------------------------------------------------------------------------------

MIXTURE = MixtureData(
    torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64),
    torch.tensor([[-0.7, -0.5], [0.6, -0.6], [0.2, 0.7]], dtype=torch.float64),
    0.1,
)


@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler("flow", steps=500), Sampler("langevin", steps=200)], ids=lambda sampler: sampler.kind
)
def test_modes_and_weights_of_a_mixture_are_found(sampler: Sampler) -> None:
    noise = noise_of((1, 2, 70, 70), 4)
    levels = sampler.levels(SCHEDULE)
    # Langevin dynamics finds the way from anywhere, here from a single point.
    start = noise() if sampler.kind != "langevin" else torch.full((1, 2, 70, 70), 0.5, dtype=torch.float64)
    found = as_samples(last(sampler.states(process(data=MIXTURE), start, levels, noise)))
    component = MIXTURE.component(found)
    shares = torch.bincount(component, minlength=3) / len(found)
    assert torch.allclose(shares.double(), MIXTURE.weights, atol=5 * 0.5 / math.sqrt(len(found)))
    for place, mode in enumerate(MIXTURE.modes):
        own = found[component == place]
        assert torch.allclose(own.mean(dim=0), mode, atol=0.01)
        assert torch.allclose(own.std(dim=0), torch.full((2,), MIXTURE.std, dtype=torch.float64), rtol=0.08)


def test_langevin_dynamics_at_one_level_finds_the_distribution_there() -> None:
    level = SCHEDULE.level(400)
    start = torch.full((1, 2, 70, 70), 2.0, dtype=torch.float64)
    walk = langevin(process(data=MIXTURE), start, [level] * 60, noise_of(start.shape, 5), updates=5, step_size=0.05)
    found = as_samples(list(walk)[-1].x_t)
    x_0 = MIXTURE.modes[torch.multinomial(MIXTURE.weights, 200_000, True, generator=torch.Generator().manual_seed(6))]
    expected = level.alpha * x_0
    total = expected.T.cov() + (level.alpha**2 * MIXTURE.std**2 + level.sigma**2) * torch.eye(2)
    assert torch.allclose(found.mean(dim=0), expected.mean(dim=0), atol=5 / 70)
    assert torch.allclose(found.T.cov(), total, atol=0.08)


def test_langevin_dynamics_without_annealing_does_not_find_the_weights() -> None:
    """What the noise levels are for (Song & Ermon 2019, section 3.2)."""
    start = torch.zeros(1, 2, 60, 60, dtype=torch.float64) + MIXTURE.modes[0][:, None, None]
    levels = [SCHEDULE.level(10)] * 60 + [IMAGE]
    found = as_samples(last(langevin(process(data=MIXTURE), start, levels, noise_of(start.shape, 5))))
    assert (MIXTURE.component(found) == 0).float().mean() > 0.99


# Flow --------------------------------------------------------------------------------------------------------


def test_flow_is_deterministic_and_leads_back_to_its_noise() -> None:
    x_t = noise_of((2, 3, 8, 8), 6)()
    down = levels_below(SCHEDULE, START)[:-1]
    image = list(flow(process(), x_t, down))[-1].x_t
    assert torch.equal(image, list(flow(process(), x_t, down))[-1].x_t)
    errors = []
    for steps in (50, 200, 1000):
        down = levels_below(SCHEDULE, START, steps, "log_snr")[:-1]
        image = list(flow(process(), x_t, down))[-1].x_t
        back = list(flow(process(), image, down[::-1]))[-1]
        assert back.level == START
        errors.append(float((back.x_t - x_t).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def test_flow_goes_to_the_limit_of_the_differential_equation() -> None:
    """For a Gaussian along its principal axes: x_t stands as many standard deviations from the mean all the way."""
    values, axes = torch.linalg.eigh(DATA.covariance)
    x_t = noise_of((1, 3, 20, 20), 7)()
    found = as_samples(last(flow(process(), x_t, levels_below(SCHEDULE, START))))
    total = (START.alpha**2 * values + START.sigma**2).sqrt()
    scores = (as_samples(x_t) - START.alpha * DATA.mean) @ axes / total
    expected = DATA.mean + (scores * values.sqrt()) @ axes.T
    assert torch.allclose(found, expected, atol=0.02)


def test_flow_with_eta_1_is_ancestral_sampling() -> None:
    levels = levels_below(SCHEDULE, START, 20)
    x_t = noise_of((2, 3, 4, 4), 8)()
    a = list(ancestral(process(), x_t, levels, noise_of(x_t.shape, 9)))
    b = list(flow(process(), x_t, levels, noise_of(x_t.shape, 9), eta=1.0))
    for one, other in zip(a, b, strict=True):
        assert torch.allclose(one.x_t, other.x_t, atol=1e-9)
        assert one.level == other.level


# Levels and settings -----------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(t=st.integers(1, 1000), steps=st.integers(1, 1000), spacing=st.sampled_from(["timestep", "log_snr"]))
def test_levels_fall_from_the_start_to_the_image(t: int, steps: int, spacing: str) -> None:
    start = SCHEDULE.level(t)
    levels = levels_below(SCHEDULE, start, steps, spacing)  # type: ignore[arg-type]
    assert levels[0] == start
    assert levels[-1] == IMAGE
    assert all(a.log_snr < b.log_snr for a, b in pairwise(levels))
    whole = levels_below(SCHEDULE, START, steps, spacing)  # type: ignore[arg-type]
    assert len(whole) == steps + 1
    assert set(levels[1:]) <= set(whole)
    if spacing == "timestep":
        assert set(levels) <= {*(SCHEDULE.level(s) for s in range(1, 1001)), IMAGE}


def test_levels_between_timesteps_start_a_walk_too() -> None:
    start = NoiseLevel((SCHEDULE.level(3).log_snr + SCHEDULE.level(4).log_snr) / 2)
    assert levels_below(SCHEDULE, start) == [start, *(SCHEDULE.level(t) for t in (3, 2, 1)), IMAGE]
    beyond = NoiseLevel(SCHEDULE.level(1).log_snr + 1)
    assert levels_below(SCHEDULE, beyond) == [beyond, IMAGE]


def test_walks_from_the_rounded_levels_of_files_do_not_visit_their_start_twice() -> None:
    for t in range(1, 1001):
        rounded = NoiseLevel(round(SCHEDULE.level(t).log_snr * LOG_SNR_SCALE) / LOG_SNR_SCALE)
        assert levels_below(SCHEDULE, rounded)[1:] == levels_below(SCHEDULE, SCHEDULE.level(t))[1:]


def test_short_schedules_have_as_many_levels_as_they_have() -> None:
    short = NoiseSchedule(ScheduleConfig(7, 0.05, 0.4))
    assert len(levels_below(short, short.level(7))) == 8
    assert len(Sampler("flow").levels(short)) == 8
    assert len(levels_below(short, short.level(7), 30, "log_snr")) == 31
    with pytest.raises(ConfigError, match="expected 1 to the model's 7, found 8"):
        Sampler(steps=8).levels(short)


def test_states_are_reported_on_the_way() -> None:
    levels = levels_below(SCHEDULE, START, 5)
    x_t = noise_of((2, 3, 4, 4), 10)()
    for kind in ("ancestral", "flow", "langevin"):
        states = list(Sampler(kind).states(process(), x_t, levels, noise_of(x_t.shape, 11)))
        assert [state.level for state in states] == levels
        assert torch.equal(states[0].x_t, x_t) == (kind != "langevin")
        for state in states[:-1]:
            assert torch.equal(state.x_0, process().estimate(state.x_t, state.level).x_0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "euler"}, "ancestral, flow, langevin, found 'euler'"),
        ({"kind": "flow", "eta": 1.5}, "eta: expected 0 to 1"),
        ({"eta": 0.5}, "only for the sampler flow"),
        ({"kind": "flow", "variance": "fixedlarge"}, "only for the sampler ancestral"),
        ({"kind": "langevin", "updates": 0}, "updates: expected at least 1"),
        ({"kind": "flow", "updates": 2}, "only for the sampler langevin"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Sampler(**options)  # type: ignore[arg-type]
