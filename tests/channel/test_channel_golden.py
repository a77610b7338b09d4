"""Files must stay readable: fixed messages stand for fixed samples."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcodec.channel import ChannelId, StreamKey, make_channel
from tests.channel.channel_ports import MemoryPort, equal_groups

# Channel, effort, dims, length, std.
CASES = [
    (ChannelId.TRELLIS, 12, 3072, 0, "one"),
    (ChannelId.TRELLIS, 12, 3072, 5, "one"),
    (ChannelId.TRELLIS, 12, 3072, 150, "one"),
    (ChannelId.TRELLIS, 8, 3072, 5000, "one"),
    (ChannelId.TRELLIS, 10, 3072, 500, "bands"),
    (ChannelId.TRELLIS, 8, 70000, 100, "bands"),
    (ChannelId.TRELLIS, 8, 3, 40, "one"),
    (ChannelId.POISSON, 12, 3072, 10, "one"),
    (ChannelId.POISSON, 12, 3072, 3, "bands"),
]
GOLDEN = [
    [0.40487, 0.73483, 0.46149, -1.78533],
    [-0.92145, -0.12683, -0.00219, -0.91097],
    [-1.42309, -2.1974, 0.87207, 0.06247],
    [-1.06743, 0.53495, -0.70431, 0.25144],
    [-2.188, -1.82089, 0.23828, 0.05413],
    [-1.22555, -0.76214, -1.81024, -0.00768],
    [0.7376, 0.7376, 0.66811, -0.83312],
    [-0.07582, 0.06221, -0.03028, -0.23777],
    [-0.4736, 0.04031, -2.20636, 0.71172],
]


def received(channel_id: ChannelId, effort: int, dims: int, length: int, std: str) -> NDArray[np.float32]:
    """Four values of the sample that a made-up message stands for."""
    port = MemoryPort()
    port.bits.append((np.arange(length) ** 2 // 7 % 2).astype(np.uint8))
    port.symbols.append(np.arange(length) * 977 % 65536)
    index, groups = np.arange(dims), None
    if std == "bands":
        groups = equal_groups(np.array([0.5, 0.75, 1.0])[index % 3], 1, np.array([900, 300, 40])[index % 3])
    y = make_channel(channel_id, effort).decode(dims, groups, [length], [StreamKey(5, 6)], [port])
    some: NDArray[np.float32] = y[0, np.linspace(0, dims - 1, 4).astype(int)]
    return some


@pytest.mark.parametrize(("case", "golden"), list(zip(CASES, GOLDEN, strict=True)))
def test_messages_keep_their_meaning(case: tuple[ChannelId, int, int, int, str], golden: list[float]) -> None:
    np.testing.assert_allclose(received(*case), golden, atol=1e-4)
