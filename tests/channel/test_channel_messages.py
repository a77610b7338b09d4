"""Messages as objects: selected without a stream, written, read back, and turned into samples; and what they hold."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.channel import (
    ChannelId,
    Groups,
    PendingGroups,
    StreamKey,
    delivered_bits,
    kl_bits,
    make_channel,
    measure_information,
)
from diffcodec.channel.threads import in_threads

DIMS = 600


@pytest.fixture
def groups() -> Groups:
    of = np.arange(DIMS) % 3
    return Groups(of, np.array([[0.9, 0.6, 0.3], [1.0, 0.7, 0.5]]), np.array([[1, 4, 9], [1, 3, 6]]))


@pytest.mark.parametrize("channel_id", [ChannelId.TRELLIS, ChannelId.POISSON])
def test_messages_are_written_and_read_one_by_one(channel_id: ChannelId, groups: Groups) -> None:
    channel, keys = make_channel(channel_id, 8), [StreamKey(3, 1), StreamKey(3, 2)]
    mean = np.random.default_rng(0).normal(0, 0.5, (2, DIMS)).astype(np.float32)
    lengths = [channel.length_for(kl, DIMS) for kl in kl_bits(mean, groups.each_std)]
    messages, sample = channel.select(mean, groups, lengths, keys)
    writer = SymbolWriter()
    for message in messages:
        channel.write(message, writer)
    reader = SymbolReader(writer.getvalue())
    for i, message in enumerate(messages):
        own = Groups(groups.of, groups.std[i : i + 1], groups.weights[i : i + 1])
        read = channel.read(DIMS, PendingGroups.of_image(groups, i), lengths[i], keys[i], reader)
        np.testing.assert_array_equal(read, message)
        alone = channel.samples(DIMS, own, [lengths[i]], [keys[i]], [read])
        np.testing.assert_array_equal(alone[0], sample[i])


def test_no_length_is_no_message() -> None:
    for channel_id in (ChannelId.TRELLIS, ChannelId.POISSON):
        channel, writer = make_channel(channel_id, 8), SymbolWriter()
        (message,), sample = channel.select(np.zeros((1, 40), np.float32), None, [0], [StreamKey(0, 0)])
        channel.write(message, writer)
        assert writer.getvalue() == b""
        assert sample.std() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("grouped", [False, True])
def test_information_in_one_pass(groups: Groups, *, grouped: bool) -> None:
    rng = np.random.default_rng(1)
    mean, noise = (rng.normal(0, 0.7, (2, DIMS)).astype(np.float32) for _ in range(2))
    std = groups.each_std if grouped else np.ones((2, DIMS), np.float32)
    sample = (mean + std * noise).astype(np.float32)
    divergence, arrived = measure_information(sample, mean, groups if grouped else None)
    np.testing.assert_allclose(divergence, kl_bits(mean, std), rtol=1e-4)
    np.testing.assert_allclose(arrived, delivered_bits(sample, mean, std), rtol=1e-4, atol=0.05)


def test_threads_start_no_threads() -> None:
    def names(_: int) -> set[str]:
        return {threading.current_thread().name, *in_threads(lambda _: threading.current_thread().name, [0, 1], 2)}

    outer = in_threads(names, [0, 1, 2, 3], 2)
    assert all(len(each) == 1 for each in outer)
    assert in_threads(lambda x: x * x, list(range(9)), 3) == [x * x for x in range(9)]
