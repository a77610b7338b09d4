"""Rounds real numbers that two machines know approximately to integers that they know exactly.

Encoder and decoder both hold the network's estimate, but its last digits differ between machines. Rounding alone
does not help: a value next to a boundary is rounded up on one machine and down on the other. So the encoder moves the
boundaries: for every block of values it takes the first pattern of a shared list whose boundaries are farther from all
values than the guard, and sends its number. Values that differ by less than the guard are then rounded alike, and
parsing does not depend on any float.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.errors import CorruptStreamError

UNIT = 128
"""Rounded values are integers in units of 1 / UNIT grey level."""

GUARD = 1
"""Boundaries keep at least this distance from every value, in units."""

BLOCK = 128
"""Number of values that share a pattern."""

PATTERNS = 1024
"""Length of the list of patterns."""

MAX_SPACING = 256 * UNIT
"""Largest useful spacing: the whole range of grey levels."""

_STEP = 2 * GUARD
_WEIGHT_BITS = 23


def round_values(values: NDArray[np.float64], spacing: int, out: SymbolWriter) -> NDArray[np.int64]:
    """Round values to integers, and write the pattern numbers with which a receiver does the same.

    Args:
        values: in units, finite, shape (n,).
        spacing: distance of the boundaries, in units: a power of two, at least 4. It is doubled for a block with no
            clear pattern.
        out: takes the numbers of the patterns.

    Returns:
        Shape (n,); each the middle of the interval between boundaries that contains the value.
    """
    rounded = np.empty(len(values), np.int64)
    for start in range(0, len(values), BLOCK):
        block, width = values[start : start + BLOCK], spacing
        while (pattern := _first_clear(block, width)) is None:
            out.write_symbols(np.array([PATTERNS]), _weights(width))
            width *= 2
        out.write_symbols(np.array([pattern]), _weights(width))
        rounded[start : start + BLOCK] = _middles(block, width, pattern)
    return rounded


def round_alike(values: NDArray[np.float64], spacing: int, source: SymbolReader) -> NDArray[np.int64]:
    """Round values as the encoder rounded its values, which must differ by less than the guard.

    Args:
        values: in units, shape (n,).
        spacing: as for `round_values`.
        source: gives the numbers of the patterns.

    Raises:
        CorruptStreamError: if the numbers are invalid.
    """
    rounded = np.empty(len(values), np.int64)
    for start in range(0, len(values), BLOCK):
        width = spacing
        while (pattern := int(source.read_symbols(1, _weights(width))[0])) == PATTERNS:
            width *= 2
            if width > MAX_SPACING:
                raise CorruptStreamError("a block of the estimate has no valid rounding pattern")
        rounded[start : start + BLOCK] = _middles(values[start : start + BLOCK], width, pattern)
    return rounded


def _boundaries(width: int, pattern: int, count: int) -> NDArray[np.int64]:
    """Positions of a pattern's boundaries, modulo the spacing, for each value of a block.

    Pattern b n + a, with n the number of possible places, puts the i-th value's boundary at place a + b i. Each
    slope b gives n patterns, and different slopes are nearly independent.
    """
    places = width // _STEP
    slope, intercept = divmod(pattern, places)
    return (intercept + slope * np.arange(count)) % places * _STEP


def _first_clear(block: NDArray[np.float64], width: int) -> int | None:
    """The first pattern whose boundaries are all farther than the guard from the values; None if there is none."""
    places = width // _STEP
    # The only place where a boundary would be too close to the value.
    taken = np.floor((block + GUARD) / _STEP).astype(np.int64) % places
    index = np.arange(len(block))
    for slope in range(-(-PATTERNS // places)):
        free = np.ones(places, bool)
        free[(taken - slope * index) % places] = False
        first = int(free.argmax())
        if free[first]:
            pattern = slope * places + first
            return pattern if pattern < PATTERNS else None
    return None


def _middles(block: NDArray[np.float64], width: int, pattern: int) -> NDArray[np.int64]:
    boundaries = _boundaries(width, pattern, len(block))
    return np.floor((block - boundaries) / width).astype(np.int64) * width + boundaries + width // 2


@lru_cache(maxsize=32)
def _weights(width: int) -> NDArray[np.int64]:
    """Probability of each pattern to be the first clear one, for uniform values; last, that none is clear.

    A boundary is clear of one value with probability 1 - 1 / n, and of a block's values with p, the BLOCK-th power of
    that; the first clear pattern follows the geometric distribution of p. Integers only.
    """
    places = width // _STEP
    one = 1 << 40
    clear = one * (places - 1) ** BLOCK // places**BLOCK
    weights, left = [], one
    for _ in range(PATTERNS):
        weights.append(left * clear >> 80 - _WEIGHT_BITS)
        left = left * (one - clear) >> 40
    weights.append(left >> 40 - _WEIGHT_BITS)
    return np.maximum(np.array(weights, np.int64), 1)
