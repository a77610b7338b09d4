"""Passes and what is known in each, against a loop over single pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.lossless.context import Contexts, Pass, passes_for
from diffcodec.lossless.rounding import UNIT

SIZES = [(1, 1), (1, 2), (2, 1), (7, 3), (3, 7), (2, 2), (1, 9), (8, 1), (5, 6)]
SIDES = [(0, -1), (-1, 0), (0, 1), (1, 0)]

Place = tuple[int, int, int]


def places(step: Pass, height: int, width: int) -> list[Place]:
    """Channel, row and column of a pass's pixels, in the order in which they are coded."""
    rows, columns = step.grid
    return [(step.channel, y, x) for y in range(height)[rows] for x in range(width)[columns]]


def random_content(channels: int, height: int, width: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Means (some of them out of range, as rounding leaves them) and pixels."""
    rng = np.random.default_rng(seed)
    means = rng.integers(-200, 255 * UNIT + 200, (channels, height, width))
    return means, rng.integers(0, 256, (channels, height, width))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_passes_visit_every_pixel_once(channels: int, height: int, width: int) -> None:
    visited = [place for step in passes_for(channels) for place in places(step, height, width)]
    assert len(visited) == len(set(visited)) == channels * height * width
    assert set(visited) == {(c, y, x) for c in range(channels) for y in range(height) for x in range(width)}


@pytest.mark.parametrize("channels", [1, 3])
def test_neighbours_are_all_that_is_known_nearby_and_nothing_else(channels: int) -> None:
    """A neighbour is known before; and a pixel that is known, and near, is a neighbour."""
    height, width = 9, 10
    known: set[Place] = set()
    for step in passes_for(channels):
        for channel, y, x in places(step, height, width):
            near = {(c, y + down, x + right) for c, down, right in step.neighbours}
            inside = {(c, b, a) for c, b, a in near if 0 <= b < height and 0 <= a < width}
            assert inside <= known
            expected = {
                (c, b, a)
                for c, b, a in known
                if (c == channel and (b - y) ** 2 + (a - x) ** 2 <= 5)
                or (c != channel and max(abs(b - y), abs(a - x)) <= 1)
            }
            assert inside == expected
        known |= set(places(step, height, width))


def test_the_order_of_channels_is_green_red_blue() -> None:
    assert [step.channel for step in passes_for(3)] == [1] * 4 + [0] * 4 + [2] * 4
    assert [step.channel for step in passes_for(1)] == [0] * 4


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_has_the_same_passes_and_the_tables_fit(channels: int) -> None:
    first, second = passes_for(channels), passes_for(channels)
    assert first == second
    assert not first[0].neighbours
    assert all(len(set(step.neighbours)) == len(step.neighbours) for step in first)
    contexts = Contexts(np.zeros((channels, 6, 6), np.int64))
    for step in first:
        residuals = contexts.residuals(step)
        assert residuals.shape == (9, len(step.neighbours))
        assert contexts.spread_features(step, residuals).shape == (9, step.spread_features)


@settings(max_examples=25)
@given(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 1 << 32))
def test_arrays_are_what_a_loop_over_pixels_finds(channels: int, height: int, width: int, seed: int) -> None:
    means, pixels = random_content(channels, height, width, seed)
    contexts = Contexts(means)
    coded: dict[Place, int] = {}
    for step in passes_for(channels):
        own = places(step, height, width)
        residuals = contexts.residuals(step)
        features = contexts.spread_features(step, residuals)
        assert residuals.dtype == features.dtype == np.int64
        assert (len(residuals), len(features)) == (len(own), len(own))
        for row, feature, (channel, y, x) in zip(residuals.tolist(), features.tolist(), own, strict=True):
            assert row == [coded.get((c, y + down, x + right), 0) for c, down, right in step.neighbours]
            slopes = [[gradient(means, c, y, x, side) for side in SIDES] for c in range(channels)]
            others = [sum(slopes[c][k] for c in range(channels) if c != channel) for k in range(4)]
            assert feature == [UNIT, *map(abs, row), *slopes[channel], *others]
        contexts.learn(step, np.array([pixels[place] for place in own], np.int64))
        coded |= {place: int(pixels[place]) * UNIT - int(means[place]) for place in own}


def gradient(means: NDArray[np.int64], channel: int, y: int, x: int, side: tuple[int, int]) -> int:
    """Absolute difference from the pixel on one side; from itself at the picture's edge."""
    b = min(max(y + side[0], 0), means.shape[1] - 1)
    a = min(max(x + side[1], 0), means.shape[2] - 1)
    return abs(int(means[channel, y, x]) - int(means[channel, b, a]))


def test_means_are_not_changed() -> None:
    means, pixels = random_content(3, 5, 4, 1)
    before = means.copy()
    contexts = Contexts(means)
    for step in passes_for(3):
        contexts.spread_features(step, contexts.residuals(step))
        contexts.learn(step, pixels[step.channel][step.grid].reshape(-1))
    assert np.array_equal(means, before)
