"""Randomness shared by encoder and decoder, from a counter-based generator.

Everything starts from raw 64-bit words of Philox4x64-10 (Salmon et al. 2011), whose output numpy guarantees; the
methods of `numpy.random.Generator` may change between releases and are not used. Only integers, exact on every machine,
determine the layout; normals are used only as values.

The Philox key is (seed, step); the upper half of the counter is (lane, purpose). So streams of different purposes or
lanes are disjoint pieces of 2**128 blocks each.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.base import StreamKey

STATIC_KEY = StreamKey(seed=0x6469666663, step=0x6F646563)
"""Key of tables that are the same for every file; spells 'diffc', 'odec'."""

COLUMNS = 64
"""Columns of the shared tables: the most dims that use one table row."""

_SORTED_UP_TO = 1 << 16
_NORMALS_AT_ONCE = 1 << 20  # for a whole large picture, doubles would take as much memory as a network


class Purpose(IntEnum):
    """Use of a stream of shared integers; part of the format."""

    NORMALS = 1
    SIGNS = 2
    ORDER = 3
    TRELLIS_TABLE = 4
    ROLLS = 5
    POISSON_TABLE = 6
    POISSON_ROWS = 7
    ARRIVALS = 8


def shared_integers(key: StreamKey, purpose: Purpose, lane: int, count: int) -> NDArray[np.uint64]:
    """The first `count` words of a stream, shape (count,), uniform over 64 bits."""
    philox = np.random.Philox(
        key=np.array([key.seed, key.step], np.uint64), counter=np.array([0, 0, lane, purpose], np.uint64)
    )
    words: NDArray[np.uint64] = philox.random_raw(count)
    return words


def shared_halves(key: StreamKey, purpose: Purpose, lane: int, count: int) -> NDArray[np.uint16]:
    """Uniform 16-bit integers, shape (count,): four per word, lowest bits first on every machine."""
    words = shared_integers(key, purpose, lane, -(-count // 4))
    return words.astype("<u8", copy=False).view("<u2")[:count]


def _normal_quantile(probability: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The inverse normal CDF; imported late, since files are described and cut without it and it takes 0.15 s."""
    from scipy.special import ndtri

    quantile: NDArray[np.float64] = ndtri(probability)
    return quantile


def shared_normals(key: StreamKey, lane: int, count: int) -> NDArray[np.float32]:
    """Samples of N(0, 1), shape (count,): the inverse normal CDF of (u + 1/2) / 2**32 for 32-bit u."""
    words = shared_integers(key, Purpose.NORMALS, lane, -(-count // 2))
    u = words.astype("<u8", copy=False).view("<u4")[:count]
    normals = np.empty(count, np.float32)
    for start in range(0, count, _NORMALS_AT_ONCE):
        part = slice(start, start + _NORMALS_AT_ONCE)
        normals[part] = _normal_quantile((u[part] + 0.5) * 2.0**-32)
    return normals


def shared_rough_normals(key: StreamKey, lane: int, count: int) -> NDArray[np.float32]:
    """As `shared_normals`, from 16 bits each: (u + 1/2) / 2**16. Five times as fast."""
    normals: NDArray[np.float32] = normal_quantiles()[shared_halves(key, Purpose.NORMALS, lane, count)]
    return normals


def shared_signs(key: StreamKey, lane: int, count: int) -> NDArray[np.float32]:
    """Fair signs, each -1 or 1, shape (count,)."""
    words = shared_integers(key, Purpose.SIGNS, lane, -(-count // 64))
    bits = np.unpackbits(words.astype("<u8", copy=False).view(np.uint8), count=count, bitorder="little")
    return 1.0 - 2.0 * bits.astype(np.float32)


def shared_order(key: StreamKey, dims: int) -> NDArray[np.int64]:
    """A permutation of range(dims) that both sides know.

    Up to 65,536 dims it is a random shuffle. For more, sorting would take longer than the coding, so it is an affine
    map: i -> (a i + b) mod dims with a near the golden section of dims and b random. Multiples of the golden section
    are spread as evenly as possible, so every run of positions gets nearly the same share of any interval, or regular
    comb, of the input. The rotation has already mixed coefficients of equal std, so no more randomness is needed.
    """
    if dims <= _SORTED_UP_TO:
        words = shared_integers(key, Purpose.ORDER, 0, dims)
        return np.argsort(words, kind="stable").astype(np.int64)
    factor = (dims * 2654435769) >> 32
    while gcd(factor, dims) != 1:
        factor += 1
    start = int(shared_integers(key, Purpose.ORDER, 0, 1)[0]) % dims
    return (np.arange(dims, dtype=np.int64) * factor + start) % dims


@lru_cache(maxsize=1)
def normal_quantiles() -> NDArray[np.float32]:
    """The inverse normal CDF of (u + 1/2) / 2**16 for 16-bit u, shape (65536,)."""
    quantiles: NDArray[np.float32] = _normal_quantile((np.arange(1 << 16) + 0.5) * 2.0**-16).astype(np.float32)
    quantiles.setflags(write=False)
    return quantiles


@lru_cache(maxsize=4)
def candidate_table(rows_log2: int) -> NDArray[np.float32]:
    """Independent N(0, 1) values on a 16-bit grid of quantiles, (2**rows_log2, COLUMNS); the same for all files."""
    table: NDArray[np.float32] = normal_quantiles()[
        shared_halves(STATIC_KEY, Purpose.POISSON_TABLE, 0, COLUMNS << rows_log2)
    ].reshape(-1, COLUMNS)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=4)
def candidate_squares(rows_log2: int) -> NDArray[np.float32]:
    """Squares of `candidate_table`, same shape."""
    return np.square(candidate_table(rows_log2))


@lru_cache(maxsize=16)
def label_table(rows: int) -> NDArray[np.float32]:
    """Values for the branches of a trellis, shape (2 * rows, COLUMNS); the same for all files.

    Rows [0, rows) of a column, with both signs, have exactly the distribution of the quantiles of N(0, 1), and
    so have rows [rows, 2 * rows): a position with one dim uses one column, whose variance must be exact.

    Args:
        rows: a power of two, at most 2**16.
    """
    magnitude = _normal_quantile(0.5 + (np.arange(rows) + 0.5) / (2.0 * rows))
    magnitude /= np.sqrt(np.mean(magnitude**2))
    random = shared_halves(STATIC_KEY, Purpose.TRELLIS_TABLE, rows, 4 * COLUMNS * rows).reshape(2, COLUMNS, 2, rows)
    rank = np.argsort(random[0], axis=-1, kind="stable")  # (COLUMNS, 2, rows)
    signed = magnitude[rank] * (1.0 - 2.0 * (random[1] & 1))
    table: NDArray[np.float32] = np.ascontiguousarray(signed.reshape(COLUMNS, 2 * rows).T, np.float32)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def piece_rolls() -> NDArray[np.int64]:
    """Random row offsets for blocks wider than the table, 16 bits each, shape (4096,)."""
    rolls = shared_halves(STATIC_KEY, Purpose.ROLLS, 0, 4096).astype(np.int64)
    rolls.setflags(write=False)
    return rolls
