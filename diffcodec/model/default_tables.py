"""Integer tables for uncalibrated models: equal variances of q and p, and generic level lists.

No file stores these tables, yet encoder and decoder must compute the same integers, so nothing here uses floating
point: levels follow from the schedule in decimal arithmetic, and the rest from a file in the package, which was planned
on the errors of a bundled model (benchmarks/default_tables.py).
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.betas import exactly, log_snrs
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.json_config import JsonConfig
from diffcodec.model.levels import LOG_SNR_SCALE, SNR_SCALE, Level, LevelList
from diffcodec.model.tables import CodecTables


@dataclass(frozen=True)
class GeneralList(JsonConfig):
    """Wanted levels of a list.

    Args:
        max_pixels: see `LevelList`.
        log_snr: rising, in 1 / LOG_SNR_SCALE nats; the last one represents timestep 1.
    """

    max_pixels: int
    log_snr: tuple[int, ...]


@dataclass(frozen=True)
class GeneralTables(JsonConfig):
    """Generic expectations for any network and any picture.

    Args:
        start: the estimate from pure noise, see `CodecTables`.
        start_mse: its squared error, in 1 / MSE_SCALE.
        log_snr: levels of `mse`, rising, in 1 / LOG_SNR_SCALE nats.
        mse: squared error of a network's estimate at these levels, in 1 / MSE_SCALE.
        length_weights: see `CodecTables`.
        lists: by rising size class.
        default_steps: default number of levels.
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
        """The tables in the package."""
        file = resources.files("diffcodec") / "models" / "default_tables.json"
        return cls.from_dict(json.loads(file.read_text(encoding="utf-8")))

    def mse_at(self, level: Level) -> int:
        """The error at a level, interpolated and rounded down; outside the range, that of the nearest end."""
        above = bisect_right(self.log_snr, level.log_snr)
        if above in (0, len(self.log_snr)):
            return self.mse[max(0, above - 1)]
        low, high = self.log_snr[above - 1], self.log_snr[above]
        right, left = level.log_snr - low, high - level.log_snr
        return (self.mse[above - 1] * left + self.mse[above] * right) // (high - low)


def default_tables(schedule: ScheduleConfig) -> CodecTables:
    """Tables for a network of which only the schedule is known. All levels are timesteps.

    Raises:
        CheckpointError: if several timesteps of the schedule round to one noise level.
    """
    general, timesteps = GeneralTables.shipped(), exact_levels(schedule)
    fitting = [plan for plan in general.lists if len(plan.log_snr) <= len(timesteps)]
    # A schedule with fewer timesteps than any list has levels uses all its timesteps.
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
        raise CheckpointError(f"the noise levels of the model's schedule are too close together ({error})") from error


@exactly
def exact_levels(schedule: ScheduleConfig) -> tuple[Level, ...]:
    """The timesteps 1...T as levels, the same integers on every machine.

    Raises:
        CheckpointError: if a timestep's SNR is too close to 0.
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
    """A distinct timestep near every wanted log SNR; the last is timestep 1.

    Args:
        wanted: log SNRs, rising, in 1 / LOG_SNR_SCALE nats.
        timesteps: at least as many, falling log SNR.
    """
    rising = [level.log_snr for level in reversed(timesteps)]
    chosen: list[Level] = []
    free = 0  # index in `timesteps` of the finest one not yet passed
    for behind, value in enumerate(reversed(wanted)):
        above = min(bisect_left(rising, value), len(rising) - 1)
        nearest = above - 1 if above and value - rising[above - 1] < rising[above] - value else above
        place = len(timesteps) - 1 - nearest if chosen else 0
        # Leave enough timesteps for the levels to come.
        place = min(max(place, free), len(timesteps) - (len(wanted) - behind))
        chosen.append(timesteps[place])
        free = place + 1
    return tuple(reversed(chosen))
