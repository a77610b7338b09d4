"""Noise levels in integers, and lists of them: which states a file visits."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig

LOG_SNR_SCALE = 1 << 16
"""Log SNRs are stored in units of 1 / LOG_SNR_SCALE nats."""

SNR_SCALE = 1 << 24
"""SNRs are stored in units of 1 / SNR_SCALE."""

MSE_SCALE = 1 << 32
"""Squared errors of the x_0 estimate ([-1, 1] units, mean over subpixels) are stored in units of 1 / MSE_SCALE."""

BITS_SCALE = 256
"""Expected information is in units of 1 / BITS_SCALE bits."""

HALF_OVER_LN2 = 47274
"""1 / (2 ln 2), in units of 1 / 65536."""

MAX_LOG_SNR = 64 * LOG_SNR_SCALE
"""Largest absolute value of a level's log SNR: far beyond any model, and safe to exponentiate."""

MAX_MSE = 4 * MSE_SCALE
"""Squared error of pixels at opposite ends of [-1, 1]."""


@dataclass(frozen=True)
class Level(JsonConfig):
    """A noise level in integers, in the units above."""

    log_snr: int
    snr: int

    def __post_init__(self) -> None:
        if abs(self.log_snr) > MAX_LOG_SNR or not 1 <= self.snr < 1 << 128:
            raise ConfigError("level: the log SNR or the SNR is out of range")


@dataclass(frozen=True)
class LevelList(JsonConfig):
    """The noise levels that a file visits, from the first after pure noise down to the cleanest.

    Args:
        max_pixels: the encoder uses the first list whose `max_pixels` is at least the picture's; 0 means no bound.
        levels: rising log SNR.
        mse: expected squared error of the x_0 estimate: first from pure noise, then from every level but
            the last; same length as `levels`. Empty if the tables have variances per band instead.
    """

    max_pixels: int
    levels: tuple[Level, ...]
    mse: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.levels or len(self.mse) not in (0, len(self.levels)):
            raise ConfigError(f"level list: {len(self.levels)} levels with {len(self.mse)} errors")
        if any(a.log_snr >= b.log_snr or a.snr >= b.snr for a, b in pairwise(self.levels)):
            raise ConfigError("level list: log SNRs must rise")
        if self.mse and not 1 <= min(self.mse) <= max(self.mse) <= MAX_MSE:
            raise ConfigError(f"level list: errors must lie in 1..{MAX_MSE}")

    def start_of(self, step: int) -> Level | None:
        """The level that a step leaves; None for pure noise."""
        return self.levels[step - 1] if step else None

    def steps_to(self, end: Level) -> list[Level]:
        """The levels that a file for `end` visits: those noisier than `end`, then `end` itself."""
        return [*self.levels[: self.steps_before(end)], end]

    def steps_before(self, end: Level) -> int:
        """Number of levels of the list that are noisier than `end`."""
        return bisect_left([level.log_snr for level in self.levels], end.log_snr)

    def expected_bits(self, step: int, end: Level, dims: int) -> int:
        """Expected KL of the step from the step-th level (0: pure noise) to `end`.

        1/2 (SNR(s) - SNR(t)) mse(t) per subpixel, in fixed point.

        Args:
            step: running number.
            end: level that it leads to.
            dims: number of coded subpixels.

        Returns:
            Units of 1 / BITS_SCALE bits.
        """
        start = self.start_of(step)
        gained = end.snr - (start.snr if start else 0)
        product = gained * self.mse[min(step, len(self.mse) - 1)] * dims * HALF_OVER_LN2 * BITS_SCALE
        return product // (SNR_SCALE * MSE_SCALE * 65536)
