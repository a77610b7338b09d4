"""Averages over a run: profiles, and averages of other widths from their snapshots."""

import numpy as np
import pytest
import torch
from torch import nn

from diffcodec.errors import ConfigError
from diffcodec.training.averages import PowerAverage, Snapshot, combination, combine, gamma_of, profile_products


def scalar(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def density(t: np.ndarray, end: float, gamma: float) -> np.ndarray:
    """The profile (gamma + 1) t^gamma / T^(gamma + 1) on [0, T]."""
    return np.where(t <= end, (gamma + 1) * (t / end) ** gamma / end, 0.0)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_the_profile_has_the_width_that_names_it(width: float) -> None:
    t = np.linspace(0, 1, 200_001)
    weight = density(t, 1.0, gamma_of(width))
    total = np.trapezoid(weight, t)
    mean = np.trapezoid(weight * t, t)
    assert total == pytest.approx(1, rel=1e-6)
    assert np.sqrt(np.trapezoid(weight * (t - mean) ** 2, t)) == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize(("end_a", "end_b"), [(100.0, 100.0), (60.0, 100.0), (100.0, 30.0)])
def test_products_of_profiles_are_their_integrals(end_a: float, end_b: float) -> None:
    t = np.linspace(0, 100, 400_001)
    for a, b in ((6.9, 16.9), (2.0, 2.0)):
        integral = np.trapezoid(density(t, end_a, a) * density(t, end_b, b), t)
        found = profile_products(np.array(end_a), np.array(a), np.array(end_b), np.array(b))
        assert float(found) == pytest.approx(integral, rel=1e-3)


def test_a_running_average_has_its_profile() -> None:
    """Weights that grow with time average to the mean of the profile."""
    module, batch, steps = scalar(0.0), 10, 500
    average = PowerAverage(module, 0.1)
    for step in range(1, steps + 1):
        nn.init.constant_(module.weight, step / steps)
        average.update(module, step * batch, batch)
    gamma = gamma_of(0.1)
    assert average.average["weight"].item() == pytest.approx((gamma + 1) / (gamma + 2), abs=2e-3)


def test_an_average_of_another_width_is_made_from_snapshots() -> None:
    """Of snapshots of widths 0.05 and 0.1 an average of width 0.07, as if it had been kept during the run."""
    module, batch, steps = scalar(0.0), 16, 2000
    kept = [PowerAverage(module, width) for width in (0.05, 0.1)]
    wanted = PowerAverage(module, 0.07)
    snapshots = []
    generator = torch.Generator().manual_seed(1)
    level = 0.0
    for step in range(1, steps + 1):
        level += 0.05 * float(torch.randn((), generator=generator))
        nn.init.constant_(module.weight, level)
        for average in (*kept, wanted):
            average.update(module, step * batch, batch)
        if step % 100 == 0:
            snapshots += [
                Snapshot(step * batch, each.width, {"weight": each.average["weight"].clone()}) for each in kept
            ]
    found = combine(snapshots, steps * batch, 0.07)["weight"].item()
    nearest = min(abs(each.average["weight"].item() - wanted.average["weight"].item()) for each in kept)
    assert found == pytest.approx(wanted.average["weight"].item(), abs=max(0.02, 0.2 * nearest))


def test_a_snapshot_of_the_wanted_width_is_taken_as_it_is() -> None:
    factors = combination([(100, 0.05), (100, 0.1), (200, 0.05), (200, 0.1)], 200, 0.1)
    assert factors == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_widths_are_not_extrapolated() -> None:
    snapshots = [Snapshot(100, width, {"weight": torch.zeros(1)}) for width in (0.05, 0.1)]
    with pytest.raises(ConfigError, match=r"width: expected 0\.05 to 0\.1"):
        combine(snapshots, 100, 0.15)
