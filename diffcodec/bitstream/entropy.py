"""Symbols to bytes and back: constriction's range coder behind checked, machine-independent models.

The only file that imports constriction. What a symbol costs is fixed by integers alone: weights become
frequencies that sum to 2**24 by integer division (`quantise_weights`), and those frequencies reach
constriction as floats that are integers, so that its own rounding has nothing left to round. The conventions
are written down in docs/format.md, for readers that do not use constriction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError

PRECISION = 24
"""Probabilities are multiples of 2**-PRECISION."""

MAX_TOTAL = 1 << PRECISION
"""Largest sum of the weights of one model, and size of the largest uniform alphabet plus one."""

MAX_ALPHABET = 1 << 16
"""Most symbols of one categorical model."""

BITS_PER_SYMBOL = 16
"""Fair bits are coded in groups of this many, the last group of a call with what is left."""

_SLACK_BITS = 1024
"""How much more information than bits a payload may hold: writers leave out zeros at its end, which are that rare."""

_WORD_BYTES = 4
_STATE_BITS = 64


class _Model(NamedTuple):
    """One distribution: its coder model (None for a single symbol, which costs nothing), its costs in bits.

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
    """The frequencies, out of 2**24, with which weights are coded.

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
    # The bound on single weights comes first, so that the sum cannot overflow.
    if weights.min() < 1 or weights.max() > MAX_TOTAL or int(weights.sum(dtype=np.int64)) > MAX_TOTAL:
        raise ValueError(f"weights must be at least 1 and sum to at most {MAX_TOTAL}")
    cumulative = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    frequencies: NDArray[np.int64] = np.diff((cumulative << PRECISION) // cumulative[-1])
    return frequencies


@lru_cache(maxsize=64)
def _categorical(content: bytes) -> _Model:
    frequencies = quantise_weights(np.frombuffer(content, np.int64))
    cost_bits = PRECISION - np.log2(frequencies[::-1])
    if frequencies.size == 1:
        return _Model(None, 1, cost_bits)
    # constriction's fast quantiser gives each symbol one code point plus its share of the other 2**24 - n.
    # Shares that are integers and sum to exactly that make its scale factor 1.0 and its sums exact.
    coder = constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)
    return _Model(coder, frequencies.size, cost_bits)


@lru_cache(maxsize=256)
def _uniform(size: int) -> _Model:
    if size == 1:
        return _Model(None, 1, np.zeros(1))
    # All symbols own floor(2**24 / size) code points; the last one also owns the remainder.
    share, rest = divmod(MAX_TOTAL, size)
    cost_bits = PRECISION - np.log2(np.array([share + rest, share]))
    return _Model(constriction.stream.model.Uniform(size), size, cost_bits)


def _model_of(weights: NDArray[np.int64]) -> _Model:
    weights = np.asarray(weights)
    if weights.ndim != 1 or weights.dtype.kind not in "iu":
        raise ValueError(f"weights must be integers of shape (n,), not {weights.dtype} of {weights.shape}")
    return _categorical(weights.astype(np.int64, copy=False).tobytes())


def _uniform_of(size: int) -> _Model:
    if not 1 <= size < MAX_TOTAL:
        raise ValueError(f"the size of a uniform alphabet must be in 1..{MAX_TOTAL - 1}, not {size}")
    return _uniform(int(size))


def _bit_groups(count: int) -> list[tuple[int, int]]:
    """How `count` fair bits are grouped: (groups, bits in each) of the full groups, then of the rest."""
    full, rest = divmod(count, BITS_PER_SYMBOL)
    return [(groups, width) for groups, width in ((full, BITS_PER_SYMBOL), (int(rest > 0), rest)) if groups]


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what constriction raises on undecodable data into CorruptStreamError."""
    try:
        yield
    except AssertionError as error:
        raise CorruptStreamError("the payload holds no valid symbol where one is expected") from error
    except BaseException as error:
        # A Rust panic is a BaseException, so that `except Exception` in callers would not see it.
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptStreamError(f"the entropy decoder failed on the payload: {error}") from error


class SymbolWriter:
    """Codes symbols into the shortest byte string that the reader, padding with zeros, decodes to them."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()
        self._information_bits = 0.0

    @property
    def information_bits(self) -> float:
        """Sum of -log2 p over all that was written, in bits. For reports; the payload ends in whole bytes."""
        return self._information_bits

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        """Writes fair bits, one bit of payload each.

        The bits of one call are coded in groups of 16, first bit highest, the last group with what is left:
        they have to be read back by calls with the same counts.

        Raises:
            ValueError: if `bits` is not a rank-1 array of integers (or bool) in {0, 1}.
        """
        bits = np.asarray(bits)
        if bits.ndim != 1 or (bits.size and bits.dtype.kind not in "iub"):
            raise ValueError(f"bits must be integers of shape (n,), not {bits.dtype} of {bits.shape}")
        if bits.size and (bits.min() < 0 or bits.max() > 1):
            raise ValueError(f"bits must be 0 or 1, not {bits.min()}..{bits.max()}")
        start = 0
        for groups, width in _bit_groups(bits.size):
            block = bits[start : start + groups * width].reshape(groups, width).astype(np.int64)
            self._write(block @ (1 << np.arange(width - 1, -1, -1)), _uniform(1 << width))
            start += groups * width

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Writes symbols that are independent draws of one categorical distribution.

        Args:
            symbols: indices into `weights`, shape (n,).
            weights: positive integers proportional to the probabilities; see `quantise_weights`. The model of
                a table is kept, so repeated tables cost little.

        Raises:
            ValueError: if a symbol is outside the table, or the table is not one of positive integers.
        """
        model = _model_of(weights)
        symbols = np.asarray(symbols)
        if symbols.ndim != 1 or (symbols.size and symbols.dtype.kind not in "iu"):
            raise ValueError(f"symbols must be integers (n,), not {symbols.dtype} of {symbols.shape}")
        if symbols.size and (symbols.min() < 0 or symbols.max() >= model.size):
            raise ValueError(f"symbols must be in 0..{model.size - 1}, not {symbols.min()}..{symbols.max()}")
        self._write(symbols, model)

    def write_shares(self, symbols: NDArray[np.int64], shares: NDArray[np.int64]) -> None:
        """Writes symbols that have a distribution each.

        Args:
            symbols: column indices, shape (n,).
            shares: (n, k), integers, not negative, with row sums 2**24 - k. A symbol's probability is its share
                plus one, out of 2**24.

        Raises:
            ValueError: if an argument is anything else.
        """
        _check_shares(shares)
        symbols = np.asarray(symbols)
        if symbols.shape != shares.shape[:1] or (symbols.size and symbols.dtype.kind not in "iu"):
            raise ValueError(f"expected {len(shares)} integer symbols, not {symbols.dtype} of {symbols.shape}")
        if not symbols.size:
            return
        if symbols.min() < 0 or symbols.max() >= shares.shape[1]:
            raise ValueError(f"symbols must be in 0..{shares.shape[1] - 1}, not {symbols.min()}..{symbols.max()}")
        self._encoder.encode(symbols.astype(np.int32), _share_models(), shares.astype(np.float64))
        self._information_bits += _share_bits(symbols, shares)

    def copy(self) -> "SymbolWriter":
        """A writer with the same content; either may go on without the other."""
        copied = SymbolWriter()
        copied._encoder = self._encoder.clone()
        copied._information_bits = self._information_bits
        return copied

    def write_uniform(self, symbol: int, size: int) -> None:
        """Writes one of `size` equally likely symbols, for log2(size) bits.

        The cost is exact for powers of two, and otherwise at most -log2(1 - size / 2**24) bits more.

        Raises:
            ValueError: if not 0 <= symbol < size < 2**24.
        """
        model = _uniform_of(size)
        if not 0 <= symbol < size:
            raise ValueError(f"a symbol of {size} must be in 0..{size - 1}, not {symbol}")
        self._write(np.array([symbol], np.int64), model)

    def getvalue(self) -> bytes:
        """The payload of what was written so far; writing may go on afterwards.

        Of all values in the coder's final interval it takes one with the fewest bytes before the trailing
        zeros, and drops those, because the reader supplies them.
        """
        words: NDArray[np.uint32] = self._encoder.get_compressed()
        position, (low, width) = self._encoder.pos()
        # The coder's interval is [bottom, bottom + width) in units of its 64-bit window, which starts at word
        # `position`. The words before it come from the sealed output; where sealing, which adds 2**32 - 1 to
        # the low end, carried into them, the carry is taken back.
        sealed = low + (1 << 32) - 1 >= 1 << _STATE_BITS
        head = int.from_bytes(words[:position].astype(">u4").tobytes(), "big") - sealed
        bottom = (head << _STATE_BITS) + int(low)
        for unit in range(_STATE_BITS, -1, -8):
            value: int = -(-bottom >> unit) << unit  # rounded up to a multiple of 2**unit
            if value < bottom + int(width):
                break
        return value.to_bytes(_WORD_BYTES * int(position) + _STATE_BITS // 8, "big").rstrip(b"\0")

    def _write(self, symbols: NDArray[np.int64], model: _Model) -> None:
        if model.coder is None or not symbols.size:
            return
        self._encoder.encode(symbols.astype(np.int32), model.coder)
        self._information_bits += model.information_bits(symbols)


class _OnesPadded:
    """A range decoder over a payload that goes on with one bits for ever.

    constriction itself goes on with zeros, so the ones are stored; when they run low, a decoder with more of
    them repeats what was read. Codes above those of every message occur here (the coder leaves a sliver at
    the top of its interval unused); they count as the last symbol, then and ever after: that keeps the order.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._read: list[tuple[Any, int]] = []
        self._symbols = 0
        self._saturated = False
        self._restart(64)

    def decode(self, model: _Model, count: int) -> NDArray[np.int64]:
        if self._saturated:
            return np.full(count, model.size - 1, np.int64)
        # A symbol has at most 24 bits, so it takes at most one word.
        if self._symbols + count > self._spare_words:
            self._restart(2 * (self._symbols + count))
        try:
            with _translated():
                symbols = self._decoder.decode(model.coder, count)
        except CorruptStreamError:
            return self._decode_until_saturated(model, count)
        self._read.append((model.coder, count))
        self._symbols += count
        return np.asarray(symbols, np.int64)

    def _decode_until_saturated(self, model: _Model, count: int) -> NDArray[np.int64]:
        self._restart(self._spare_words)
        symbols = np.full(count, model.size - 1, np.int64)
        try:
            for i in range(count):
                with _translated():
                    symbols[i] = self._decoder.decode(model.coder, 1)[0]
        except CorruptStreamError:
            self._saturated = True
        return symbols

    def _restart(self, spare_words: int) -> None:
        self._spare_words = spare_words
        self._decoder = constriction.stream.queue.RangeDecoder(_words(self._payload, b"\xff", spare_words + 2))
        for coder, count in self._read:
            self._decoder.decode(coder, count)


def _words(payload: bytes, padding: bytes, spare_words: int) -> NDArray[np.uint32]:
    """The payload as the coder's words, padded to whole words and then with more of them."""
    padded = payload + padding * (-len(payload) % _WORD_BYTES + _WORD_BYTES * spare_words)
    return np.frombuffer(padded, ">u4").astype(np.uint32)


class SymbolReader:
    """Reads back what a SymbolWriter wrote, by the same calls in the same order.

    Nothing tells a wrong payload from a right one here: wrong bytes mostly decode to wrong symbols. The
    container's checksum is what finds them.

    Args:
        payload: the bytes of `SymbolWriter.getvalue()`, or the beginning of them.
        padding: what follows the payload, without limit: 0x00 for a whole payload. With 0xFF, a cut payload
            decodes to the other extreme of what it may have been; see `PrefixReader`.

    Raises:
        ValueError: for another padding.
    """

    def __init__(self, payload: bytes, padding: int = 0x00) -> None:
        if padding not in (0x00, 0xFF):
            raise ValueError(f"padding must be 0x00 or 0xFF, not {padding}")
        self._ones = _OnesPadded(payload) if padding else None
        self._zeros = constriction.stream.queue.RangeDecoder(_words(payload, b"\0", 0))
        self._length = len(payload)
        self._information_bits = 0.0

    @property
    def information_bits(self) -> float:
        """Information content of everything read so far, in bits; for reports only."""
        return self._information_bits

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        """Reads the fair bits of one `write_bits` call: zeros and ones, shape (count,).

        Raises:
            ValueError: if count is negative.
            CorruptStreamError: if no symbol fits, or the payload is too short for so many.
        """
        _check_count(count)
        self._check_room(count)
        parts = [np.zeros(0, np.uint8)]
        for groups, width in _bit_groups(count):
            block = self._read(_uniform(1 << width), groups)
            parts.append((block[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8).reshape(-1))
        return np.concatenate(parts)

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reads `count` symbols of one categorical distribution, shape (count,); see `write_symbols`.

        Raises:
            ValueError: if count is negative or the table is not one of positive integers.
            CorruptStreamError: if no symbol fits.
        """
        _check_count(count)
        return self._read(_model_of(weights), count)

    def read_shares(self, shares: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reads a symbol for each row of shares, shape (n,); see `write_shares`.

        Raises:
            ValueError: if the shares are not those of any distribution.
            CorruptStreamError: if no symbol fits.
        """
        _check_shares(shares)
        if not len(shares):
            return np.zeros(0, np.int64)
        symbols = self._decode_shares(shares)
        self._information_bits += _share_bits(symbols, shares)
        return symbols

    def read_uniform(self, size: int) -> int:
        """Reads one of `size` equally likely symbols.

        Raises:
            ValueError: if not 1 <= size < 2**24.
            CorruptStreamError: if no symbol fits.
        """
        return int(self._read(_uniform_of(size), 1)[0])

    def _read(self, model: _Model, count: int) -> NDArray[np.int64]:
        if model.coder is None or not count:
            return np.zeros(count, np.int64)
        symbols = self._decode(model, count)
        self._information_bits += model.information_bits(symbols)
        return symbols

    def _check_room(self, bits: int) -> None:
        """Behind a payload there are zeros without end: a damaged length must not make a reader read them all."""
        if self._ones is None and self._information_bits + bits > 8 * self._length + _SLACK_BITS:
            raise self._too_short(bits)

    def _too_short(self, bits: int) -> StreamError:
        return CorruptStreamError(f"it claims {bits} more bits than the {self._length} bytes of its payload can hold")

    def _decode(self, model: _Model, count: int) -> NDArray[np.int64]:
        if self._ones is not None:
            return self._ones.decode(model, count)
        with _translated():
            return np.asarray(self._zeros.decode(model.coder, count), np.int64)

    def _decode_shares(self, shares: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._ones is not None:
            raise ValueError("symbols with a distribution each are read from whole payloads, padded with 0x00")
        with _translated():
            return np.asarray(self._zeros.decode(_share_models(), shares.astype(np.float64)), np.int64)


class PrefixReader(SymbolReader):
    """Reads the symbols that a cut payload determines, and raises TruncatedStreamError at the first other.

    The codes that start with the given bytes form an interval, and symbols are ordered along it. So if both
    its ends decode to the same symbol, every continuation does; if not, the symbol depends on the missing
    bytes. One call returns all of its symbols or none. A payload that is whole needs a SymbolReader: here its
    last symbols may count as undetermined, because it ends before the zeros that it stands for.

    Args:
        payload: the first bytes of a payload.
    """

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self._upper = _OnesPadded(payload)
        self._ended = False

    def _decode(self, model: _Model, count: int) -> NDArray[np.int64]:
        if not self._ended:
            symbols = super()._decode(model, count)
            self._ended = not np.array_equal(symbols, self._upper.decode(model, count))
        if self._ended:
            raise self._too_short(count)
        return symbols

    def _too_short(self, bits: int) -> StreamError:
        return TruncatedStreamError(
            f"the payload is cut: its first {self._length} bytes do not determine the next symbols"
        )

    def _decode_shares(self, shares: NDArray[np.int64]) -> NDArray[np.int64]:
        # Pixels that are coded to the last bit are of use only together.
        raise TruncatedStreamError("the payload is cut before its last pixel")


def _share_models() -> Any:
    """A family of categorical models with the exact arithmetic of `_categorical`."""
    return constriction.stream.model.Categorical(perfect=False)


def _share_bits(symbols: NDArray[np.int64], shares: NDArray[np.int64]) -> float:
    chosen = shares[np.arange(len(symbols)), symbols] + 1
    return float(PRECISION * len(symbols) - np.log2(chosen).sum())


def _check_shares(shares: NDArray[np.int64]) -> None:
    if shares.ndim != 2 or shares.dtype.kind not in "iu" or not 2 <= shares.shape[1] <= MAX_ALPHABET:
        raise ValueError(f"shares must be integers of shape (n, k), not {shares.dtype} of {shares.shape}")
    # The bounds on single shares come first, so that a sum cannot overflow.
    if shares.size and (
        shares.min() < 0 or shares.max() > MAX_TOTAL or (shares.sum(axis=1) != MAX_TOTAL - shares.shape[1]).any()
    ):
        raise ValueError(f"shares must not be negative, and sum to {MAX_TOTAL - shares.shape[1]} in every row")


def _check_count(count: int) -> None:
    if count < 0:
        raise ValueError(f"count must not be negative: {count}")
