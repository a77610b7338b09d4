"""Integer tables for models that have none: equal variances of q and p, and levels for networks in general.

Sender and receiver must come to the same integers without having them in a file, so nothing here is floating-point
arithmetic: levels follow from the schedule in decimal arithmetic, and the rest from a file that ships. It was planned
on the errors of a bundled model (benchmarks/uncalibrated.py).
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources

from diffcodec.config import JsonConfig, ScheduleConfig
from diffcodec.diffusion.betas import exactly, log_snrs
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.tables import LOG_SNR_SCALE, SNR_SCALE, CodecTables, Level, LevelList


@dataclass(frozen=True)
class GeneralList(JsonConfig):
    """Where the levels of a list should lie.

    Args:
        max_pixels: see `LevelList`.
        log_snr: rising, in 1 / LOG_SNR_SCALE nats; the last one stands for timestep 1.
    """

    max_pixels: int
    log_snr: tuple[int, ...]


@dataclass(frozen=True)
class GeneralTables(JsonConfig):
    """What is expected of any network and any picture.

    Args:
        start: the estimate given nothing, see `CodecTables`.
        start_mse: its squared error, in 1 / MSE_SCALE.
        log_snr: where the error of a network's estimate is known, rising, in 1 / LOG_SNR_SCALE nats.
        mse: that error, in 1 / MSE_SCALE.
        length_weights: see `CodecTables`.
        lists: by rising size class.
        default_steps: number of levels where none is asked for.
    """

    start: tuple[int, ...]
    start_mse: int
    log_snr: tuple[int, ...]
    mse: tuple[int, ...]
    length_weights: tuple[tuple[int, ...], ...]
    lists: tuple[GeneralList, ...]
    default_steps: int

    @classmethod
    def shipped(cls) -> GeneralTables:
        """Those that come with the package."""
        file = resources.files("diffcodec") / "models" / "uncalibrated.json"
        return cls.from_dict(json.loads(file.read_text(encoding="utf-8")))

    def mse_at(self, level: Level) -> int:
        """The error at a level, interpolated and rounded down; that of the nearest end outside."""
        above = bisect_right(self.log_snr, level.log_snr)
        if above in (0, len(self.log_snr)):
            return self.mse[max(0, above - 1)]
        low, high = self.log_snr[above - 1], self.log_snr[above]
        right, left = level.log_snr - low, high - level.log_snr
        return (self.mse[above - 1] * left + self.mse[above] * right) // (high - low)


def uncalibrated_tables(schedule: ScheduleConfig) -> CodecTables:
    """Tables for a network of which nothing is known but its schedule. All levels are timesteps.

    Raises:
        CheckpointError: if the schedule has timesteps that are no noise levels of their own.
    """
    general, timesteps = GeneralTables.shipped(), exact_levels(schedule)
    fitting = [plan for plan in general.lists if len(plan.log_snr) <= len(timesteps)]
    # A schedule with fewer timesteps than any list has levels: all of them.
    levels = [choose_levels(plan.log_snr, timesteps) for plan in fitting] or [timesteps[::-1]]
    bounds = [plan.max_pixels for plan in fitting] or [0]
    default_steps = max((len(each) for each in levels if len(each) <= general.default_steps), default=0)
    try:
        return CodecTables(
            timesteps,
            tuple(
                LevelList(bound, each, (general.start_mse, *map(general.mse_at, each[:-1])))
                for bound, each in zip(bounds, levels, strict=True)
            ),
            general.length_weights,
            general.start,
            default_steps=default_steps,
        )
    except ConfigError as error:
        raise CheckpointError(f"the model's schedule has noise levels that cannot be told apart ({error})") from error


@exactly
def exact_levels(schedule: ScheduleConfig) -> tuple[Level, ...]:
    """The timesteps 1...T, the same integers on every machine.

    Raises:
        CheckpointError: if one has next to no SNR.
    """
    found = []
    for log_snr in log_snrs(schedule):
        units = int((log_snr * LOG_SNR_SCALE).to_integral_value())
        snr = int(((Decimal(units) / LOG_SNR_SCALE).exp() * SNR_SCALE).to_integral_value())
        try:
            found.append(Level(units, max(1, snr)))
        except ConfigError as error:
            raise CheckpointError(f"timestep {len(found) + 1} of the model's schedule is pure noise") from error
    return tuple(found)


def choose_levels(wanted: tuple[int, ...], timesteps: tuple[Level, ...]) -> tuple[Level, ...]:
    """A timestep near every wanted log SNR, none of them twice; the last is timestep 1.

    Args:
        wanted: log SNRs, rising, in 1 / LOG_SNR_SCALE nats.
        timesteps: at least as many, falling log SNR.
    """
    rising = [level.log_snr for level in reversed(timesteps)]
    chosen: list[Level] = []
    free = 0  # place in `timesteps` of the finest that may be taken
    for behind, value in enumerate(reversed(wanted)):
        above = min(bisect_left(rising, value), len(rising) - 1)
        nearest = above - 1 if above and value - rising[above - 1] < rising[above] - value else above
        place = len(timesteps) - 1 - nearest if chosen else 0
        # As many must be left as there are levels to come.
        place = min(max(place, free), len(timesteps) - (len(wanted) - behind))
        chosen.append(timesteps[place])
        free = place + 1
    return tuple(reversed(chosen))
