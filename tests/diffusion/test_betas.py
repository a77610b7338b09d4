"""Schedules of every kind: their definitions, and what they all have in common."""

from __future__ import annotations

import math
from decimal import getcontext, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.config import ModelConfig, ScheduleConfig, ScheduleKind
from diffcodec.diffusion.betas import betas, log_snrs
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import ConfigError


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    """Any schedule, but for those whose last levels have next to no signal."""
    kind: ScheduleKind = draw(st.sampled_from(["linear", "scaled_linear", "cosine", "betas"]))
    steps = draw(st.integers(1, 60))
    ends = draw(st.lists(st.floats(1e-5, 0.3), min_size=2, max_size=2))
    given_betas = draw(st.lists(st.floats(1e-5, 0.9), min_size=steps, max_size=steps)) if kind == "betas" else ()
    return ScheduleConfig(steps, min(ends), max(ends), kind, tuple(given_betas))


@settings(max_examples=60)
@given(schedules())
def test_levels_fall_from_the_image_to_noise(config: ScheduleConfig) -> None:
    schedule = NoiseSchedule(config)
    assert schedule.betas.shape == (config.steps + 1,)
    assert schedule.betas[0] == 0
    assert np.all((schedule.betas[1:] > 0) & (schedule.betas[1:] < 1))
    assert np.all(np.diff(schedule.log_snr) < 0)
    assert np.all(np.diff(schedule.alphas_cumprod) < 0)
    levels = [schedule.level(t) for t in range(config.steps + 1)]
    np.testing.assert_allclose([level.alpha**2 for level in levels], schedule.alphas_cumprod, rtol=1e-9)


@settings(max_examples=60)
@given(schedules())
def test_floats_are_the_decimals_rounded(config: ScheduleConfig) -> None:
    schedule = NoiseSchedule(config)
    assert schedule.betas[1:].tolist() == [float(beta) for beta in betas(config)]
    np.testing.assert_allclose(schedule.log_snr[1:], [float(value) for value in log_snrs(config)], atol=1e-9)


@settings(max_examples=30)
@given(schedules().filter(lambda config: config.kind != "betas"))
def test_betas_rise(config: ScheduleConfig) -> None:
    assert np.all(np.diff(NoiseSchedule(config).betas[1:]) >= 0)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
def test_lines(kind: str) -> None:
    config = ScheduleConfig.from_dict({"steps": 1000, "kind": kind})
    power = 1 if kind == "linear" else 2
    expected = np.linspace(1e-4 ** (1 / power), 0.02 ** (1 / power), 1000) ** power
    np.testing.assert_allclose(NoiseSchedule(config).betas[1:], expected, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 50, 1000])
def test_the_cosine_schedule_is_equation_17(steps: int) -> None:
    def f(t: int) -> float:
        return math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [min(1 - f(t) / f(t - 1), 0.999) for t in range(1, steps + 1)]
    schedule = NoiseSchedule(ScheduleConfig(steps, kind="cosine"))
    np.testing.assert_allclose(schedule.betas[1:], expected, atol=1e-12)
    before = [f(t) / f(0) for t in range(steps)]  # the cut shortens the last step alone
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1], before, rtol=1e-9)


def test_given_betas_are_taken_as_they_are() -> None:
    config = ScheduleConfig(3, kind="betas", betas=(0.5, 0.1, 0.25))
    assert NoiseSchedule(config).betas.tolist() == [0, 0.5, 0.1, 0.25]
    assert NoiseSchedule(config).alphas_cumprod == pytest.approx([1, 0.5, 0.45, 0.3375])


def test_decimals_do_not_hang_on_the_program_s_context() -> None:
    config = ScheduleConfig(20, kind="cosine")
    expected = log_snrs(config)
    with localcontext() as context:
        context.prec = 3
        assert log_snrs(config) == expected
        assert getcontext().prec == 3


def test_schedules_are_named_in_model_configurations() -> None:
    model = ModelConfig.from_dict({"network": {}, "schedule": {"kind": "cosine", "steps": 4000}})
    assert model.schedule == ScheduleConfig(4000, kind="cosine")
    assert model.essence() == {"network": {}, "schedule": {"kind": "cosine", "steps": 4000}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "sigmoid"}, r"kind: expected one of 'linear', 'scaled_linear', 'cosine', 'betas', found 'sigmoid'"),
        ({"betas": [0.1]}, r"betas: expected 0 for 'linear', found 1"),
        ({"kind": "betas", "steps": 2, "betas": [0.1]}, r"betas: expected 2 for 'betas', found 1"),
        ({"kind": "betas", "steps": 1, "betas": [0.0]}, r"numbers between 1e-30 and 1, found 0\.0"),
        ({"kind": "betas", "steps": 1, "betas": [1e-300]}, r"numbers between 1e-30 and 1, found 1e-300"),
        ({"beta_start": 1e-300}, r"numbers between 1e-30 and 1, found 1e-300"),
        ({"kind": "betas", "steps": 1, "betas": [1.0]}, r"numbers between 1e-30 and 1, found 1\.0"),
        ({"kind": "betas", "steps": 1, "betas": [float("nan")]}, r"numbers between 1e-30 and 1, found nan"),
    ],
)
def test_schedules_that_make_no_sense_are_rejected(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig.from_dict(data)
