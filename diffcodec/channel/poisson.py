"""The published channel: chunks of at most 14 bits, importance sampling among 2**16 shared candidates each.

Relative entropy coding by the Poisson functional representation (Li and El Gamal 2018) as in Theis and Yosri
2022 (arXiv 2110.12805), with the settings of Vonderfecht and Liu 2025 (DiffC, arXiv 2501.09815). It is the
baseline for the trellis channel. In simulation with these settings, the index of a 14-bit chunk costs 13.7 bits, and
72 % of the information arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise, repeat
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.base import (
    Channel,
    ChannelId,
    FloatArray,
    Groups,
    Message,
    PendingGroups,
    StreamKey,
    SymbolReader,
    SymbolWriter,
    check_mean,
    check_request,
)
from diffcodec.channel.randomness import (
    COLUMNS,
    Purpose,
    candidate_squares,
    candidate_table,
    shared_integers,
    shared_normals,
    shared_order,
    shared_signs,
)

CHUNK_BITS = 14.0
CANDIDATES_LOG2 = 16
_COUNT = 1 << CANDIDATES_LOG2
_MASK = _COUNT - 1
_WORD_MASK = np.uint64(0xFFFFFFFF)
ZIPF_SHA256 = "6b149de8bdad28d84c81d87f948b79f96e252493504924f109751dca6dfba9e1"
"""SHA-256 of the Zipf weights, 4 bytes each, big-endian."""
INDEX_BITS = 13.7
"""Mean cost of an index under the Zipf model at 14 bits per chunk, measured."""


def zipf_exact() -> NDArray[np.float64]:
    """Unrounded Zipf weights of arrival numbers, shape (65536,): 2**20 times rank**-lambda.

    lambda = 1 + 1 / (C + log2(e) / e + 1) for chunks of C = 14 bits (Theis and Yosri 2022, section 3).
    """
    exponent = 1.0 + 1.0 / (CHUNK_BITS + np.log2(np.e) / np.e + 1.0)
    weights: NDArray[np.float64] = 2.0**20 * np.arange(1, _COUNT + 1, dtype=np.float64) ** -exponent
    return weights


@lru_cache(maxsize=1)
def zipf_weights() -> NDArray[np.int64]:
    """Integer Zipf weights, shape (65536,), each at least 1, sum below 2**24.

    No exact weight is near a rounding boundary (tested), so libraries whose pow differs by an ulp agree.
    """
    weights = np.maximum(np.rint(zipf_exact()), 1.0).astype(np.int64)
    # The only table that the decoder computes with pow: with a different result no index would decode.
    if sha256(weights.astype(">u4").tobytes()).hexdigest() != ZIPF_SHA256:
        raise RuntimeError("this machine's pow function is inaccurate: the Poisson channel's Zipf table is wrong")
    weights.setflags(write=False)
    return weights


class PoissonChannel(Channel):
    """Channel simulation in chunks with the Poisson functional representation.

    The shared seed shuffles the dims, which are cut into chunks. Per chunk there are 2**16 candidates from
    the prior; candidate i arrives at the i-th point of a Poisson process. The encoder picks the candidate with the
    least ratio of arrival time to importance weight q / p, and sends its arrival number with a Zipf model.

    Instead of drawing 2**16 normals per dim, all chunks share one table of 65,536 x 64 independent normals. Every
    64 dims use their own random signs and their own random affine permutation of the rows. Candidates of one chunk
    stay independent, so statistically this is the published coder, only faster.

    Args:
        effort: ignored; the number of candidates is part of the published settings.
    """

    channel_id = ChannelId.POISSON
    bits_per_length = int(CHUNK_BITS)

    def __init__(self, effort: int = 12) -> None:
        self.effort = effort

    def length_for(self, kl_bits: float, dims: int) -> int:
        """Number of chunks such that each holds at most 14 bits on average."""
        return ceil(max(0.0, kl_bits) / CHUNK_BITS)

    def information_in(self, length: int) -> int:
        """14 bits per chunk; the last chunk is half full on average."""
        return max(0, 256 * (14 * length - 7))

    def path_bits(self, length: int, dims: int) -> float:
        """Nominal cost in bits: the mean cost of an index times the number of chunks."""
        return INDEX_BITS * length

    def select(
        self, mean: FloatArray, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey]
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """The index of the best candidate for every chunk of each image."""
        count, dims = check_mean(mean)
        check_request(dims, groups, lengths, keys, count)
        messages: list[Message] = []
        samples = np.empty((count, dims), np.float32)
        for i, (length, shuffle) in enumerate(zip(lengths, _shuffles(dims, keys, groups), strict=False)):
            signs, quadratic = shuffle.signs, None
            if groups is not None:
                precision = (1.0 / np.square(groups.std[i]))[shuffle.of]
                signs, quadratic = signs * precision, (0.5 * (precision - 1.0)).astype(np.float32)
            linear = (mean[i][shuffle.order] * signs).astype(np.float32)
            chosen, chunks = [], shuffle.chunks(int(length), None if groups is None else groups.weights[i])
            for chunk in chunks:
                score = _log_weights(chunk, linear, quadratic)
                score -= _log_arrivals(shuffle.key, chunk.number)
                chosen.append(int(score.argmax()))
            messages.append(np.array(chosen, np.int64))
            samples[i] = shuffle.sample(chunks, chosen)
        return messages, samples

    def samples(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        messages: Sequence[Message],
    ) -> NDArray[np.float32]:
        """Looks the candidates up."""
        samples = np.empty((len(lengths), dims), np.float32)
        for i, (length, shuffle) in enumerate(zip(lengths, _shuffles(dims, keys, groups), strict=False)):
            chunks = shuffle.chunks(int(length), None if groups is None else groups.weights[i])
            samples[i] = shuffle.sample(chunks, messages[i].tolist())
        return samples

    def write(self, message: Message, writer: SymbolWriter) -> None:
        """Symbols with Zipf weights."""
        if len(message):
            writer.write_symbols(np.asarray(message, np.int64), zipf_weights())

    def read(self, dims: int, groups: PendingGroups, length: int, key: StreamKey, reader: SymbolReader) -> Message:
        """An index for every chunk that is not empty."""
        if not length:
            return np.empty(0, np.int64)
        # Read those that there are in any case before making anything for every dim: a damaged length ends here.
        least, is_exact = filled_at_least(length, dims, groups)
        indices = reader.read_symbols(least, zipf_weights())
        if is_exact or (made := groups()) is None:
            return indices
        count = len(_Shuffle(dims, key, made.of).filled(length, made.weights[0]))
        return np.concatenate([indices, reader.read_symbols(count - least, zipf_weights())])


def filled_at_least(length: int, dims: int, groups: PendingGroups) -> tuple[int, bool]:
    """How many chunks are not empty, whatever the order of the dims: a lower bound, and whether it is exact.

    A chunk's share is S / length, S the sum of the weights. If that, rounded down, is above the largest weight W, no
    chunk is empty. In any case no dim holds more than ceil((W + 1) length / S) of their borders.
    """
    if groups.weights is None or groups.counts is None:
        return min(length, dims), True
    largest, total = int(groups.weights[groups.counts > 0].max()), int(groups.weights @ groups.counts)
    if total // length > largest:
        return length, True
    of_one_dim = -(-(largest + 1) * length // total)
    return max(1, -(-(length - 1) // of_one_dim)), False


@dataclass(frozen=True)
class _Chunk:
    """Shuffled dims from start to stop, which share one index i; every 64 of them read one table row.

    Piece k reads row (factors[k] * i + offsets[k]) mod 2**16, a permutation because the factors are odd.
    """

    number: int
    start: int
    stop: int
    factors: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def rows(self, piece: int, candidate: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Table rows of one or more candidates."""
        rows: NDArray[np.int64] = (candidate * self.factors[piece] + self.offsets[piece]) & _MASK
        return rows

    @property
    def pieces(self) -> list[slice]:
        """The chunk's dims in pieces of 64."""
        return [slice(a, min(a + COLUMNS, self.stop)) for a in range(self.start, self.stop, COLUMNS)]


class _Shuffle:
    """The order of the dims, their signs, and their chunks, which both sides derive from the key.

    Args:
        dims: D.
        key: of the shared randomness.
        of: the group of every coefficient, shape (D,); None if there is only one.
    """

    def __init__(self, dims: int, key: StreamKey, of: NDArray[np.integer[Any]] | None) -> None:
        self.dims, self.key = dims, key
        self.order = shared_order(key, dims)
        self.signs = shared_signs(key, 0, dims)
        self.of = np.zeros(dims, np.int64) if of is None else of[self.order]
        """The group of every shuffled coefficient."""

    def filled(self, length: int, weights: NDArray[np.int64] | None) -> list[tuple[int, int, int]]:
        """Cut the dims into `length` chunks of equal expected information, leaving out empty ones.

        Args:
            length: number of chunks.
            weights: expected information of a coefficient of each group; None for equal shares.

        Returns:
            Number, start and stop of each chunk.
        """
        if length == 0:
            return []
        if weights is None:
            borders = [self.dims * k // length for k in range(length + 1)]
        else:
            upto = np.cumsum(weights[self.of], dtype=np.int64)
            targets = [int(upto[-1]) * k // length for k in range(1, length)]
            borders = [0, *np.searchsorted(upto, targets).tolist(), self.dims]
        return [(number, start, stop) for number, (start, stop) in enumerate(pairwise(borders)) if stop > start]

    def chunks(self, length: int, weights: NDArray[np.int64] | None) -> list[_Chunk]:
        """The chunks of `filled`, with the rows of their candidates."""
        chunks = []
        for number, start, stop in self.filled(length, weights):
            count = -(-(stop - start) // COLUMNS)
            words = (shared_integers(self.key, Purpose.POISSON_ROWS, number, count) & _WORD_MASK).astype(np.int64)
            chunks.append(_Chunk(number, start, stop, (words & _MASK) | 1, words >> CANDIDATES_LOG2))
        return chunks

    def sample(self, chunks: Sequence[_Chunk], chosen: Sequence[int]) -> NDArray[np.float32]:
        """The sample that the chunks' indices select, (dims,). Both sides call it, so they get the same sample."""
        if not chunks:
            return shared_normals(self.key, 0, self.dims)
        table, shuffled = candidate_table(CANDIDATES_LOG2), np.empty(self.dims, np.float32)
        for chunk, candidate in zip(chunks, chosen, strict=True):
            for k, piece in enumerate(chunk.pieces):
                shuffled[piece] = table[chunk.rows(k, candidate), : piece.stop - piece.start]
        sample = np.empty(self.dims, np.float32)
        sample[self.order] = shuffled * self.signs
        return sample


def _shuffles(dims: int, keys: Sequence[StreamKey], groups: Groups | None) -> Iterator[_Shuffle]:
    """One per image; infinitely many times the same one if all images share a key."""
    of = None if groups is None else groups.of
    if len(keys) == 1:
        yield from repeat(_Shuffle(dims, keys[0], of))
    for key in keys:
        yield _Shuffle(dims, key, of)


def _log_weights(
    chunk: _Chunk, linear: NDArray[np.float32], quadratic: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """log q(y) / p(y) of every candidate, up to a constant, shape (65536,)."""
    table, everyone = candidate_table(CANDIDATES_LOG2), np.arange(_COUNT)
    total = np.zeros(_COUNT, np.float32)
    for k, piece in enumerate(chunk.pieces):
        values = table[:, : piece.stop - piece.start]
        scores = values @ linear[piece]
        if quadratic is not None:
            scores -= candidate_squares(CANDIDATES_LOG2)[:, : values.shape[1]] @ quadratic[piece]
        total += scores[chunk.rows(k, everyone)]
    return total


def _log_arrivals(key: StreamKey, chunk: int) -> NDArray[np.float32]:
    """Logarithms of the arrival times, sums of Exp(1) gaps, shape (65536,). Encoder only."""
    u = shared_integers(key, Purpose.ARRIVALS, chunk, _COUNT)
    gaps = -np.log((u.astype(np.float64) + 0.5) * 2.0**-64)
    times: NDArray[np.float32] = np.log(np.cumsum(gaps)).astype(np.float32)
    return times
