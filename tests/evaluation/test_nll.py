"""The bound of data sets: all terms, and random ones whose mean is the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import ConfigError
from diffcodec.evaluation.bound import evaluation_levels, measure_bound
from diffcodec.evaluation.nll import bound_of_batch, evaluations_per_picture, level_strata, measure_nll, sample_bound
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

SHORT = ScheduleConfig(steps=40, beta_start=1e-3, beta_end=0.3)
PARTS = ("L_T", "L_fixedsmall", "L_fixedlarge", "L_0_fixedsmall", "L_0_fixedlarge", "rate_fine")


def estimate_grey(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """A model that expects the same picture at every level: all terms are the same for any noise."""
    alpha, sigma = alpha_sigma(log_snr.double())
    return (x_t - alpha * 0.2) / sigma


def image(seed: int = 0) -> Tensor:
    return torch.from_numpy(smooth_pixels(8, 8, seed).transpose(2, 0, 1).copy())


@pytest.fixture(scope="module")
def short_denoiser(tiny_checkpoint: Checkpoint) -> Denoiser:
    """The tiny network with 40 timesteps."""
    return replace(tiny_checkpoint, config=replace(tiny_checkpoint.config, schedule=SHORT)).denoiser()


@given(steps=st.integers(1, 60), share=st.floats(0, 1.2))
def test_groups_are_all_levels_once(steps: int, share: float) -> None:
    levels = evaluation_levels(NoiseSchedule(ScheduleConfig(steps, 1e-4, 0.2)))
    count = max(min(3, len(levels)), int(share * len(levels)))
    groups = level_strata(levels, count)
    assert len(groups) == min(count, len(levels))
    assert sorted(place for group in groups for place in group) == list(range(len(levels)))
    assert groups[-1] == [len(levels) - 1]  # t = 1
    assert all(len({levels[place][1] is None for place in group}) == 1 for group in groups)


def test_every_term_evaluated_is_the_whole_bound() -> None:
    schedule = NoiseSchedule(SHORT)
    (expected,) = measure_bound(estimate_grey, schedule, image()[None]).bound_rows()
    found = sample_bound(estimate_grey, schedule, image(), terms=10_000)
    assert found.keys() == expected.keys() - {"image"}
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("terms", [3, 8, 20])
def test_some_terms_are_right_on_average(terms: int) -> None:
    schedule = NoiseSchedule(SHORT)
    (expected,) = measure_bound(estimate_grey, schedule, image()[None]).bound_rows()
    draws = [sample_bound(estimate_grey, schedule, image(), terms=terms, seed=seed) for seed in range(300)]
    for name in (*PARTS, "total_fixedsmall", "total_fixedlarge", "total_fine", "total_paper"):
        values = np.array([draw[name] for draw in draws], float)
        error = values.std() / len(values) ** 0.5
        assert values.mean() == pytest.approx(expected[name], abs=4 * error + 1e-4), name


def test_more_terms_scatter_less() -> None:
    schedule = NoiseSchedule(SHORT)

    def scatter(terms: int) -> float:
        draws = [sample_bound(estimate_grey, schedule, image(), terms=terms, seed=seed) for seed in range(60)]
        return float(np.array([draw["total_fixedsmall"] for draw in draws], float).std())

    assert scatter(30) < 0.5 * scatter(10) < 0.5 * scatter(3)


def test_too_few_terms_are_refused() -> None:
    with pytest.raises(ConfigError, match="terms: expected at least 3, found 2"):
        sample_bound(estimate_grey, NoiseSchedule(SHORT), image(), terms=2)


def test_rows_are_those_of_the_measurement_in_order(short_denoiser: Denoiser) -> None:
    wide, square = [Picture(smooth_pixels(8, 12, s)) for s in (0, 1, 2)], [Picture(smooth_pixels(8, 8, 3))]
    ticks: list[int] = []
    pictures = [wide[0], square[0], wide[1], wide[2]]
    rows = measure_nll(short_denoiser, pictures, seed=5, progress=ticks.append)
    assert [row["image"] for row in rows] == [0, 1, 2, 3]
    each = evaluations_per_picture(short_denoiser.schedule)
    assert each >= 40
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == 4 * each
    pair = bound_of_batch(short_denoiser, [wide[0], wide[1]], first=0, seed=5, batch_size=24).bound_rows()
    assert rows[0] == {**pair[0], "image": 0}
    assert rows[2] == {**pair[1], "image": 2}


@pytest.mark.parametrize("terms", [None, 6])
def test_numbers_do_not_depend_on_the_batch_size(short_denoiser: Denoiser, terms: int | None) -> None:
    pictures = [Picture(smooth_pixels(8, 8, seed)) for seed in range(3)]
    one, other = (
        measure_nll(short_denoiser, pictures, terms=terms, seed=1, batch_size=batch_size) for batch_size in (3, 50)
    )
    for row, again in zip(one, other, strict=True):
        assert list(row.values()) == pytest.approx(list(again.values()), rel=1e-4)
    different = measure_nll(short_denoiser, pictures, terms=terms, seed=2)
    assert different[0]["total_fine"] != one[0]["total_fine"]


def test_sampled_pictures_have_choices_of_their_own(short_denoiser: Denoiser) -> None:
    ticks: list[int] = []
    twice = [Picture(smooth_pixels(8, 8))] * 2
    first, second = measure_nll(short_denoiser, twice, terms=6, progress=ticks.append)
    assert ticks == [6, 12]
    assert (first["image"], second["image"]) == (0, 1)
    assert first["L_fixedsmall"] != second["L_fixedsmall"]
    assert first["L_T"] == second["L_T"]


def test_pictures_that_the_network_does_not_take_are_refused(short_denoiser: Denoiser) -> None:
    pictures = [Picture(smooth_pixels(8, 8)), Picture(smooth_pixels(8, 9)), Picture(smooth_pixels(8, 8)[..., 0].copy())]
    with pytest.raises(ConfigError, match=r"sides are multiples of 4, .*; 2 of 3 are not"):
        measure_nll(short_denoiser, pictures)
