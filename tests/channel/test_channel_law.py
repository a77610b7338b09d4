"""The law of every channel: decode returns what encode returned, and reads exactly what was written."""

import numpy as np
import pytest
from channel_ports import MemoryPort
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.channel import ChannelId, StreamKey, TrellisChannel, make_channel

STDS = ("one", "number", "bands", "all different", "mixed")


def std_of(kind: str, dims: int, rng: np.random.Generator) -> float | np.ndarray:
    match kind:
        case "one":
            return 1.0
        case "number":
            return 0.8
        case "bands":
            return rng.choice([0.5, 0.9, 1.0], dims)
        case "all different":
            return rng.uniform(0.3, 1.0, dims).astype(np.float32)
        case _:
            return np.where(np.arange(dims) % 2 == 0, 1.0, rng.uniform(0.9, 1.0, dims))


def round_trip(channel_id, effort, mean, std, lengths, key, weights):
    ports = [MemoryPort() for _ in lengths]
    sent = make_channel(channel_id, effort).encode(mean, std, lengths, key, ports, weights)
    got = make_channel(channel_id, effort).decode(mean.shape[1], std, lengths, key, ports, weights)
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
    std=st.sampled_from(STDS),
    weighted=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 2**64 - 1),
)
def test_trellis_round_trip(effort, dims, lengths, std, weighted, seed, step):
    rng = np.random.default_rng(seed % 1000)
    mean = rng.standard_normal((len(lengths), dims)).astype(np.float32)
    weights = rng.integers(1, 10 ** int(rng.integers(1, 17)), dims) if weighted else None
    _, ports = round_trip(
        ChannelId.TRELLIS, effort, mean, std_of(std, dims, rng), lengths, StreamKey(seed, step), weights
    )
    for port, length in zip(ports, lengths, strict=True):
        assert sum(map(len, port.bits)) == length


@settings(max_examples=15, deadline=None)
@given(
    dims=st.integers(1, 300),
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=2),
    std=st.sampled_from(STDS),
    weighted=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
def test_poisson_round_trip(dims, lengths, std, weighted, seed):
    rng = np.random.default_rng(seed % 1000)
    mean = rng.standard_normal((len(lengths), dims)).astype(np.float32)
    weights = rng.integers(1, 100, dims) if weighted else None
    round_trip(ChannelId.POISSON, 12, mean, std_of(std, dims, rng), lengths, StreamKey(seed, 0), weights)


@pytest.mark.parametrize("effort", [14, 16])
def test_high_efforts(effort):
    mean = np.random.default_rng(0).standard_normal((2, 500)).astype(np.float32)
    round_trip(ChannelId.TRELLIS, effort, mean, 1.0, [40, 3], StreamKey(0, 0), None)


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_more_bits_than_dims(dims):
    mean = 5 * np.random.default_rng(0).standard_normal((2, dims)).astype(np.float32)
    round_trip(ChannelId.TRELLIS, 8, mean, 0.05, [9 * dims, 5000], StreamKey(0, 0), None)


@pytest.mark.parametrize("std", ["one", "bands"])
def test_message_does_not_depend_on_the_batch(std):
    rng = np.random.default_rng(3)
    mean = rng.standard_normal((5, 700)).astype(np.float32)
    scale = std_of(std, 700, rng)
    lengths = [90, 3, 0, 200, 90]
    batch, together = round_trip(ChannelId.TRELLIS, 10, mean, scale, lengths, StreamKey(1, 2), None)
    for i, length in enumerate(lengths):
        alone, ports = round_trip(ChannelId.TRELLIS, 10, mean[i : i + 1], scale, [length], StreamKey(1, 2), None)
        np.testing.assert_array_equal(alone[0], batch[i])
        assert [bits.tobytes() for bits in ports[0].bits] == [bits.tobytes() for bits in together[i].bits]


@pytest.mark.parametrize("channel_id", list(ChannelId))
def test_length_zero_is_shared_randomness(channel_id):
    mean = np.full((2, 4000), 0.01, np.float32)
    sent, ports = round_trip(channel_id, 12, mean, 1.0, [0, 0], StreamKey(0, 7), None)
    assert not any(port.bits or port.symbols for port in ports)
    assert abs(sent[0].mean()) < 0.06
    assert abs(sent[0].var() - 1) < 0.08
    other, _ = round_trip(channel_id, 12, mean, 1.0, [0, 0], StreamKey(0, 8), None)
    assert abs(np.corrcoef(sent[0], other[0])[0, 1]) < 0.08


def test_floats_do_not_steer_the_decoder():
    """A receiver whose std is off in the last digits reads the same bits and gets nearly the same sample."""
    rng = np.random.default_rng(5)
    mean, bands = rng.standard_normal((1, 600)).astype(np.float32), np.repeat([0.7, 0.9, 1.0], 200)
    port = MemoryPort()
    channel, key = TrellisChannel(10), StreamKey(0, 0)
    sent = channel.encode(mean, bands, [120], key, [port], np.ones(600, np.int64))
    got = channel.decode(600, bands * (1 - 1e-9), [120], key, [port], np.ones(600, np.int64))
    np.testing.assert_allclose(got, sent, atol=1e-5)


def test_refuses_nonsense():
    channel, key, port = TrellisChannel(8), StreamKey(0, 0), MemoryPort()
    mean = np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="effort"):
        TrellisChannel(7)
    with pytest.raises(ValueError, match="seed"):
        StreamKey(-1, 0)
    with pytest.raises(ValueError, match="shape"):
        channel.encode(mean[0], 1.0, [3], key, [port])
    with pytest.raises(ValueError, match="finite"):
        channel.encode(np.full((1, 4), np.nan), 1.0, [3], key, [port])
    with pytest.raises(ValueError, match="writer"):
        channel.encode(mean, 1.0, [3], key, [port, port])
    with pytest.raises(ValueError, match="length"):
        channel.encode(mean, 1.0, [3, 3], key, [port])
    with pytest.raises(ValueError, match="negative"):
        channel.decode(4, 1.0, [-1], key, [port])
    with pytest.raises(ValueError, match="std"):
        channel.decode(4, 1.5, [1], key, [port])
    with pytest.raises(ValueError, match="std"):
        channel.decode(4, np.ones(3), [1], key, [port])
    with pytest.raises(ValueError, match="weights"):
        channel.decode(4, 1.0, [1], key, [port], np.zeros(4, np.int64))
