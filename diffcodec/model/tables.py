"""Integer tables that the bitstream depends on: made at calibration, stored, and never recomputed.

Logarithms and exponentials differ by an ulp between libraries, and one flipped rounding would desynchronise
encoder and decoder. So everything that selects symbols is an integer.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig
from diffcodec.lossless.tables import LosslessTables
from diffcodec.model.levels import Level, LevelList

MAX_TOTAL = 1 << 24
"""Largest sum of one table of length weights that the entropy coder supports."""

OCTAVE_STEPS = 8
"""Variances are stored as base-2 logarithms, in units of 1 / OCTAVE_STEPS."""

MAX_OCTAVES = 64 * OCTAVE_STEPS
"""Largest absolute value of a variance's logarithm."""

INFORMATION_SCALE = 1 << 16
"""The information of a coefficient is stored in units of 1 / INFORMATION_SCALE bits."""

INFORMATION_FROM, INFORMATION_TO = -16 * OCTAVE_STEPS, 32 * OCTAVE_STEPS
"""First and last position of the information table; beyond them its end values hold."""

UNSENT_SCALE = 256
"""Unit of the share of a step's information that is not sent."""

MAX_SHIFT = 8 * OCTAVE_STEPS
"""Largest shift of a picture's variances from those of the table, in 1 / OCTAVE_STEPS."""

LATENT_UNIT = 1024
"""Mean latents are stored in units of 1 / LATENT_UNIT."""

MAX_LISTS = 16


@dataclass(frozen=True)
class Variances(JsonConfig):
    """Error variances of the x_0 estimate in the bands of `band_transform.BandTransform`, by log SNR.

    Args:
        log_snr: at which they were measured, rising, in 1 / LOG_SNR_SCALE nats.
        octaves: for each log SNR, for each band: log2 of the variance ([-1, 1] units) in 1 / OCTAVE_STEPS.
        start: the same for the estimate from pure noise.
        information: 1/2 log2(1 + 2^(x / OCTAVE_STEPS)) for x from INFORMATION_FROM to INFORMATION_TO, in units of
            1 / INFORMATION_SCALE bits, at least 1: the expected information of a step about a coefficient whose
            variance is 2^(x / OCTAVE_STEPS) over the SNR gained.
        unsent_share: groups of coefficients with the least information, which together hold less than this share of
            a step's, are not sent, in units of 1 / UNSENT_SCALE.
    """

    log_snr: tuple[int, ...]
    octaves: tuple[tuple[int, ...], ...]
    start: tuple[int, ...]
    information: tuple[int, ...]
    unsent_share: int = 0

    def __post_init__(self) -> None:
        if not self.log_snr or len(self.log_snr) != len(self.octaves):
            raise ConfigError(f"variances: {len(self.log_snr)} log SNRs with {len(self.octaves)} rows")
        if any(a >= b for a, b in pairwise(self.log_snr)):
            raise ConfigError("variances: log SNRs must rise")
        if not self.start or any(len(row) != self.bands for row in self.octaves):
            raise ConfigError(f"variances: expected {self.bands} bands at every log SNR, as many as the start has")
        if any(abs(value) > MAX_OCTAVES for row in (*self.octaves, self.start) for value in row):
            raise ConfigError("variances: a variance is out of range")
        if len(self.information) != INFORMATION_TO - INFORMATION_FROM + 1:
            raise ConfigError(
                f"variances: expected {INFORMATION_TO - INFORMATION_FROM + 1} entries of information, "
                f"found {len(self.information)}"
            )
        if not 1 <= self.information[0] <= self.information[-1] < 1 << 24:
            raise ConfigError("variances: information is out of range")
        if not 0 <= self.unsent_share < UNSENT_SCALE:
            raise ConfigError(f"variances: expected an unsent share of 0 to {UNSENT_SCALE - 1}")
        if any(a > b for a, b in pairwise(self.information)):
            raise ConfigError("variances: information must not fall")

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.start)

    def at(self, level: Level | None) -> tuple[int, ...]:
        """Octaves of every band at a level (None: pure noise), interpolated and rounded to quarters of an octave.

        Rounding leaves few distinct values, so that many coefficients share one.
        """
        if level is None:
            return tuple(_rounded(value, 1) for value in self.start)
        above = bisect_right(self.log_snr, level.log_snr)
        if above in (0, len(self.log_snr)):
            return tuple(_rounded(value, 1) for value in self.octaves[max(0, above - 1)])
        low, high = self.log_snr[above - 1], self.log_snr[above]
        right, left = level.log_snr - low, high - level.log_snr
        return tuple(
            _rounded(a * left + b * right, high - low)
            for a, b in zip(self.octaves[above - 1], self.octaves[above], strict=True)
        )

    def expected(self, octaves: NDArray[np.int64]) -> NDArray[np.int64]:
        """`information` at any x; same shape."""
        places = np.clip(octaves, INFORMATION_FROM, INFORMATION_TO) - INFORMATION_FROM
        return np.array(self.information, np.int64)[places]


def _rounded(value: int, scale: int) -> int:
    """value / scale rounded to an even number; halves upwards."""
    return (value + scale) // (2 * scale) * 2


@dataclass(frozen=True)
class CodecTables(JsonConfig):
    """All tables of a model.

    Args:
        timesteps: the schedule's integer timesteps 1...T as levels (falling log SNR).
        lists: level lists, by rising size class.
        length_weights: weight tables of the step-length code (`bitstream.lengths`), one per context.
        start: the estimate of x_0 from pure noise, a colour in 1 / 128 grey level. Without it the network is evaluated
            on pure noise, which magnifies its rounding errors a hundred times.
        latent_start: the same for latent models, by channel, in 1 / LATENT_UNIT; empty: zero.
        lossless: tables for t = 0; None: the model cannot make lossless files.
        variances: of p by band; without them p has the variance of q everywhere.
        default_steps: number of levels of the default list; 0 if each size class has only one list.
        tile_side: approximate side, in pixels, of the tiles that are sent as separate messages (`tiling.Tiling`);
            0: one message per picture and step.
    """

    timesteps: tuple[Level, ...]
    lists: tuple[LevelList, ...]
    length_weights: tuple[tuple[int, ...], ...]
    start: tuple[int, ...] | None = None
    lossless: LosslessTables | None = None
    variances: Variances | None = None
    default_steps: int = 0
    tile_side: int = 0
    latent_start: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(abs(value) > 64 * LATENT_UNIT for value in self.latent_start):
            raise ConfigError("tables: a mean latent is out of range")
        if self.start is not None and (len(self.start) != 3 or not 0 <= min(self.start) <= max(self.start) <= 32640):
            raise ConfigError("tables: expected a start of three values from 0 to 32640")
        if self.tile_side and not 32 <= self.tile_side <= 1 << 16:
            raise ConfigError(f"tables: expected a tile side of at least 32, or 0 for none, found {self.tile_side}")
        if not 1 <= len(self.lists) <= MAX_LISTS:
            raise ConfigError(f"tables: expected 1 to {MAX_LISTS} level lists, found {len(self.lists)}")
        if self.variances is None and not all(levels.mse for levels in self.lists):
            raise ConfigError("tables: level lists without errors need variances")
        bounds = {levels.max_pixels for levels in self.lists}
        named = {levels.max_pixels for levels in self.lists if len(levels.levels) == self.default_steps}
        if self.default_steps and named != bounds:
            raise ConfigError(f"tables: a size class has no list of {self.default_steps} levels, the default")
        if any(min(weights, default=0) < 1 or sum(weights) > MAX_TOTAL for weights in self.length_weights):
            raise ConfigError(f"tables: length weights must be positive, with a sum of at most {MAX_TOTAL}")
        if any(a.log_snr <= b.log_snr for a, b in pairwise(self.timesteps)):
            raise ConfigError("tables: log SNRs of timesteps must fall")
        # A step may lead from any level of a list to any cleaner timestep; its expected bits must not be negative.
        everything = {level for levels in self.lists for level in levels.levels} | set(self.timesteps)
        in_order = sorted(everything, key=lambda level: (level.log_snr, level.snr))
        if any(a.snr > b.snr for a, b in pairwise(in_order)):
            raise ConfigError("tables: SNRs must rise with log SNRs")

    @property
    def has_start(self) -> bool:
        """Whether the first estimate is a constant, and no evaluation of the network."""
        return self.start is not None or bool(self.latent_start)

    def level(self, timestep: int) -> Level:
        """The level of an integer timestep.

        Raises:
            ConfigError: if not 1 <= timestep <= T.
        """
        if not 1 <= timestep <= len(self.timesteps):
            raise ConfigError(f"timestep: expected 1 to {len(self.timesteps)}, found {timestep}")
        return self.timesteps[timestep - 1]

    def timestep_at(self, level: Level) -> int:
        """The cleanest timestep that is not cleaner than a level; T if there is none."""
        noisier = sum(each.log_snr <= level.log_snr for each in self.timesteps)
        return len(self.timesteps) - max(0, noisier - 1)

    def lists_for(self, pixels: int) -> list[int]:
        """Indices of the level lists of a picture's size class."""
        bounds = [levels.max_pixels or math.inf for levels in self.lists]
        bound = min((bound for bound in bounds if pixels <= bound), default=max(bounds))
        return [index for index, each in enumerate(bounds) if each == bound]

    def list_for(self, pixels: int, steps: int | None = None) -> int:
        """Index of the level list for a picture.

        Args:
            pixels: of the picture.
            steps: number of levels; None for the model's default.

        Raises:
            ConfigError: if there is no list with that number of levels.
        """
        of_class = self.lists_for(pixels)
        if steps is None and not self.default_steps:
            return of_class[0]
        wanted = self.default_steps if steps is None else steps
        for index in of_class:
            if len(self.lists[index].levels) == wanted:
                return index
        known = ", ".join(str(len(self.lists[index].levels)) for index in of_class)
        raise ConfigError(f"steps: the model has lists of {known} levels, found {wanted}", parameters=["steps"])
