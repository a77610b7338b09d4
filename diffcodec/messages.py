"""Which messages a step has: one for each tile, and what both sides know of it. No network, and integers only where
something is parsed."""

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
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.errors import CorruptStreamError
from diffcodec.plane import Plane
from diffcodec.prior import BandVariances, EqualVariances, StepPrior
from diffcodec.tables import BITS_SCALE, LOG_SNR_SCALE, CodecTables, Level, LevelList
from diffcodec.tiling import Tile, by_shape
from diffcodec.transform import BlockTransform

TILE_NUMBER_BITS = 34
"""Step numbers of all kinds of shared noise lie below 2 to this; above is the number of the tile."""

LEAST_TILE_BITS = 200
"""A picture is divided while a step is expected to say so much about a tile."""

MOST_TILE_DIMS = 1 << 22
"""A picture is divided, whatever a step says, while its tiles have more coordinates than that, about."""

PIXELS_AT_ONCE = 1 << 18
"""Tiles of so many pixels go through the channel together: it takes some 600 bytes for each."""


@dataclass(frozen=True)
class TileBatch:
    """Messages of a step that are alike: those of tiles of one shape.

    Args:
        tiles: where they are.
        prior: what the receiver knows of each.
        keys: one for each.
        channels: coded coordinates of a pixel.
    """

    tiles: Sequence[Tile]
    prior: StepPrior
    keys: Sequence[StreamKey]
    channels: int

    @property
    def dims(self) -> int:
        """Coordinates of a tile."""
        return self.channels * math.prod(self.tiles[0].shape)

    def parts(self, pictures: int) -> Iterator[TileBatch]:
        """The same in parts that bound the memory of a batch of pictures. Nobody else can tell."""
        at_once = max(1, PIXELS_AT_ONCE * self.channels // (self.dims * pictures))
        for start in range(0, len(self.tiles), at_once):
            some = slice(start, start + at_once)
            yield TileBatch(self.tiles[some], self.prior, self.keys[some], self.channels)

    def parts_with(self, lengths: Sequence[Sequence[int]]) -> Iterator[tuple[TileBatch, list[int]]]:
        """The parts, each with the lengths of its own messages, picture by picture.

        Args:
            lengths: of every picture those of all tiles.
        """
        done = 0
        for part in self.parts(len(lengths)):
            some = slice(done, done + len(part.tiles))
            yield part, [length for row in lengths for length in row[some]]
            done = some.stop

    def cut(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates of the tiles: from (N, C, H, W) to (N tiles, dims), picture by picture."""
        cut = np.stack([planes[:, :, tile.rows, tile.columns] for tile in self.tiles], axis=1)
        return cut.reshape(len(planes) * len(self.tiles), -1)

    def paste(self, coordinates: NDArray[np.float32], planes: NDArray[np.float32]) -> None:
        """Undo `cut`, in place."""
        shape = len(planes), len(self.tiles), planes.shape[1], *self.tiles[0].shape
        for index, tile in enumerate(self.tiles):
            planes[:, :, tile.rows, tile.columns] = coordinates.reshape(shape)[:, index]

    def keys_for(self, pictures: int) -> list[StreamKey]:
        """Keys of the messages of a batch of pictures, which share them: one if all have the same."""
        return list(self.keys) * (pictures if len(self.keys) > 1 else 1)

    def expected_length(self, channel: Channel) -> int:
        """What the static tables expect of a message, in 1 / LENGTH_SCALE of the channel's unit of length."""
        # The trellis pays about 1.1 bits for one: the static part of that is worth knowing from the first step.
        return self.prior.expected_bits * 9 // 8 // channel.bits_per_length

    def max_length(self, channel: Channel) -> int:
        """The longest message that the encoder sends for a tile: 8 bits for every number, and a little."""
        return GRID[bisect_right(GRID, (8 * self.dims + 64) // channel.bits_per_length) - 1]

    def check_length(self, length: int, channel: Channel) -> None:
        """A length that no encoder writes must not make the decoder allocate.

        Raises:
            CorruptStreamError: if it is one.
        """
        if length > self.max_length(channel):
            bits = length * channel.bits_per_length
            raise CorruptStreamError(f"a step claims {bits} path bits for {self.dims} subpixels")


@dataclass(frozen=True)
class MessagePlan:
    """The messages of all steps.

    Args:
        tables: of the model.
        levels: the list that is followed.
        plane: geometry of the picture.
        seed: of the shared noise.
    """

    tables: CodecTables
    levels: LevelList
    plane: Plane
    seed: int

    def batches(self, step: int, end: Level) -> list[TileBatch]:
        """The messages of the step that leaves the step-th level (0: pure noise) for `end`, in the order in which they
        are sent."""
        return [
            TileBatch(
                tiles, self._prior(step, end, tiles[0]), [self._key(step, tile) for tile in tiles],
                self.plane.coded_channels,
            )
            for tiles in by_shape(self.plane.tiling.tiles(self.division(step, end)))
        ]  # fmt: skip

    def divide(self, coders: Iterable[LengthCoder], step: int, end: Level) -> None:
        """Makes coders go on with the tiles of a step, if they are others than those of the step before."""
        before = self._divisions_before[step]
        if (now := self.division(step, end)) != before:
            parents = self.plane.tiling.parents(before, now)
            for coder in coders:
                coder.divide(parents)

    def division(self, step: int, end: Level) -> int:
        """The finest division whose messages are long enough to be worth their lengths; never one coarser than before.

        From integers only, as all that is parsed depends on it.
        """
        return self._division_after(self._divisions_before[step], step, end)

    @cached_property
    def _divisions_before(self) -> list[int]:
        """The division before every step. All steps but the last end at levels of the list, in any file."""
        found = [0]
        for step, end in enumerate(self.levels.levels):
            found.append(self._division_after(found[-1], step, end))
        return found

    def _division_after(self, before: int, step: int, end: Level) -> int:
        """The division of a step where the one before it is known."""
        if before == self.plane.tiling.depth:
            return before
        expected = self._expected_bits(step, end)
        for division in range(self.plane.tiling.depth, before, -1):
            tiles = math.prod(self.plane.tiling.counts(division))
            if expected >= tiles * LEAST_TILE_BITS * BITS_SCALE or 4 * self.plane.dims > tiles * MOST_TILE_DIMS:
                return division
        return before

    def _expected_bits(self, step: int, end: Level) -> int:
        """Of the whole picture, as far as its finest tiles tell; in 1 / BITS_SCALE bits."""
        tiling = self.plane.tiling
        shapes = by_shape(tiling.tiles(tiling.depth))
        return sum(len(tiles) * self._prior(step, end, tiles[0]).expected_bits for tiles in shapes)

    def _key(self, step: int, tile: Tile) -> StreamKey:
        """Names the shared randomness of a message."""
        return StreamKey(self.seed, step + (tile.number << TILE_NUMBER_BITS))

    def _prior(self, step: int, end: Level, tile: Tile) -> StepPrior:
        """What the receiver knows of the step's outcome in a tile."""
        start = self.levels.start_of(step)
        from_snr = 0.0 if start is None else NoiseLevel(start.log_snr / LOG_SNR_SCALE).snr
        gap = NoiseLevel(end.log_snr / LOG_SNR_SCALE).snr - from_snr
        channels = self.plane.coded_channels
        if self.tables.variances is None:
            return EqualVariances(self.levels, step, end, gap, channels * tile.height * tile.width)
        transform = _transform(channels, tile.width, tile.height)
        return BandVariances(transform, self.tables.variances, self.levels, step, end, gap)


@lru_cache(maxsize=18)
def _transform(channels: int, width: int, height: int) -> BlockTransform:
    """Transforms know the band of every coefficient, once they have been asked; tiles of a shape share one.

    A division has at most nine shapes, and two divisions are looked at in turn: that of a step, and the finest.
    """
    return BlockTransform(channels, width, height)
