"""The messages of a step, one per tile, and what both sides know about each before it is sent.

Torch-free. Everything that selects symbols is computed from integers only.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.lengths import GRID, LengthCoder
from diffcodec.channel import Channel, StreamKey
from diffcodec.coding.band_transform import BandTransform
from diffcodec.coding.canvas import Canvas, SignalKind
from diffcodec.coding.step_prior import BandVariances, EqualVariances, StepPrior
from diffcodec.coding.tiling import Tile, by_shape
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.errors import CorruptStreamError
from diffcodec.model.levels import BITS_SCALE, LOG_SNR_SCALE, Level, LevelList
from diffcodec.model.tables import CodecTables

TILE_NUMBER_BITS = 34
"""Step numbers of all kinds of shared noise take the low bits, this many; the tile number takes those above."""

LEAST_TILE_BITS = 200
"""A picture is divided as long as a step's message is expected to have this many bits per tile."""

MOST_TILE_DIMS = 1 << 22
"""Tiles with more coordinates than about this are divided regardless of the expected bits."""

PIXELS_AT_ONCE = 1 << 17
"""Pixels of tiles that go through the channel together: it needs about 600 bytes per pixel."""


@dataclass(frozen=True)
class TileMessages:
    """The messages of a step for all tiles of one shape.

    Args:
        tiles: of the messages.
        prior: p of the step in such a tile.
        keys: of the shared randomness, one per tile.
        channels: coded coordinates per grid point.
    """

    tiles: Sequence[Tile]
    prior: StepPrior
    keys: Sequence[StreamKey]
    channels: int

    @property
    def dims(self) -> int:
        """Coordinates of a tile."""
        return self.channels * math.prod(self.tiles[0].shape)

    @property
    def sent_dims(self) -> int:
        """Number of coefficients of a tile that are sent."""
        return self.prior.dims

    def parts(self, pictures: int) -> Iterator[TileMessages]:
        """The messages in chunks that bound the memory of a batch. Chunking does not affect the bitstream."""
        at_once = max(1, PIXELS_AT_ONCE * self.channels // (self.dims * pictures))
        for start in range(0, len(self.tiles), at_once):
            some = slice(start, start + at_once)
            yield TileMessages(self.tiles[some], self.prior, self.keys[some], self.channels)

    def parts_with(self, lengths: Sequence[Sequence[int]]) -> Iterator[tuple[TileMessages, list[int]]]:
        """The parts, each with the lengths of its messages, picture by picture.

        Args:
            lengths: of all tiles, a row per picture.
        """
        done = 0
        for part in self.parts(len(lengths)):
            some = slice(done, done + len(part.tiles))
            yield part, [length for row in lengths for length in row[some]]
            done = some.stop

    def cut(self, coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates of the tiles: from (N, C, H, W) to (N tiles, dims), picture by picture."""
        tiles = np.stack([coordinates[:, :, tile.rows, tile.columns] for tile in self.tiles], axis=1)
        return tiles.reshape(len(coordinates) * len(self.tiles), -1)

    def paste(self, tiles: NDArray[np.float32], coordinates: NDArray[np.float32]) -> None:
        """Undo `cut`, in place."""
        shape = len(coordinates), len(self.tiles), coordinates.shape[1], *self.tiles[0].shape
        for index, tile in enumerate(self.tiles):
            coordinates[:, :, tile.rows, tile.columns] = tiles.reshape(shape)[:, index]

    def keys_for(self, pictures: int) -> list[StreamKey]:
        """Keys of the messages of a batch of pictures, which share them; a single key if there is only one tile."""
        return list(self.keys) * (pictures if len(self.keys) > 1 else 1)

    def expected_length(self, channel: Channel) -> int:
        """A message's length as the static tables expect it, in 1 / LENGTH_SCALE of the channel's unit of length."""
        # The trellis spends about 1.1 bits per bit of information: include this factor from the first step on.
        return self.prior.expected_bits * 9 // 8 // channel.bits_per_length

    def max_length(self, channel: Channel) -> int:
        """The longest message that the encoder sends for a tile: 8 bits per coefficient, and 64."""
        return GRID[bisect_right(GRID, (8 * self.sent_dims + 64) // channel.bits_per_length) - 1]

    def check_length(self, length: int, channel: Channel) -> None:
        """Refuse a length that no encoder writes, before the decoder allocates memory for it.

        Raises:
            CorruptStreamError: if it exceeds `max_length`.
        """
        if length > self.max_length(channel):
            bits = length * channel.bits_per_length
            raise CorruptStreamError(f"a step claims {bits} path bits for {self.sent_dims} coefficients")


@dataclass(frozen=True)
class StepPlan:
    """The messages of all steps.

    Args:
        tables: of the model.
        levels: the list that is followed.
        canvas: geometry of the signal.
        seed: of the shared randomness.
    """

    tables: CodecTables
    levels: LevelList
    canvas: Canvas
    seed: int

    def batches(self, step: int, end: Level) -> list[TileMessages]:
        """The messages of the step from the step-th level (0: pure noise) to `end`, in the order of sending."""
        return [
            TileMessages(
                tiles,
                self._prior(step, end, tiles[0]),
                [self._key(step, tile) for tile in tiles],
                self.canvas.kind.coded_channels,
            )
            for tiles in by_shape(self.canvas.tiling.tiles(self.division(step, end)))
        ]

    def divide(self, coders: Iterable[LengthCoder], step: int, end: Level) -> None:
        """Pass the coders' state on to the tiles of a step, if its division differs from the previous step's."""
        before = self._divisions_before[step]
        if (now := self.division(step, end)) != before:
            parents = self.canvas.tiling.parents(before, now)
            for coder in coders:
                coder.divide(parents)

    def division(self, step: int, end: Level) -> int:
        """The finest division whose messages are long enough to be worth their lengths; never coarser than before.

        From integers only, because parsing depends on it.
        """
        return self._division_after(self._divisions_before[step], step, end)

    @cached_property
    def _divisions_before(self) -> list[int]:
        """The division before every step. In any file all steps but the last end at levels of the list."""
        found = [0]
        for step, end in enumerate(self.levels.levels):
            found.append(self._division_after(found[-1], step, end))
        return found

    def _division_after(self, before: int, step: int, end: Level) -> int:
        """The division of a step, given the previous one."""
        if before == self.canvas.tiling.depth:
            return before
        expected = self._expected_bits(step, end)
        for division in range(self.canvas.tiling.depth, before, -1):
            tiles = math.prod(self.canvas.tiling.counts(division))
            if expected >= tiles * LEAST_TILE_BITS * BITS_SCALE or 4 * self.canvas.dims > tiles * MOST_TILE_DIMS:
                return division
        return before

    def _expected_bits(self, step: int, end: Level) -> int:
        """Expected bits of the whole picture: the sum over its finest tiles, in 1 / BITS_SCALE bits."""
        tiling = self.canvas.tiling
        shapes = by_shape(tiling.tiles(tiling.depth))
        return sum(len(tiles) * self._prior(step, end, tiles[0]).expected_bits for tiles in shapes)

    def _key(self, step: int, tile: Tile) -> StreamKey:
        """Key of a message's shared randomness."""
        return StreamKey(self.seed, step + (tile.number << TILE_NUMBER_BITS))

    def _prior(self, step: int, end: Level, tile: Tile) -> StepPrior:
        """p of a step in a tile."""
        start = self.levels.start_of(step)
        from_snr = 0.0 if start is None else NoiseLevel(start.log_snr / LOG_SNR_SCALE).snr
        gap = NoiseLevel(end.log_snr / LOG_SNR_SCALE).snr - from_snr
        kind = self.canvas.kind
        if self.tables.variances is None:
            return EqualVariances(self.levels, step, end, gap, kind.coded_channels * tile.height * tile.width)
        transform = _transform(kind, tile.width, tile.height)
        return BandVariances(transform, self.tables.variances, self.levels, step, end, gap)


@lru_cache(maxsize=18)
def _transform(kind: SignalKind, width: int, height: int) -> BandTransform:
    """Cached because a transform stores the band of every coefficient; tiles of a shape share one.

    A division has at most nine shapes, and two divisions are used alternately: a step's own, and the finest.
    """
    return kind.transform(width, height)
