"""The law of every channel: decode returns what encode returned, and reads exactly what was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.channel import ChannelId, Groups, StreamKey, TrellisChannel, make_channel
from tests.channel.channel_ports import MemoryPort, equal_groups

KINDS = ("none", "one", "bands", "all different", "mixed")


def groups_of(kind: str, count: int, dims: int, rng: np.random.Generator) -> Groups | None:
    """Groups of some kind, whose std and weights differ between images."""
    match kind:
        case "none":
            return None
        case "one":
            of = np.zeros(dims, np.int64)
        case "bands":
            of = rng.integers(0, 3, dims)
        case "all different":
            of = rng.permutation(dims)
        case _:
            of = np.where(np.arange(dims) % 2 == 0, 0, np.arange(dims))
    shape = count, int(of.max()) + 1
    return Groups(of, rng.uniform(0.2, 1.0, shape), rng.integers(1, 10 ** int(rng.integers(1, 8)), shape))


def round_trip(
    channel_id: ChannelId,
    effort: int,
    mean: NDArray[np.float32],
    groups: Groups | None,
    lengths: list[int],
    key: list[StreamKey],
) -> tuple[NDArray[np.float32], list[MemoryPort]]:
    ports = [MemoryPort() for _ in lengths]
    sent = make_channel(channel_id, effort).encode(mean, groups, lengths, key, ports)
    got = make_channel(channel_id, effort).decode(mean.shape[1], groups, lengths, key, ports)
    assert sent.dtype == np.float32
    assert sent.shape == mean.shape
    assert np.all(np.isfinite(sent))
    np.testing.assert_array_equal(got, sent)
    assert all(port.exhausted() for port in ports)
    return sent, ports


@settings(max_examples=80, deadline=None)
@given(
    effort=st.sampled_from([8, 9, 10, 12]),
    dims=st.one_of(st.integers(1, 20), st.integers(21, 3000)),
    lengths=st.lists(st.one_of(st.integers(0, 20), st.integers(21, 400)), min_size=0, max_size=4),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 2**64 - 1),
)
def test_trellis_round_trip(effort: int, dims: int, lengths: list[int], kind: str, seed: int, step: int) -> None:
    rng = np.random.default_rng(seed % 1000)
    mean = rng.standard_normal((len(lengths), dims)).astype(np.float32)
    groups = groups_of(kind, len(lengths), dims, rng)
    _, ports = round_trip(ChannelId.TRELLIS, effort, mean, groups, lengths, [StreamKey(seed, step)])
    for port, length in zip(ports, lengths, strict=True):
        assert sum(map(len, port.bits)) == length


@settings(max_examples=15, deadline=None)
@given(
    dims=st.integers(1, 300),
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=2),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**64 - 1),
)
def test_poisson_round_trip(dims: int, lengths: list[int], kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed % 1000)
    mean = rng.standard_normal((len(lengths), dims)).astype(np.float32)
    groups = groups_of(kind, len(lengths), dims, rng)
    round_trip(ChannelId.POISSON, 12, mean, groups, lengths, [StreamKey(seed, 0)])


@pytest.mark.parametrize("effort", [14, 16])
def test_high_efforts(effort: int) -> None:
    mean = np.random.default_rng(0).standard_normal((2, 500)).astype(np.float32)
    round_trip(ChannelId.TRELLIS, effort, mean, None, [40, 3], [StreamKey(0, 0)])


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_more_bits_than_dims(dims: int) -> None:
    mean = 5 * np.random.default_rng(0).standard_normal((2, dims)).astype(np.float32)
    groups = equal_groups(np.full(dims, 0.05), 2)
    round_trip(ChannelId.TRELLIS, 8, mean, groups, [9 * dims, 5000], [StreamKey(0, 0)])


@pytest.mark.parametrize("kind", ["none", "bands"])
def test_message_does_not_depend_on_the_batch(kind: str) -> None:
    rng = np.random.default_rng(3)
    mean = rng.standard_normal((5, 700)).astype(np.float32)
    groups = groups_of(kind, 5, 700, rng)
    lengths = [90, 3, 0, 200, 90]
    batch, together = round_trip(ChannelId.TRELLIS, 10, mean, groups, lengths, [StreamKey(1, 2)])
    for i, length in enumerate(lengths):
        own = groups and Groups(groups.of, groups.std[[i]], groups.weights[[i]])
        alone, ports = round_trip(ChannelId.TRELLIS, 10, mean[i : i + 1], own, [length], [StreamKey(1, 2)])
        np.testing.assert_array_equal(alone[0], batch[i])
        assert [bits.tobytes() for bits in ports[0].bits] == [bits.tobytes() for bits in together[i].bits]


@pytest.mark.parametrize("channel_id", [ChannelId.TRELLIS, ChannelId.POISSON])
def test_length_zero_is_shared_randomness(channel_id: ChannelId) -> None:
    mean = np.full((2, 4000), 0.01, np.float32)
    sent, ports = round_trip(channel_id, 12, mean, None, [0, 0], [StreamKey(0, 7)])
    assert not any(port.bits or port.symbols for port in ports)
    assert abs(sent[0].mean()) < 0.06
    assert abs(sent[0].var() - 1) < 0.08
    other, _ = round_trip(channel_id, 12, mean, None, [0, 0], [StreamKey(0, 8)])
    assert abs(np.corrcoef(sent[0], other[0])[0, 1]) < 0.08


def test_floats_do_not_steer_the_decoder() -> None:
    """A receiver whose std is off in the last digits reads the same bits and gets nearly the same sample."""
    rng = np.random.default_rng(5)
    mean, bands = rng.standard_normal((1, 600)).astype(np.float32), np.repeat([0.7, 0.9, 1.0], 200)
    port = MemoryPort()
    channel, key = TrellisChannel(10), [StreamKey(0, 0)]
    sent = channel.encode(mean, equal_groups(bands, 1), [120], key, [port])
    got = channel.decode(600, equal_groups(bands * (1 - 1e-9), 1), [120], key, [port])
    np.testing.assert_allclose(got, sent, atol=1e-5)


def test_refuses_nonsense() -> None:
    channel, key, port = TrellisChannel(8), [StreamKey(0, 0)], MemoryPort()
    mean = np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="effort"):
        TrellisChannel(7)
    with pytest.raises(ValueError, match="seed"):
        StreamKey(-1, 0)
    with pytest.raises(ValueError, match="shape"):
        channel.encode(mean[0], None, [3], key, [port])
    with pytest.raises(ValueError, match="finite"):
        channel.encode(np.full((1, 4), np.nan), None, [3], key, [port])
    with pytest.raises(ValueError, match="writer"):
        channel.encode(mean, None, [3], key, [port, port])
    with pytest.raises(ValueError, match="length"):
        channel.encode(mean, None, [3, 3], key, [port])
    with pytest.raises(ValueError, match="negative"):
        channel.decode(4, None, [-1], key, [port])
    with pytest.raises(ValueError, match="1 images of 4 numbers, got 1 of 3"):
        channel.decode(4, equal_groups(np.ones(3), 1), [1], key, [port])
    with pytest.raises(ValueError, match="1 images of 4 numbers, got 2 of 4"):
        channel.decode(4, equal_groups(np.ones(4), 2), [1], key, [port])


@pytest.mark.parametrize(
    ("of", "std", "weights", "message"),
    [
        ([0, 1], [[1.5, 1.0]], [[1, 1]], "std"),
        ([0, 1], [[0.0, 1.0]], [[1, 1]], "std"),
        ([0, 1], [[np.nan, 1.0]], [[1, 1]], "std"),
        ([0, 1], [[1.0, 1.0]], [[0, 1]], "weights"),
        ([0, 1], [[1.0, 1.0]], [[1 << 24, 1]], "weights"),
        ([0, 1], [[1.0, 1.0]], [[1.0, 1.0]], "weights"),
        ([0, 1], [[1.0, 1.0]], [[1]], "shape"),
        ([0, 2], [[1.0, 1.0]], [[1, 1]], "groups"),
        ([-1, 1], [[1.0, 1.0]], [[1, 1]], "groups"),
    ],
)
def test_groups_refuse_nonsense(
    of: list[int], std: list[list[float]], weights: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Groups(np.array(of), np.array(std), np.array(weights))
