"""Entropy coding of symbols: constriction's range coder with checked, machine-independent models."""

from __future__ import annotations

import math

import constriction
import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy_models import (
    WORD_BYTES,
    Model,
    bit_groups,
    check_count,
    check_shares,
    model_of,
    share_bits,
    share_models,
    translated,
    uniform,
    uniform_of,
)
from diffcodec.bitstream.ones_padded import OnesPadded, words_of
from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError

_SLACK_BITS = 1024
"""By how much the information may exceed the bits of a payload, because writers omit trailing zeros. Pixels do not
count: there are as many as the picture has, and those of a black picture may all be zeros."""

_ROUNDING_BITS = 8
"""What the sums of writer and reader may differ by, and more."""

_STATE_BITS = 64

_SYMBOLS_AT_ONCE = 1 << 14
"""A damaged count of symbols ends after this many more than the payload holds."""


class SymbolWriter:
    """Codes symbols into the shortest byte string from which a reader that pads with zeros decodes them."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()
        self._information_bits = 0.0
        self._counted_bits = 0.0  # without pixels

    @property
    def information_bits(self) -> float:
        """Sum of -log2 p over everything written, in bits. For reports; the payload has whole bytes."""
        return self._information_bits

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        """Writes fair bits, one bit of payload each.

        The bits of one call are coded in groups of 16, first bit highest, the last group with the rest. They must be
        read by calls with the same counts.

        Raises:
            ValueError: if `bits` is not a rank-1 array of integers (or bool) in {0, 1}.
        """
        bits = np.asarray(bits)
        if bits.ndim != 1 or (bits.size and bits.dtype.kind not in "iub"):
            raise ValueError(f"bits must be integers of shape (n,), not {bits.dtype} of {bits.shape}")
        if bits.size and (bits.min() < 0 or bits.max() > 1):
            raise ValueError(f"bits must be 0 or 1, not {bits.min()}..{bits.max()}")
        start = 0
        for groups, width in bit_groups(bits.size):
            block = bits[start : start + groups * width].reshape(groups, width).astype(np.int64)
            self._write(block @ (1 << np.arange(width - 1, -1, -1)), uniform(1 << width))
            start += groups * width

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Writes symbols that are independent draws of one categorical distribution.

        Args:
            symbols: indices into `weights`, shape (n,).
            weights: positive integers proportional to the probabilities; see `quantise_weights`. Models are cached, so
                repeated tables cost little.

        Raises:
            ValueError: if a symbol is outside the table, or the weights are not positive integers.
        """
        model = model_of(weights)
        symbols = np.asarray(symbols)
        if symbols.ndim != 1 or (symbols.size and symbols.dtype.kind not in "iu"):
            raise ValueError(f"symbols must be integers (n,), not {symbols.dtype} of {symbols.shape}")
        if symbols.size and (symbols.min() < 0 or symbols.max() >= model.size):
            raise ValueError(f"symbols must be in 0..{model.size - 1}, not {symbols.min()}..{symbols.max()}")
        self._write(symbols, model)

    def write_shares(self, symbols: NDArray[np.int64], shares: NDArray[np.int64]) -> None:
        """Writes symbols that each have their own distribution.

        Args:
            symbols: column indices, shape (n,).
            shares: (n, k), integers, not negative, with row sums 2**24 - k. A symbol's probability is its share
                plus one, out of 2**24.

        Raises:
            ValueError: if an argument is anything else.
        """
        check_shares(shares)
        symbols = np.asarray(symbols)
        if symbols.shape != shares.shape[:1] or (symbols.size and symbols.dtype.kind not in "iu"):
            raise ValueError(f"expected {len(shares)} integer symbols, not {symbols.dtype} of {symbols.shape}")
        if not symbols.size:
            return
        if symbols.min() < 0 or symbols.max() >= shares.shape[1]:
            raise ValueError(f"symbols must be in 0..{shares.shape[1] - 1}, not {symbols.min()}..{symbols.max()}")
        self._encoder.encode(symbols.astype(np.int32), share_models(), shares.astype(np.float64))
        self._information_bits += share_bits(symbols, shares)

    def copy(self) -> SymbolWriter:
        """An independent writer with the same content."""
        copied = SymbolWriter()
        copied._encoder = self._encoder.clone()
        copied._information_bits, copied._counted_bits = self._information_bits, self._counted_bits
        return copied

    def write_uniform(self, symbol: int, size: int) -> None:
        """Writes one of `size` equally likely symbols, for log2(size) bits.

        The cost is exact for powers of two, and otherwise at most -log2(1 - size / 2**24) bits more.

        Raises:
            ValueError: if not 0 <= symbol < size < 2**24.
        """
        model = uniform_of(size)
        if not 0 <= symbol < size:
            raise ValueError(f"a symbol of {size} must be in 0..{size - 1}, not {symbol}")
        self._write(np.array([symbol], np.int64), model)

    def getvalue(self) -> bytes:
        """The payload of everything written so far; writing may continue afterwards.

        Of all values in the coder's final interval it takes one with the fewest bytes before trailing zeros, and
        drops these zeros, because the reader supplies them: as many as it accepts.
        """
        words: NDArray[np.uint32] = self._encoder.get_compressed()
        position, (low, width) = self._encoder.pos()
        # The coder's interval is [bottom, bottom + width) in units of its 64-bit window, which starts at word
        # `position`. The words before it come from the sealed output. Sealing adds 2**32 - 1 to the low end; if
        # that carried into these words, subtract the carry.
        sealed = low + (1 << 32) - 1 >= 1 << _STATE_BITS
        head = int.from_bytes(words[:position].astype(">u4").tobytes(), "big") - sealed
        bottom = (head << _STATE_BITS) + int(low)
        for unit in range(_STATE_BITS, -1, -8):
            value: int = -(-bottom >> unit) << unit  # rounded up to a multiple of 2**unit
            if value < bottom + int(width):
                break
        payload = value.to_bytes(WORD_BYTES * int(position) + _STATE_BITS // 8, "big").rstrip(b"\0")
        return payload.ljust(math.ceil((self._counted_bits - _SLACK_BITS + _ROUNDING_BITS) / 8), b"\0")

    def _write(self, symbols: NDArray[np.int64], model: Model) -> None:
        if model.coder is None or not symbols.size:
            return
        self._encoder.encode(symbols.astype(np.int32), model.coder)
        bits = model.information_bits(symbols)
        self._information_bits += bits
        self._counted_bits += bits


class SymbolReader:
    """Reads what a SymbolWriter wrote, by the same calls in the same order.

    It does not detect wrong payloads, which mostly decode to wrong symbols. The container's checksums do. But it ends
    soon after the payload: whatever a damaged file claims, what is read is not longer than the file.

    Args:
        payload: the bytes of `SymbolWriter.getvalue()`; reading continues with zeros, for at most _SLACK_BITS.
    """

    def __init__(self, payload: bytes) -> None:
        self._zeros = constriction.stream.queue.RangeDecoder(words_of(payload, b"\0", 0))
        self._length = len(payload)
        self._information_bits = 0.0
        self._counted_bits = 0.0  # without pixels

    @property
    def information_bits(self) -> float:
        """Sum of -log2 p over everything read so far, in bits; for reports only."""
        return self._information_bits

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        """Reads the fair bits of one `write_bits` call: zeros and ones, shape (count,).

        Raises:
            ValueError: if count is negative.
            CorruptStreamError: if the payload holds no valid symbol, or is too short for `count` bits.
        """
        check_count(count)
        self._check_room(count)
        parts = [np.zeros(0, np.uint8)]
        for groups, width in bit_groups(count):
            block = self._read(uniform(1 << width), groups)
            parts.append((block[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8).reshape(-1))
        return np.concatenate(parts)

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reads `count` symbols of one categorical distribution, written by `write_symbols`; shape (count,).

        Raises:
            ValueError: if count is negative or the weights are not positive integers.
            CorruptStreamError: if the payload holds no valid symbol, or is too short for so many.
        """
        check_count(count)
        return self._read(model_of(weights), count)

    def read_shares(self, shares: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reads a symbol for each row of shares, written by `write_shares`; shape (n,).

        Raises:
            ValueError: if the shares are invalid.
            CorruptStreamError: if the payload holds no valid symbol.
        """
        check_shares(shares)
        if not len(shares):
            return np.zeros(0, np.int64)
        symbols = self._decode_shares(shares)
        self._information_bits += share_bits(symbols, shares)
        return symbols

    def read_uniform(self, size: int) -> int:
        """Reads one of `size` equally likely symbols.

        Raises:
            ValueError: if not 1 <= size < 2**24.
            CorruptStreamError: if the payload holds no valid symbol, or is too short.
        """
        return int(self._read(uniform_of(size), 1)[0])

    def _read(self, model: Model, count: int) -> NDArray[np.int64]:
        if model.coder is None or not count:
            return np.zeros(count, np.int64)
        parts = []
        for start in range(0, count, _SYMBOLS_AT_ONCE):
            parts.append(self._decode(model, min(_SYMBOLS_AT_ONCE, count - start)))
            self._count(model.information_bits(parts[-1]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _count(self, bits: float) -> None:
        """Add the information of symbols that were read, and refuse those behind the payload."""
        self._information_bits += bits
        self._counted_bits += bits
        self._check_room(0)

    def _check_room(self, bits: int) -> None:
        """Refuse a damaged length, which would make the reader read endless zeros behind the payload."""
        if self._counted_bits + bits > 8 * self._length + _SLACK_BITS:
            raise self._too_short(bits)

    def _too_short(self, bits: int) -> StreamError:
        what = f"{bits} more bits" if bits else "its steps"
        return CorruptStreamError(f"its payload of {self._length} bytes is too short for {what}")

    def _decode(self, model: Model, count: int) -> NDArray[np.int64]:
        with translated():
            return np.asarray(self._zeros.decode(model.coder, count), np.int64)

    def _decode_shares(self, shares: NDArray[np.int64]) -> NDArray[np.int64]:
        with translated():
            return np.asarray(self._zeros.decode(share_models(), shares.astype(np.float64)), np.int64)


class PrefixReader(SymbolReader):
    """Reads the symbols that a cut payload determines, and raises TruncatedStreamError at the first that it does not.

    The codes that start with the given bytes form an interval, and symbols are ordered along it. So if both
    its ends decode to the same symbol, every continuation does; if not, the symbol depends on the missing
    bytes. One call returns all of its symbols or none. A complete payload needs a SymbolReader: here its last
    symbols may count as undetermined, because its trailing zeros are not stored.

    Args:
        payload: the first bytes of a payload.
    """

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self._upper = OnesPadded(payload)
        self._ended = False

    def _decode(self, model: Model, count: int) -> NDArray[np.int64]:
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
        # Part of the exact pixels is useless: return all or none.
        raise TruncatedStreamError("the payload is cut before its last pixel")
