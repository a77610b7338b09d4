"""Checked, machine-independent models of symbols for constriction's range coder.

Only integers determine the cost of a symbol: integer division turns weights into frequencies that sum to 2**24
(`quantise_weights`), and constriction receives these as integer-valued floats, so that its own rounding changes
nothing. docs/format.md has the conventions, for readers that do not use constriction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import CorruptStreamError

PRECISION = 24
"""Probabilities are multiples of 2**-PRECISION."""

MAX_TOTAL = 1 << PRECISION
"""Largest sum of the weights of one model, and size of the largest uniform alphabet plus one."""

MAX_ALPHABET = 1 << 16
"""Largest number of symbols of one categorical model."""

BITS_PER_SYMBOL = 16
"""Fair bits are coded in groups of this size, the last group of a call with the rest."""

WORD_BYTES = 4


class Model(NamedTuple):
    """One distribution: its coder model (None for a single symbol, which costs nothing), and costs in bits.

    `cost_bits` has one entry per symbol from the last to the first, or, for a uniform alphabet, one for the
    last symbol (which owns the remainder of the code points) and one for all others.
    """

    coder: Any
    size: int
    cost_bits: NDArray[np.float64]

    def information_bits(self, symbols: NDArray[np.int64]) -> float:
        """Sum of -log2 p over the symbols."""
        return float(self.cost_bits[np.minimum(self.size - 1 - symbols, self.cost_bits.size - 1)].sum())


def quantise_weights(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """The frequencies, out of 2**24, that the coder uses for weights.

    With C the cumulative sum of the weights (C_0 = 0), symbol i owns floor(2**24 C_{i+1} / C_n) -
    floor(2**24 C_i / C_n) of the 2**24 code points: integers only, at least 1 each, and off by less than one
    code point. The cost of a symbol is therefore within 1e-3 bits of -log2(w / total) if its probability is
    above 1e-4, and exact if the total is a power of two.

    Args:
        weights: positive integers, shape (n,), 1 <= n <= 65536, whose sum is at most 2**24.

    Returns:
        Positive integers of the same shape, with sum 2**24.

    Raises:
        ValueError: if the weights are anything else.
    """
    weights = np.asarray(weights)
    if weights.ndim != 1 or not 1 <= weights.size <= MAX_ALPHABET or weights.dtype.kind not in "iu":
        raise ValueError(f"weights must be 1 to {MAX_ALPHABET} integers, not {weights.dtype} of shape {weights.shape}")
    # Check single weights first, so that the sum cannot overflow.
    if weights.min() < 1 or weights.max() > MAX_TOTAL or int(weights.sum(dtype=np.int64)) > MAX_TOTAL:
        raise ValueError(f"weights must be at least 1 and sum to at most {MAX_TOTAL}")
    cumulative = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    frequencies: NDArray[np.int64] = np.diff((cumulative << PRECISION) // cumulative[-1])
    return frequencies


@lru_cache(maxsize=64)
def categorical(content: bytes) -> Model:
    """The model of a table of weights, given as the bytes of its int64 values."""
    frequencies = quantise_weights(np.frombuffer(content, np.int64))
    cost_bits = PRECISION - np.log2(frequencies[::-1])
    if frequencies.size == 1:
        return Model(None, 1, cost_bits)
    # constriction's fast quantiser gives each symbol one code point plus its share of the other 2**24 - n.
    # Shares that are integers and sum to exactly that make its scale factor 1.0 and its sums exact.
    coder = constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)
    return Model(coder, frequencies.size, cost_bits)


@lru_cache(maxsize=256)
def uniform(size: int) -> Model:
    """The model of `size` equally likely symbols."""
    if size == 1:
        return Model(None, 1, np.zeros(1))
    # All symbols own floor(2**24 / size) code points; the last one also owns the remainder.
    share, rest = divmod(MAX_TOTAL, size)
    cost_bits = PRECISION - np.log2(np.array([share + rest, share]))
    return Model(constriction.stream.model.Uniform(size), size, cost_bits)


def model_of(weights: NDArray[np.int64]) -> Model:
    """The model of a table of weights, as defined by `quantise_weights`."""
    weights = np.asarray(weights)
    if weights.ndim != 1 or weights.dtype.kind not in "iu":
        raise ValueError(f"weights must be integers of shape (n,), not {weights.dtype} of {weights.shape}")
    return categorical(weights.astype(np.int64, copy=False).tobytes())


def uniform_of(size: int) -> Model:
    """The model of a uniform alphabet.

    Raises:
        ValueError: for a size out of range.
    """
    if not 1 <= size < MAX_TOTAL:
        raise ValueError(f"the size of a uniform alphabet must be in 1..{MAX_TOTAL - 1}, not {size}")
    return uniform(int(size))


def bit_groups(count: int) -> list[tuple[int, int]]:
    """Groups of `count` fair bits: (number of groups, bits in each) of the full groups, then of the rest."""
    full, rest = divmod(count, BITS_PER_SYMBOL)
    return [(groups, width) for groups, width in ((full, BITS_PER_SYMBOL), (int(rest > 0), rest)) if groups]


@contextmanager
def translated() -> Iterator[None]:
    """Turns constriction's exceptions on undecodable data into CorruptStreamError."""
    try:
        yield
    except AssertionError as error:
        raise CorruptStreamError("the payload holds no valid symbol where one is expected") from error
    except BaseException as error:
        # A Rust panic is a BaseException, which `except Exception` in callers would not catch.
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptStreamError(f"the entropy decoder failed on the payload: {error}") from error


def share_models() -> Any:
    """A family of categorical models with the exact arithmetic of `categorical`."""
    return constriction.stream.model.Categorical(perfect=False)


def share_bits(symbols: NDArray[np.int64], shares: NDArray[np.int64]) -> float:
    """Information of symbols that each have their own distribution, in bits."""
    chosen = shares[np.arange(len(symbols)), symbols] + 1
    return float(PRECISION * len(symbols) - np.log2(chosen).sum())


def check_shares(shares: NDArray[np.int64]) -> None:
    """Raises a ValueError for shares that `SymbolWriter.write_shares` does not allow."""
    if shares.ndim != 2 or shares.dtype.kind not in "iu" or not 2 <= shares.shape[1] <= MAX_ALPHABET:
        raise ValueError(f"shares must be integers of shape (n, k), not {shares.dtype} of {shares.shape}")
    # Check single shares first, so that a sum cannot overflow.
    if shares.size and (
        shares.min() < 0 or shares.max() > MAX_TOTAL or (shares.sum(axis=1) != MAX_TOTAL - shares.shape[1]).any()
    ):
        raise ValueError(f"shares must not be negative, and sum to {MAX_TOTAL - shares.shape[1]} in every row")


def check_count(count: int) -> None:
    """Raises a ValueError for a negative count."""
    if count < 0:
        raise ValueError(f"count must not be negative: {count}")
