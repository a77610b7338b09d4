"""Layout: every bit and every dim goes to one place, in integers, at any size."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.channel import StreamKey, TrellisChannel, delivered_bits
from diffcodec.channel.layout import LANE_BITS, lanes_of, state_bits
from diffcodec.channel.rotation import Rotation
from tests.channel.channel_ports import MemoryPort, gaussian_mean


@settings(max_examples=100, deadline=None)
@given(bits=st.integers(1, 20000), dims=st.integers(1, 20000), effort=st.integers(8, 16), weighted=st.booleans())
def test_lanes_share_bits_and_dims(bits: int, dims: int, effort: int, weighted: bool) -> None:
    weights = np.random.default_rng(bits).integers(1, 2**20, dims) if weighted else None
    lanes = lanes_of(bits, dims, effort, weights)
    assert sum(lane.bits for lane in lanes) == bits
    assert [lane.start for lane in lanes] == [0, *[lane.stop for lane in lanes[:-1]]]
    assert lanes[-1].stop == dims
    for lane in lanes:
        assert lane.borders[0] == 0
        assert lane.borders[-1] == lane.stop - lane.start
        assert np.all(np.diff(lane.borders) >= 0)
        assert len(lane.borders) == lane.positions + 1 == lane.bits - lane.memory + 2
        assert lane.bits <= max(LANE_BITS, -(-bits // dims))
        assert int(lane.pieces.filled.sum()) == lane.stop - lane.start


def test_equal_weights_are_laid_out_like_none() -> None:
    for bits, dims in ((50, 3072), (700, 3072), (5000, 1000)):
        plain = lanes_of(bits, dims, 12, None)
        weighted = lanes_of(bits, dims, 12, np.full(dims, 37))
        for a, b in zip(plain, weighted, strict=True):
            np.testing.assert_array_equal(a.borders, b.borders)


def test_nothing_overflows() -> None:
    dims = 1_000_000
    weights = np.full(dims, 2**49 // dims)
    lanes = lanes_of(3_000_000, dims, 12, weights)
    assert all(np.all(np.diff(lane.borders) >= 0) for lane in lanes)
    plain = lanes_of(3_000_000, dims, 12, None)
    np.testing.assert_allclose([lane.stop for lane in lanes], [lane.stop for lane in plain], atol=1)


def test_effort_is_a_budget() -> None:
    assert state_bits(12, 600, 3072) == 12
    assert state_bits(12, 20, 3072) == 14
    assert state_bits(8, 20, 3072) == 10
    assert state_bits(12, 20, 10_000_000) == 14  # wide
    assert state_bits(15, 20, 10_000_000) == 16
    assert state_bits(16, 20, 64) == 16


@pytest.mark.parametrize("groups", [None, np.tile([0, 1, 2, 2], 250)])
def test_rotation_is_orthonormal(groups: NDArray[np.int64] | None) -> None:
    rng = np.random.default_rng(0)
    rotation = Rotation(groups, 1000, [StreamKey(0, 0)])
    x = rng.standard_normal((5, 1000)).astype(np.float32)
    z = rotation.forward(x)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)
    np.testing.assert_allclose(rotation.inverse(z), x, atol=1e-5)
    for i in range(5):  # the same digits alone and beside others
        np.testing.assert_array_equal(rotation.forward(x[i : i + 1])[0], z[i])
        np.testing.assert_array_equal(rotation.inverse(z[i : i + 1]), rotation.inverse(z)[i : i + 1])
    spike = np.zeros((1, 1000), np.float32)
    spike[0, 4] = 1.0
    assert np.abs(rotation.forward(spike)).max() < 0.2


def test_rotation_keeps_to_groups() -> None:
    of = np.tile([0, 1, 2, 2], 250)
    rotation = Rotation(of, 1000, [StreamKey(0, 0)])
    rotated = rotation.forward(np.where(of == 1, 1.0, 0.0).astype(np.float32)[None])[0]
    groups = rotation.groups_of(0)
    assert np.all(rotated[groups != 1] == 0)
    np.testing.assert_allclose(np.linalg.norm(rotated), np.sqrt(250), rtol=1e-5)


def test_many_lanes_in_little_memory() -> None:
    """A 512 x 512 photograph's step: ten lanes, and no more than some tens of megabytes."""
    dims, kl = 3 * 512 * 512, 20_000.0
    channel = TrellisChannel(8)
    mean = gaussian_mean(np.random.default_rng(0), 1, dims, kl)
    length = channel.length_for(kl, dims)
    port = MemoryPort()
    tracemalloc.start()
    y = channel.encode(mean, None, [length], [StreamKey(0, 0)], [port])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
    assert delivered_bits(y, mean, 1.0)[0] == pytest.approx(kl, rel=0.01)
    np.testing.assert_array_equal(channel.decode(dims, None, [length], [StreamKey(0, 0)], [port]), y)
