"""Divides a picture into tiles, each sent as one message. Integers only, so that both sides divide it alike.

A large picture has smooth and busy parts: each tile has its own message length, which also adapts the variances. And
the amount that the channel processes at once does not grow with the picture. Steps with few bits use larger tiles.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from diffcodec.coding.band_transform import BLOCK


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture, in pixels.

    Args:
        number: running number, row by row, among the tiles of its division.
        top, left, height, width: position and size.
    """

    number: int
    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows of the picture."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns of the picture."""
        return slice(self.left, self.left + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class Tiling:
    """Divisions of a picture, from the whole (0) to the finest (`depth`). Each halves the tiles of the previous one.

    Args:
        width, height: of the picture, in pixels.
        side: approximate side of the finest tiles in pixels; they have 3/4 to 3/2 of it where the picture is large
            enough. 0: the picture is not divided.
    """

    width: int
    height: int
    side: int

    @cached_property
    def depth(self) -> int:
        """Number of the finest division."""
        return max(self._halvings)

    @cached_property
    def _halvings(self) -> tuple[int, int]:
        """How often height and width are halved in the finest division."""
        found = []
        for length in (self.height, self.width):
            halvings = 0
            while self.side and 2 * length >= 3 * self.side << halvings and -(-length // BLOCK) >= 2 << halvings:
                halvings += 1
            found.append(halvings)
        return found[0], found[1]

    def counts(self, division: int) -> tuple[int, int]:
        """Number of rows and columns of tiles in a division."""
        down, across = (1 << max(0, halvings - self.depth + division) for halvings in self._halvings)
        return down, across

    def tiles(self, division: int) -> list[Tile]:
        """The tiles of a division, row by row; their borders lie between blocks of the transform."""
        down, across = self.counts(division)
        rows, columns = _borders(self.height, down), _borders(self.width, across)
        return [
            Tile(i * across + j, rows[i], columns[j], rows[i + 1] - rows[i], columns[j + 1] - columns[j])
            for i in range(down)
            for j in range(across)
        ]

    def parents(self, coarse: int, fine: int) -> list[int]:
        """For every tile of a fine division, the number of the tile of a coarse one that contains it."""
        (down, across), (coarse_down, coarse_across) = self.counts(fine), self.counts(coarse)
        return [
            i * coarse_down // down * coarse_across + j * coarse_across // across
            for i in range(down)
            for j in range(across)
        ]


def by_shape(tiles: list[Tile]) -> list[list[Tile]]:
    """The tiles grouped by shape, in the order in which they are sent."""
    shapes: defaultdict[tuple[int, int], list[Tile]] = defaultdict(list)
    for tile in tiles:
        shapes[tile.shape].append(tile)
    return list(shapes.values())


def _borders(length: int, parts: int) -> list[int]:
    """Borders of equal parts, at multiples of BLOCK except for the last."""
    blocks = -(-length // BLOCK)
    return [min(length, BLOCK * (blocks * part // parts)) for part in range(parts + 1)]
