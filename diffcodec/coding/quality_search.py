"""Searches the timestep whose picture has a quality, on a scale from 0 to 100 that follows SSIMULACRA 2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import Container, Header
from diffcodec.coding.encoder import EncodedPicture, Encoder
from diffcodec.coding.packets import encoded_packets
from diffcodec.coding.targets import Target
from diffcodec.coding.waypoint import Waypoint
from diffcodec.images import Picture
from diffcodec.images.visibility import SampledSsimulacra2
from diffcodec.model.levels import Level

MOST_PER_LEVEL = 14.0
"""How far SSIMULACRA 2 rises from one level of a list of 24 to the next, at most, once it is above FLOOR."""

FLOOR = -20.0
"""Scores below this do not predict the distance to a quality."""

WIDE, LARGEST_ERROR = 10.0, 2.0
"""Between levels whose scores are further apart the point found is measured, and corrected if it is off by more."""

MOST_WAITING = 1 << 22
"""Pixels above which no states between two measured levels are kept: each takes 24 bytes a pixel."""


def score_of(quality: float) -> float:
    """The SSIMULACRA 2 that a quality stands for: -10 at 0, 57 at 50, 90 (visually lossless) at 100."""
    return -10 + 1.68 * quality - 0.0068 * quality * quality


@dataclass(frozen=True)
class Measured:
    """A point of the trajectory, with the score of its picture."""

    point: Waypoint
    score: float

    @property
    def level(self) -> Level:
        """The point's level."""
        assert self.point.level is not None
        return self.point.level


class QualitySearch:
    """The search for one picture.

    It follows the trajectory, measures the estimate at some levels of the list until one has the score, and
    interpolates the timestep between that level and the one before. The network evaluates only what encoding takes
    anyway, and once the last level; where levels are far apart once what was interpolated, and rarely once more.

    Args:
        encoder: for pictures of this size and mode.
        pixels: the picture, (H, W, 3) or (H, W).
        x_0: its signal, (1, C, H, W).
        start: the trajectory's start.
    """

    def __init__(self, encoder: Encoder, pixels: NDArray[np.uint8], x_0: Tensor, start: Waypoint) -> None:
        self.encoder, self.pixels, self.x_0, self.start = encoder, pixels, x_0, start
        self.tables = encoder.context.tables
        finest = self.tables.level(1)
        self.levels = [level for level in encoder.context.levels.levels if level.log_snr <= finest.log_snr]

    @cached_property
    def scorer(self) -> SampledSsimulacra2:
        """Measures restored pictures."""
        return SampledSsimulacra2(self.pixels)

    def find(self, quality: float) -> tuple[Waypoint, int]:
        """The point whose picture has a quality, as far as the levels go, and its timestep."""
        wanted = score_of(quality)
        before, last = self.start, self._measure(self._step(self.start, self.levels[0]))
        while last.score < wanted and last.point.steps < len(self.levels):
            passed = self._walk(last.point, self._distance(last, wanted))
            found = self._measure(passed[-1])
            if found.score >= wanted:
                return self._between(last, passed[:-1], found, wanted)
            before, last = [last.point, *passed][-2], found
        return self._ending(before, last.point, self.tables.timestep_at(last.level))

    def _measure(self, point: Waypoint) -> Measured:
        restored = point.restored
        with self.encoder.watch.coding():
            return Measured(point, self.scorer.score(restored))

    def _step(self, point: Waypoint, end: Level) -> Waypoint:
        return point.to(end, self.x_0, self.encoder)

    def _walk(self, point: Waypoint, count: int) -> list[Waypoint]:
        """The next points at levels of the list, at most `count`."""
        passed: list[Waypoint] = []
        for level in self.levels[point.steps : point.steps + count]:
            point = self._step(point, level)
            passed.append(point)
        return passed

    def _distance(self, here: Measured, wanted: float) -> int:
        """Number of levels after which the score may be reached, at least 1."""
        if self.pixels.shape[0] * self.pixels.shape[1] > MOST_WAITING:
            return 1
        per_level = MOST_PER_LEVEL * max(1.0, 24 / len(self.levels))
        return max(1, int((wanted - max(here.score, FLOOR)) / per_level))

    def _between(self, low: Measured, waiting: list[Waypoint], high: Measured, wanted: float) -> tuple[Waypoint, int]:
        """The point with a score between those of two others, and its timestep.

        Args:
            low, high: whose scores are below and above.
            waiting: all points in between, not measured yet.
            wanted: score.
        """
        while waiting:
            place = len(waiting) // 2
            middle = self._measure(waiting[place])
            if middle.score >= wanted:
                high, waiting = middle, waiting[:place]
            else:
                low, waiting = middle, waiting[place + 1 :]
        before, wide = low.point, high.score - low.score > WIDE
        found, timestep = self._ending(before, high.point, self._interpolated(low, high, wanted))
        if wide and found is not high.point:
            tried = self._measure(found)
            if abs(tried.score - wanted) > LARGEST_ERROR:
                low, high = (low, tried) if tried.score >= wanted else (tried, high)
                return self._ending(before, high.point, self._interpolated(low, high, wanted))
        return found, timestep

    def _interpolated(self, low: Measured, high: Measured, wanted: float) -> int:
        """The coarsest timestep that has a score, if it is linear in log SNR between two points."""
        share = (wanted - low.score) / (high.score - low.score)
        least = low.level.log_snr + share * (high.level.log_snr - low.level.log_snr)
        coarsest, finest = (self.tables.timestep_at(each.level) for each in (low, high))
        between = range(coarsest - 1, finest, -1)
        return next((t for t in between if self.tables.level(t).log_snr >= least), finest)

    def _ending(self, before: Waypoint, point: Waypoint, timestep: int) -> tuple[Waypoint, int]:
        """The point of a timestep: `point` if it is there, or else a step from the one before."""
        level = self.tables.level(timestep)
        return (point if point.level == level else self._step(before, level)), timestep


def encode_with(
    quality: Target, encoder: Encoder, picture: Picture, header: Header, *, restore: bool = True
) -> EncodedPicture:
    """The file whose picture has a quality, approximately.

    Args:
        quality: of the picture.
        encoder: for pictures of this size and mode.
        picture: the picture.
        header: of the file, except for its timestep.
        restore: whether to restore the picture, too.
    """
    trajectory, x_0 = encoder.start([picture], encoder.context.levels.levels[-1])
    search = QualitySearch(encoder, picture.pixels, x_0, Waypoint(trajectory, encoder.new_payload()))
    point, timestep = search.find(quality.value)
    restored = point.restored if restore else None
    with encoder.watch.coding():
        packets = encoded_packets(picture)
        container = Container(replace(header, timestep=timestep), point.payload.writer.getvalue(), *packets)
    ceiling = None if restored is None else encoder.ceiling(x_0)
    return EncodedPicture(container, point.payload, restored, ceiling)
