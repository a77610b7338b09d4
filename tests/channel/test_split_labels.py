"""Labels that depend on halves of the state's bits."""

from __future__ import annotations

import numpy as np
import pytest

from diffcodec.channel import StreamKey, TrellisChannel, delivered_bits, kl_bits
from diffcodec.channel.layout import is_wide, lanes_of
from diffcodec.channel.split_labels import row_halves, split_values
from tests.channel.channel_ports import MemoryPort, gaussian_mean


@pytest.mark.parametrize("bits", range(8, 16))
def test_a_half_sees_every_other_bit_and_the_newest_two(bits: int) -> None:
    halves = row_halves(bits)
    rows = np.arange(1 << bits)
    for half, size in enumerate(halves.sizes):
        seen = halves.of(half, rows)
        assert sorted(set(seen.tolist())) == list(range(size))
        seen_bits = {bit for bit in range(bits) if (halves.of(half, rows ^ (1 << bit)) != seen).any()}
        assert seen_bits == {*range(half, bits, 2), *[bit for bit in range(bits) if (bit - half) % 2][-2:]}
        assert len(seen_bits) == -(-(bits - half) // 2) + 2
    # Together they see all of a row.
    assert len({*zip(*(halves.of(half, rows).tolist() for half in range(2)), strict=True)}) == len(rows)


@pytest.mark.parametrize("memory", [10, 12, 13, 16])
def test_labels_have_the_law_of_the_prior(memory: int) -> None:
    (lane,) = lanes_of(1500, 150_000, memory - 2, None)
    assert lane.split
    assert lane.memory == memory
    values = split_values(lane, np.random.default_rng(0).integers(0, lane.rows, lane.positions))[lane.pieces.filled]
    assert np.mean(values) == pytest.approx(0, abs=0.02)
    assert np.var(values) == pytest.approx(1, abs=0.02)


def test_only_wide_messages_are_split_and_have_more_states() -> None:
    assert is_wide(100, 3200)
    assert not is_wide(100, 3199)
    (narrow,), (wide,) = lanes_of(1000, 31_999, 12, None), lanes_of(1000, 32_000, 12, None)
    assert (narrow.memory, narrow.split) == (12, False)
    assert (wide.memory, wide.split) == (14, True)
    assert not lanes_of(9, 10_000, 8, None)[0].split


@pytest.mark.parametrize(("effort", "most"), [(8, 1.13), (10, 1.09), (12, 1.075), (14, 1.06)])
def test_a_delivered_bit_costs_little(effort: int, most: float) -> None:
    channel, dims, pictures = TrellisChannel(effort), 60_000, 6
    means = gaussian_mean(np.random.default_rng(1), pictures, dims, 600.0)
    lengths = [channel.length_for(float(kl), dims) for kl in kl_bits(means, 1.0)]
    ports = [MemoryPort() for _ in means]
    sample = channel.encode(means, None, lengths, [StreamKey(0, 7)], ports)
    delivered = float(delivered_bits(sample, means, 1.0).sum())
    assert delivered == pytest.approx(600.0 * pictures, rel=0.02)
    assert sum(lengths) / delivered < most
