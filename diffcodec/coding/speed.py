"""Speeds: settings on the convex hull of time and size, measured by benchmarks/speed_table.py (docs/speed.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from diffcodec.model.tables import CodecTables


class SpeedSetting(NamedTuple):
    """What a speed stands for.

    Args:
        effort: of the channel.
        more_steps: places of the level list after the model's default one, by rising number of levels.
    """

    effort: int
    more_steps: int


SPEEDS = (
    SpeedSetting(16, 3),
    SpeedSetting(14, 3),
    SpeedSetting(14, 2),
    SpeedSetting(14, 1),
    SpeedSetting(12, 1),
    SpeedSetting(14, 0),
    SpeedSetting(12, 0),
    SpeedSetting(14, -1),
    SpeedSetting(12, -1),
    SpeedSetting(12, -2),
    SpeedSetting(10, -2),
)
"""By speed, from 0 (smallest files) to 10 (fastest)."""

DEFAULT_SPEED = 6


def steps_at(speed: int, tables: CodecTables, pixels: int) -> int | None:
    """Number of levels of a speed's list for a picture; None for the model's default list.

    Args:
        speed: 0 to 10.
        tables: of the model. If they have no list so far from the default, the nearest is taken.
        pixels: of the picture.
    """
    more = SPEEDS[speed].more_steps
    lengths = sorted(len(tables.lists[index].levels) for index in tables.lists_for(pixels))
    if not more or tables.default_steps not in lengths:
        return None
    place = lengths.index(tables.default_steps) + more
    return lengths[min(max(place, 0), len(lengths) - 1)]
