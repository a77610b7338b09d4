"""Coded coordinates of states: they can be taken out and put back, and determine the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.bitstream.container import ColourMode
from diffcodec.coding.canvas import GREY, PIXEL_KINDS, PLANE, RGB, Canvas, SignalKind
from diffcodec.coding.signals import PICTURES, Signal
from tests.conftest import smooth_pixels

sizes = st.integers(1, 20)
kinds = st.sampled_from([RGB, GREY, PLANE])


def canvas_of(signal: Signal, width: int, height: int, stride: int) -> Canvas:
    return Canvas(signal.kind, width, height, stride)


@settings(max_examples=60)
@given(kind=kinds, width=sizes, height=sizes, stride=st.sampled_from([1, 4, 8]))
def test_pictures_become_signals_and_come_back(kind: SignalKind, width: int, height: int, stride: int) -> None:
    signal = PICTURES[kind]
    canvas = canvas_of(signal, width, height, stride)
    pixels = smooth_pixels(height, width)
    pixels = pixels if kind is RGB else pixels[..., 1].copy()
    x_0 = signal.from_pixels(pixels, canvas)
    assert x_0.shape == canvas.shape
    for side, length in zip(x_0.shape[1:], (height, width), strict=True):
        assert side % stride == 0
        assert side - stride < length <= side
    np.testing.assert_array_equal(signal.to_pixels(x_0, canvas), pixels)
    levels = signal.grey_levels(x_0, canvas)
    assert levels.shape == ((3, height, width) if kind is RGB else (1, height, width))
    np.testing.assert_allclose(levels[0], pixels[..., 0] if kind is RGB else pixels, atol=1e-4)
    assert torch.allclose(signal.restrict(x_0[None])[0], x_0, atol=1e-6)


@settings(max_examples=60)
@given(
    kind=kinds,
    width=sizes,
    height=sizes,
    stride=st.sampled_from([1, 4, 8]),
    count=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_coded_coordinates_are_put_where_they_are_taken_from(
    kind: SignalKind, width: int, height: int, stride: int, count: int, seed: int
) -> None:
    signal, rng = PICTURES[kind], np.random.default_rng(seed)
    canvas = canvas_of(signal, width, height, stride)
    coded = rng.standard_normal((count, *canvas.coded_shape)).astype(np.float32)
    assert canvas.dims == coded[0].size
    noise = None if canvas.is_all_coded else rng.standard_normal(canvas.shape).astype(np.float32)
    states = signal.with_coded(noise, coded, canvas)
    assert states.shape == (count, *canvas.shape)
    np.testing.assert_allclose(signal.coded(states, canvas), coded, rtol=1e-5, atol=1e-5)
    if noise is not None:
        # The coordinates are orthonormal: the state moves as far as they do.
        moved = states - signal.with_coded(noise, np.zeros_like(coded), canvas)
        lengths = np.linalg.norm(coded.reshape(count, -1), axis=1)
        np.testing.assert_allclose(moved.flatten(1).norm(dim=1).numpy(), lengths, rtol=1e-4)


def test_grey_signals_are_equal_in_all_channels() -> None:
    signal = PICTURES[GREY]
    x_0 = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    restricted = signal.restrict(x_0)
    assert torch.equal(restricted[:, 0], restricted[:, 1])
    assert torch.equal(restricted[:, 0], restricted[:, 2])
    assert float(restricted.abs().max()) <= 1
    # A grey state has the norm of its coded coordinate.
    coded = signal.coded(restricted, Canvas(signal.kind, 4, 4, 4))
    assert float((restricted**2).sum()) == pytest.approx(float((coded**2).sum()), rel=1e-5)
    assert coded[0, 0, 0, 0] == pytest.approx(math.sqrt(3) * float(restricted[0, 0, 0, 0]), rel=1e-5)


def test_every_kind_has_a_signal_with_the_channels_of_its_networks() -> None:
    for channels, by_mode in PIXEL_KINDS.items():
        assert {kind.channels for kind in by_mode.values()} == {channels}
        assert all(PICTURES[kind].kind is kind for kind in by_mode.values())
    assert set(PIXEL_KINDS[3]) == set(ColourMode)


def test_only_whole_canvases_without_uncoded_channels_are_all_coded() -> None:
    for kind in (RGB, PLANE):
        assert Canvas(kind, 8, 4, 4).is_all_coded
        assert not Canvas(kind, 8, 3, 4).is_all_coded
    assert not Canvas(GREY, 8, 4, 4).is_all_coded
