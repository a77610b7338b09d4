"""The schedule's published values, and the posterior against brute-force Bayes."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule, posterior

PAPER = NoiseSchedule(ScheduleConfig())

log_snrs = st.floats(-12, 12, allow_nan=False)


@st.composite
def falling_levels(draw: st.DrawFn, count: int) -> list[NoiseLevel]:
    """Levels from noisy to clean, at least 0.01 nats apart; the ends may be pure noise and the image itself."""
    values = sorted(draw(st.lists(log_snrs, min_size=count, max_size=count)))
    if draw(st.booleans()):
        values[0] = -math.inf
    if draw(st.booleans()):
        values[-1] = math.inf
    assume(all(b - a > 0.01 for a, b in pairwise(values)))
    return [NoiseLevel(value) for value in values]


def test_the_paper_s_linear_schedule() -> None:
    assert PAPER.steps == 1000
    assert PAPER.betas.shape == PAPER.alphas_cumprod.shape == PAPER.log_snr.shape == (1001,)
    assert PAPER.betas[0] == 0
    assert PAPER.betas[1] == 1e-4
    assert PAPER.betas[1000] == 0.02
    assert np.allclose(np.diff(PAPER.betas[1:]), 0.0199 / 999)
    assert PAPER.alphas_cumprod[0] == 1
    assert PAPER.alphas_cumprod[1] == 1 - 1e-4
    assert PAPER.alphas_cumprod[1000] == pytest.approx(4.0358e-5, rel=1e-4)  # improved-diffusion, DDIM: 0.00004036
    assert PAPER.log_snr[1] == pytest.approx(math.log((1 - 1e-4) / 1e-4), rel=1e-12)
    assert PAPER.betas.dtype == PAPER.alphas_cumprod.dtype == PAPER.log_snr.dtype == np.float64


def test_log_snr_falls_from_the_image_to_noise() -> None:
    assert PAPER.log_snr[0] == math.inf
    assert np.all(np.diff(PAPER.log_snr) < 0)
    a = PAPER.alphas_cumprod[1:]
    assert np.allclose(PAPER.log_snr[1:], np.log(a / (1 - a)), rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_levels_are_those_of_the_betas(steps: int) -> None:
    schedule = NoiseSchedule(ScheduleConfig(steps, 0.01, 0.3))
    alphas_cumprod = 1.0
    for t in range(1, steps + 1):
        alphas_cumprod *= 1 - (0.01 + 0.29 * (t - 1) / max(1, steps - 1))
        assert schedule.level(t).alpha ** 2 == pytest.approx(alphas_cumprod, rel=1e-12)
        assert schedule.level(t).sigma ** 2 == pytest.approx(1 - alphas_cumprod, rel=1e-12)
    assert schedule.level(0) == NoiseLevel(math.inf)


@pytest.mark.parametrize("t", [-1, 1001])
def test_a_timestep_outside_the_schedule_is_a_value_error(t: int) -> None:
    with pytest.raises(ValueError, match=f"expected a timestep from 0 to 1000, found {t}"):
        PAPER.level(t)


@settings(deadline=None)
@given(st.floats(-700, 700, allow_nan=False))
def test_the_process_preserves_variance(log_snr: float) -> None:
    level = NoiseLevel(log_snr)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, rel=1e-12)
    assert level.snr == pytest.approx((level.alpha / level.sigma) ** 2, rel=1e-10)
    assert math.log(level.snr) == pytest.approx(log_snr, rel=1e-12, abs=1e-12)


def test_the_ends_are_pure_noise_and_the_image() -> None:
    noise, image = NoiseLevel(-math.inf), NoiseLevel(math.inf)
    assert (noise.alpha, noise.sigma, noise.snr) == (0, 1, 0)
    assert (image.alpha, image.sigma, image.snr) == (1, 0, math.inf)


@settings(deadline=None)
@given(falling_levels(2), st.floats(-1, 1), st.floats(-4, 4))
def test_the_posterior_is_bayes_rule(levels: list[NoiseLevel], x_0: float, x_t: float) -> None:
    """Conditions the joint Gaussian of (x_s, x_t) given x_0, where x_t = a x_s + noise, on x_t."""
    t, s = levels
    a = t.alpha / s.alpha
    covariance = np.array([[s.sigma**2, a * s.sigma**2], [a * s.sigma**2, t.sigma**2]])
    gain = covariance[0, 1] / covariance[1, 1]
    mean = s.alpha * x_0 + gain * (x_t - t.alpha * x_0)
    variance = covariance[0, 0] - gain * covariance[0, 1]
    found = posterior(t, s)
    assert found.of_x_0 * x_0 + found.of_x_t * x_t == pytest.approx(mean, rel=1e-9, abs=1e-9)
    assert found.std**2 == pytest.approx(variance, rel=1e-7, abs=1e-15)


def test_the_posterior_from_pure_noise_is_the_marginal_and_at_the_image_a_point() -> None:
    s = NoiseLevel(0.7)
    first = posterior(NoiseLevel(-math.inf), s)
    assert (first.of_x_0, first.of_x_t, first.std) == (s.alpha, 0, s.sigma)
    last = posterior(s, NoiseLevel(math.inf))
    assert (last.of_x_0, last.of_x_t, last.std) == (1, 0, 0)


@settings(deadline=None)
@given(falling_levels(2))
def test_a_posterior_step_leads_to_the_marginal(levels: list[NoiseLevel]) -> None:
    """x_s from q(x_s | x_t, x_0) with x_t from q(x_t | x_0) is a sample of q(x_s | x_0)."""
    t, s = levels
    step = posterior(t, s)
    assert step.of_x_0 + step.of_x_t * t.alpha == pytest.approx(s.alpha, rel=1e-10)
    assert (step.of_x_t * t.sigma) ** 2 + step.std**2 == pytest.approx(s.sigma**2, rel=1e-10)


@settings(deadline=None)
@given(falling_levels(3))
def test_two_posterior_steps_are_one(levels: list[NoiseLevel]) -> None:
    t, s, r = levels
    first, second, whole = posterior(t, s), posterior(s, r), posterior(t, r)
    assert second.of_x_0 + second.of_x_t * first.of_x_0 == pytest.approx(whole.of_x_0, rel=1e-9)
    assert second.of_x_t * first.of_x_t == pytest.approx(whole.of_x_t, rel=1e-9)
    assert math.hypot(second.std, second.of_x_t * first.std) == pytest.approx(whole.std, rel=1e-9)


@pytest.mark.parametrize("t", [1, 2, 3, 10, 100, 500, 999, 1000])
def test_single_steps_are_equations_6_and_7_of_the_paper(t: int) -> None:
    beta, before, after = PAPER.betas[t], PAPER.alphas_cumprod[t - 1], PAPER.alphas_cumprod[t]
    found = posterior(PAPER.level(t), PAPER.level(t - 1))
    assert found.of_x_0 == pytest.approx(math.sqrt(before) * beta / (1 - after), rel=1e-9)
    assert found.of_x_t == pytest.approx(math.sqrt(1 - beta) * (1 - before) / (1 - after), rel=1e-9)
    assert found.std**2 == pytest.approx((1 - before) / (1 - after) * beta, rel=1e-9)


@pytest.mark.parametrize(("t", "s"), [(0.0, 0.0), (1.0, 0.5), (math.inf, math.inf), (0.0, -math.inf), (0.0, math.nan)])
def test_a_step_that_does_not_lead_to_a_cleaner_level_is_a_value_error(t: float, s: float) -> None:
    with pytest.raises(ValueError, match="expected a cleaner level"):
        posterior(NoiseLevel(t), NoiseLevel(s))


@pytest.mark.parametrize("t", [1, 2, 17, 500, 1000])
def test_a_level_s_timestep_is_its_number(t: int) -> None:
    assert PAPER.timestep(PAPER.level(t).log_snr) == pytest.approx(t, abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 999), st.floats(0, 1))
def test_levels_between_timesteps_lie_between_their_numbers(t: int, share: float) -> None:
    above, below = PAPER.log_snr[t], PAPER.log_snr[t + 1]
    assert PAPER.timestep(float(above + share * (below - above))) == pytest.approx(t + share, abs=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        ScheduleConfig(),
        ScheduleConfig(kind="cosine"),
        ScheduleConfig(1000, 8.5e-4, 0.012, "scaled_linear"),
        ScheduleConfig(4000, 2.5e-5, 5e-3),
    ],
)
def test_levels_that_files_and_floats_have_rounded_keep_their_timestep(config: ScheduleConfig) -> None:
    schedule = NoiseSchedule(config)
    for t in range(1, schedule.steps + 1):
        rounded = float(np.float32(round(schedule.level(t).log_snr * 65536) / 65536))
        assert schedule.timestep_nearby(rounded) == t
        assert schedule.before(rounded) == schedule.level(t - 1)


def test_what_lies_before_a_level_is_the_next_cleaner_timestep() -> None:
    between = (PAPER.log_snr[7] + PAPER.log_snr[8]) / 2
    assert PAPER.before(between) == PAPER.level(7)
    assert PAPER.before(PAPER.log_snr[1] + 1) == NoiseLevel(math.inf)


def test_timesteps_are_clipped_to_the_schedule() -> None:
    assert PAPER.timestep(math.inf) == PAPER.timestep(20.0) == 1
    assert PAPER.timestep(-math.inf) == PAPER.timestep(-20.0) == 1000
