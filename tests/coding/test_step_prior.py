"""p with variances by band: the divergence it gives, the scale that a length implies, and what is integer about it."""

from __future__ import annotations

import dataclasses
import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.calibration.error_curve import BANDS, ErrorCurve, make_variances
from diffcodec.calibration.level_lists import make_level
from diffcodec.channel import StreamKey, kl_bits
from diffcodec.coding.canvas import GREY, RGB, SignalKind
from diffcodec.coding.step_prior import BandVariances, EqualVariances, StepPrior, gap_octaves
from diffcodec.model.levels import BITS_SCALE, SNR_SCALE, Level, LevelList
from diffcodec.model.tables import MAX_SHIFT

LEVELS = tuple(make_level(value) for value in (-4.0, 0.0, 4.0, 9.0))


def made_up_curve() -> ErrorCurve:
    log_snr = np.linspace(-8, 9, 18)
    falling = np.exp(-0.8 * (log_snr[:, None] + 8) - np.linspace(0, 5, BANDS))
    return ErrorCurve(log_snr, 4 * falling, np.full(BANDS, 0.3))


def prior(step: int, width: int = 32, height: int = 32, kind: SignalKind = RGB) -> BandVariances:
    start = math.exp(LEVELS[step - 1].log_snr / 65536) if step else 0.0
    gap = math.exp(LEVELS[step].log_snr / 65536) - start
    return BandVariances(
        kind.transform(width, height),
        make_variances(made_up_curve()),
        LevelList(0, LEVELS, ()),
        step,
        LEVELS[step],
        gap,
    )


def errors_like(found: BandVariances, factor: float, seed: int = 0, count: int = 3) -> NDArray[np.float32]:
    """Errors with `factor` times the variances of the table."""
    rng = np.random.default_rng(seed)
    octaves = np.array(found.variances.at(found.levels.start_of(found.step)))[found.transform.band]
    noise = rng.standard_normal((count, len(octaves)))
    return (noise * np.sqrt(factor * 2 ** (octaves / 8))).astype(np.float32)


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("factor", [0.02, 0.5, 1.0, 7.0])
def test_the_scale_of_a_picture_is_found_from_its_information(step: int, factor: float) -> None:
    found = prior(step)
    errors = errors_like(found, factor)
    divergence = found.divergence(errors)
    groups = found.groups([round(BITS_SCALE * each) for each in divergence])
    real = kl_bits(found.mean(errors, groups), groups.each_std)
    np.testing.assert_allclose(real, divergence, rtol=0.01, atol=0.2)
    # The variances that are right cost least, up to the eighth of an octave to which they are known.
    ideal = (
        0.5
        * np.log2(
            1
            + found.gap
            * factor
            * 2 ** (np.array(found.variances.at(found.levels.start_of(step)))[found.transform.band] / 8)
        ).sum()
    )
    assert divergence.mean() == pytest.approx(ideal, rel=0.05)
    # And the table's own variances would cost more where the picture is another.
    own = found.groups([found.expected_bits] * len(errors))
    assert kl_bits(found.mean(errors, own), own.each_std).mean() > real.mean() * 0.99


def test_a_sample_of_q_is_a_sample_of_q() -> None:
    """The displacement that the receiver makes of a true sample has the mean and the variance of q."""
    found = prior(2)
    errors = np.repeat(errors_like(found, 1.0, count=1), 400, axis=0)
    groups = found.groups([round(256 * each) for each in found.divergence(errors)])
    noise = np.random.default_rng(1).standard_normal(errors.shape)
    sample = (found.mean(errors, groups) + groups.each_std * noise).astype(np.float32)
    moved = found.displacement(sample, groups, [StreamKey(0, 0)])
    expected = math.sqrt(found.gap) * found.transform.inverse(errors[:1])[0]
    scatter = moved - expected
    np.testing.assert_allclose(scatter.mean(axis=0), 0, atol=0.3)
    assert scatter.var() == pytest.approx(1.0, abs=0.01)
    assert np.abs(np.corrcoef(scatter[:, :40].T) - np.eye(40)).max() < 0.3


@pytest.mark.parametrize("share", [1, 26, 128, 255])
def test_the_weakest_groups_are_not_sent(share: int) -> None:
    whole = prior(2)
    found = dataclasses.replace(whole, variances=dataclasses.replace(whole.variances, unsent_share=share))
    of, weights = whole.groups([0]).of, whole.variances.expected(whole._groups[0])
    sent = np.flatnonzero(np.isin(of, np.unique(of)[-len(np.unique(found.groups([0]).of)) :]))
    assert 1 <= found.dims == len(sent) < whole.dims
    # What is left out holds less than its share, and with one more group it would hold more.
    left_out = np.delete(of, sent)
    total, more = weights[of].sum(), of <= left_out.max() + 1
    assert weights[left_out].sum() * 256 < share * total <= weights[of[more]].sum() * 256
    assert found.expected_bits == pytest.approx(weights[of[sent]].sum() / 256, abs=1)
    errors = errors_like(whole, 1.0, count=2)
    groups = found.groups([5000, 4000])
    mean = found.mean(errors, groups)
    np.testing.assert_allclose(
        mean, np.sqrt(found.gap) * groups.std[:, groups.of] * errors[:, sent], rtol=1e-5, atol=1e-7
    )


def test_what_is_not_sent_is_shared_noise() -> None:
    whole = prior(2)
    found = dataclasses.replace(whole, variances=dataclasses.replace(whole.variances, unsent_share=60))
    groups = found.groups([5000, 4000])
    sample = np.zeros((2, found.dims), np.float32)
    for keys in ([StreamKey(1, 2)], [StreamKey(1, 2), StreamKey(1, 3)]):
        moved = found.transform.forward(found.displacement(sample, groups, keys))
        unsent = np.abs(moved).max(axis=0) > 1e-4
        assert unsent.sum() == pytest.approx(whole.dims - found.dims, abs=5)
        assert moved[:, unsent].std() == pytest.approx(1, abs=0.05)
        assert np.allclose(moved[0], moved[1], atol=1e-4) == (len(keys) == 1)


def test_no_information_is_no_variance_of_its_own() -> None:
    found = prior(1)
    groups = found.groups([0])
    assert groups.std.min() > 0.9
    assert groups.std.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1 << 24), min_size=2, max_size=2), st.integers(0, 3))
def test_more_information_is_more_variance(information: list[int], step: int) -> None:
    groups = prior(step).groups(sorted(information))
    assert np.all(groups.std[0] >= groups.std[1])
    assert np.all(groups.weights[0] <= groups.weights[1])


@pytest.mark.parametrize(("width", "height", "kind"), [(1, 1, RGB), (5, 40, GREY), (33, 7, RGB)])
def test_pictures_of_any_size(width: int, height: int, kind: SignalKind) -> None:
    found = prior(1, width, height, kind)
    errors = errors_like(found, 1.0)
    assert np.all(np.isfinite(found.divergence(errors)))
    groups = found.groups([400] * 3)
    assert groups.of.shape == (width * height * kind.coded_channels,)
    assert np.all(groups.weights >= 1)


def test_what_is_laid_out_does_not_depend_on_floats() -> None:
    """The gap is a float, and scales values alone."""
    found = prior(2)
    other = dataclasses.replace(found, gap=found.gap * (1 + 1e-12))
    a, b = found.groups([1000, 0]), other.groups([1000, 0])
    np.testing.assert_array_equal(a.of, b.of)
    np.testing.assert_array_equal(a.weights, b.weights)
    assert found.expected_bits == other.expected_bits


@settings(max_examples=200)
@given(st.integers(1, 1 << 60), st.integers(0, 1 << 60))
def test_gap_octaves_is_the_logarithm_rounded_down(gap: int, start: int) -> None:
    low = Level(0, start) if start else None
    found = gap_octaves(low, Level(1, start + gap))
    assert 2.0 ** (found / 8) <= gap / SNR_SCALE * (1 + 1e-12)
    assert gap / SNR_SCALE < 2.0 ** ((found + 1) / 8) * (1 + 1e-12)


def test_equal_variances_cost_half_the_gap_times_the_error() -> None:
    errors = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    equal = EqualVariances(LevelList(0, LEVELS, (1, 1, 1, 1)), 1, LEVELS[1], 0.5, 50)
    np.testing.assert_allclose(equal.divergence(errors), kl_bits(equal.mean(errors, None), 1.0), rtol=1e-5)
    assert cast(StepPrior, equal).groups([1, 2]) is None
    assert equal.displacement(errors, None, [StreamKey(0, 0)]) is errors


def test_shifts_are_bounded() -> None:
    found = prior(3)
    most = found.groups([1 << 40])
    table = found.groups([found.expected_bits])
    assert np.all(most.std > 0)
    assert (table.std[0] / most.std[0]).max() <= 2.0 ** (MAX_SHIFT / 16) * 1.1
