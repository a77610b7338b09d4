"""A range decoder over a cut payload, at the upper end of all its possible continuations."""

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy_models import WORD_BYTES, Model, translated
from diffcodec.errors import CorruptStreamError


class OnesPadded:
    """A range decoder over a payload that continues with infinitely many one bits.

    constriction itself continues with zeros, so ones are appended; when they run low, a decoder with more of them
    repeats everything read. Codes above those of every message can occur (the coder leaves a small part at the top of
    its interval unused); from then on every symbol counts as the last one, which keeps the order.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._read: list[tuple[Any, int]] = []
        self._symbols = 0
        self._saturated = False
        self._restart(64)

    def decode(self, model: Model, count: int) -> NDArray[np.int64]:
        """The next `count` symbols, (count,)."""
        if self._saturated:
            return np.full(count, model.size - 1, np.int64)
        # A symbol has at most 24 bits, so it takes at most one word.
        if self._symbols + count > self._spare_words:
            self._restart(2 * (self._symbols + count))
        try:
            with translated():
                symbols = self._decoder.decode(model.coder, count)
        except CorruptStreamError:
            return self._decode_until_saturated(model, count)
        self._read.append((model.coder, count))
        self._symbols += count
        return np.asarray(symbols, np.int64)

    def _decode_until_saturated(self, model: Model, count: int) -> NDArray[np.int64]:
        self._restart(self._spare_words)
        symbols = np.full(count, model.size - 1, np.int64)
        try:
            for i in range(count):
                with translated():
                    symbols[i] = self._decoder.decode(model.coder, 1)[0]
        except CorruptStreamError:
            self._saturated = True
        return symbols

    def _restart(self, spare_words: int) -> None:
        self._spare_words = spare_words
        self._decoder = constriction.stream.queue.RangeDecoder(words_of(self._payload, b"\xff", spare_words + 2))
        for coder, count in self._read:
            self._decoder.decode(coder, count)


def words_of(payload: bytes, padding: bytes, spare_words: int) -> NDArray[np.uint32]:
    """The payload as the coder's words, padded to whole words and then with spare words."""
    padded = payload + padding * (-len(payload) % WORD_BYTES + WORD_BYTES * spare_words)
    return np.frombuffer(padded, ">u4").astype(np.uint32)
