"""Coding of the step lengths, the only side information of a file: integers only.

Both sides expect a length for every step, from static tables, and know the ratio of the file's earlier lengths to the
expected ones. The code sends the distance between the length and that prediction, on a coarse grid: a slightly wrong
length costs almost nothing, because the next step corrects it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.bitstream.entropy_models import MAX_TOTAL
from diffcodec.errors import ConfigError, CorruptStreamError

LENGTH_SCALE = 256
"""Expected lengths are in units of 1 / LENGTH_SCALE bits."""

REACH = 8
"""Largest distance from the prediction, in grid steps, that has its own symbol."""

ESCAPE = 2 * REACH + 1
"""The symbol that precedes an explicit grid index."""

CONTEXT_BITS = (1, 3, 8, 32, 1024)
"""A prediction of fewer bits than CONTEXT_BITS[c], but at least the previous entry, has context c."""

PRIOR = 8 * LENGTH_SCALE
"""Weight of the expected lengths, in their units: as if 8 bits had been sent as expected."""

MEMORY = (5, 8)
"""Factor by which the past is discounted at each step, as numerator and denominator."""

_FINE_FROM = 1024
_LARGEST = 1 << 32


def _make_grid() -> tuple[int, ...]:
    grid = [0]
    while grid[-1] < _LARGEST:
        last = grid[-1]
        grid.append(last + max(1, last // (6 if last < _FINE_FROM else 16)))
    return tuple(grid)


GRID = _make_grid()
"""The lengths that can be sent, in bits: all up to 11, then about 17 % apart, and 6 % from 1024 on."""

MAX_LENGTH = GRID[-1]

LengthWeights = tuple[tuple[int, ...], ...]
"""One table of 2 REACH + 2 weights per context: distances -REACH to REACH, then the escape."""

_GEOMETRIC = tuple(4096 >> abs(distance) for distance in range(-REACH, REACH + 1))
_FLATTER = tuple(4096 * 3 ** abs(distance) // 4 ** abs(distance) for distance in range(-REACH, REACH + 1))

DEFAULT_WEIGHTS: LengthWeights = (*((*_GEOMETRIC, 16),) * len(CONTEXT_BITS), (*_FLATTER, 64))
"""Two-sided geometric weights, for uncalibrated models."""


def quantise(length: int) -> int:
    """Index of the grid value nearest to a length in bits; the lower of two equally near ones.

    Raises:
        ValueError: if the length is negative or more than MAX_LENGTH.
    """
    if not 0 <= length <= MAX_LENGTH:
        raise ValueError(f"a length must be in 0..{MAX_LENGTH} bits, not {length}")
    above = bisect_left(GRID, length)
    if above and length - GRID[above - 1] <= GRID[above] - length:
        return above - 1
    return above


class LengthPredictor:
    """Predicts the lengths of one file's steps; the state that encoder and decoder share.

    prediction = expected * (sum of past lengths + PRIOR) / (sum of past expected lengths + PRIOR), where the
    sums are multiplied by 5/8 before each step is added. (On simulated files whose ratio drifts, that saved 0.1 bits
    per step compared with plain sums.)
    """

    def __init__(self) -> None:
        self._sent = 0
        self._expected = 0

    def predict(self, expected: int) -> tuple[int, int]:
        """Grid index and context of the prediction.

        Args:
            expected: the step's length from the static tables, in units of 1 / LENGTH_SCALE bits.

        Raises:
            ValueError: if it is negative.
        """
        if expected < 0:
            raise ValueError(f"an expected length must not be negative: {expected}")
        numerator = expected * (self._sent + PRIOR)
        denominator = (self._expected + PRIOR) * LENGTH_SCALE
        length = min((2 * numerator + denominator) // (2 * denominator), MAX_LENGTH)  # rounded, half up
        return quantise(length), bisect_right(CONTEXT_BITS, length)

    def update(self, length: int, expected: int) -> None:
        """Update the sums with the length that was sent, in bits, and its expected value."""
        kept, of = MEMORY
        self._sent = self._sent * kept // of + length * LENGTH_SCALE
        self._expected = self._expected * kept // of + expected


class LengthCoder:
    """Codes the lengths of one file's steps, in order; encoder and decoder each have one.

    A step may have several messages, one per tile of the picture; each tile has its own predictor.

    Args:
        weights: the model's tables, see `LengthWeights`.

    Attributes:
        counts: how often each symbol was coded, (contexts, 2 REACH + 2), for `fit_weights`.

    Raises:
        ConfigError: if the number of tables, or of weights in a table, is wrong.
    """

    def __init__(self, weights: Sequence[Sequence[int]] = DEFAULT_WEIGHTS) -> None:
        if len(weights) != len(CONTEXT_BITS) + 1 or any(len(table) != ESCAPE + 1 for table in weights):
            raise ConfigError(
                f"the length code needs {len(CONTEXT_BITS) + 1} tables of {ESCAPE + 1} weights, "
                f"not {[len(table) for table in weights]}: calibrate the model again"
            )
        self._weights = [np.array(table, np.int64) for table in weights]
        self._predictors = [LengthPredictor()]
        self.counts = np.zeros((len(weights), ESCAPE + 1), np.int64)

    def divide(self, parents: Sequence[int]) -> None:
        """Continue with other tiles, each with the predictor of the old tile that contains it.

        Args:
            parents: for every new tile, the number of the old one.
        """
        self._predictors = [copy(self._predictors[parent]) for parent in parents]

    def encode(self, length_wanted: int, expected: int, writer: SymbolWriter, tile: int = 0) -> int:
        """Writes the grid value nearest to a length.

        Args:
            length_wanted: in bits, 0 to MAX_LENGTH.
            expected: in units of 1 / LENGTH_SCALE bits.
            writer: takes the symbol.
            tile: number of the tile.

        Returns:
            The length that was sent, in bits, which the message must have.

        Raises:
            ValueError: if an argument is out of range.
        """
        index = quantise(length_wanted)
        predictor = self._predictors[tile]
        predicted, context = predictor.predict(expected)
        symbol = _symbol(index, predicted)
        self.counts[context, symbol] += 1
        writer.write_symbols(np.array([symbol]), self._weights[context])
        if symbol == ESCAPE:
            writer.write_uniform(index, len(GRID))
        predictor.update(GRID[index], expected)
        return GRID[index]

    def decode(self, expected: int, reader: SymbolReader, tile: int = 0) -> int:
        """Reads the length that `encode` returned.

        Raises:
            ValueError: if `expected` is negative.
            CorruptStreamError: if the length is not on the grid.
        """
        predictor = self._predictors[tile]
        predicted, context = predictor.predict(expected)
        symbol = int(reader.read_symbols(1, self._weights[context])[0])
        index = reader.read_uniform(len(GRID)) if symbol == ESCAPE else predicted + symbol - REACH
        if not 0 <= index < len(GRID):
            raise CorruptStreamError(f"a step's length is outside the grid (index {index})")
        predictor.update(GRID[index], expected)
        return GRID[index]


def fit_weights(counts: NDArray[np.int64]) -> LengthWeights:
    """Tables for a model from the counts of its coders.

    The default tables are a lower bound, with the weight of about 24 observations per context, so that rare symbols
    and contexts can still be coded.
    """
    tables = []
    for row, floor in zip(counts.tolist(), DEFAULT_WEIGHTS, strict=True):
        room = MAX_TOTAL - sum(floor)
        total = max(1, sum(row))
        each = min(512 * total, room)
        tables.append(tuple(low + count * each // total for count, low in zip(row, floor, strict=True)))
    return tuple(tables)


def _symbol(index: int, predicted: int) -> int:
    distance = index - predicted
    return distance + REACH if -REACH <= distance <= REACH else ESCAPE
