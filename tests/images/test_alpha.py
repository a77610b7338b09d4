"""The alpha packet."""

import contextlib
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from diffcodec.errors import CorruptStreamError
from diffcodec.images import AlphaMethod, decode_alpha, encode_alpha

RNG = np.random.default_rng(0)

planes = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda shape: st.one_of(
        arrays(np.uint8, shape),
        arrays(np.uint8, shape, elements=st.sampled_from([0, 255])),
        arrays(np.uint8, shape, elements=st.integers(7, 7)),
    )
)


@given(planes)
def test_alpha_round_trip(alpha: NDArray[np.uint8]) -> None:
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, alpha.shape[1], alpha.shape[0]), alpha)
    assert len(data) <= alpha.size + 6 * (1 + alpha.size // 16000)
    for cut in range(len(data)):
        with pytest.raises(CorruptStreamError):
            decode_alpha(data[:cut], alpha.shape[1], alpha.shape[0])


def test_each_alpha_method_has_its_use() -> None:
    ramp = np.add.outer(np.arange(40), 3 * np.arange(50)).astype(np.uint8)
    noise_row = RNG.integers(0, 256, 300, dtype=np.uint8)
    for method, alpha in (
        (AlphaMethod.CONSTANT, np.full((9, 9), 200, np.uint8)),
        (AlphaMethod.PLAIN, RNG.choice(np.array([3, 90], np.uint8), (40, 50))),
        (AlphaMethod.LEFT, ramp + RNG.integers(0, 256, (40, 1), dtype=np.uint8)),
        (AlphaMethod.UP, noise_row + np.arange(40, dtype=np.uint8)[:, None]),
        (AlphaMethod.BINARY, RNG.choice(np.array([0, 255], np.uint8), (41, 51))),
    ):
        data = encode_alpha(alpha)
        assert data[0] == method
        assert np.array_equal(decode_alpha(data, alpha.shape[1], alpha.shape[0]), alpha)


@given(st.binary(max_size=40))
def test_damaged_alpha_raises_ours(data: bytes) -> None:
    for packet in (data, *(bytes([method]) + data for method in AlphaMethod)):
        with contextlib.suppress(CorruptStreamError):
            assert decode_alpha(packet, 3, 2).shape == (2, 3)


def test_alpha_bomb_is_bounded() -> None:
    bomb = bytes([AlphaMethod.PLAIN]) + zlib.compress(bytes(50_000_000), 9, wbits=-15)
    with pytest.raises(CorruptStreamError, match="exactly 6 bytes"):
        decode_alpha(bomb, 3, 2)
