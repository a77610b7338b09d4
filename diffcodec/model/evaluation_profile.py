"""How a network is best evaluated, as calibration measured it. Torch-free; not part of the fingerprint."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig

LARGEST_ERROR = 0.02
"""Largest rms of bfloat16's rounding error, relative to the estimate's own error, at which it replaces float32.

The errors are independent, so the distortion grows by at most 0.04 %: 0.002 dB.
"""

LEAST_MIRROR_GAIN = 0.03
"""Least gain in dB at which the mean of mirrored estimates is worth its time: it saves about 0.6 % of the bits."""


@dataclass(frozen=True)
class EvaluationProfile(JsonConfig):
    """A network's rounding error in bfloat16 and gain from mirrored inputs, by noise level, and how far it really sees.

    Args:
        log_snrs: of the measured levels, in nats, ascending.
        bf16_errors: rms difference of the x_0 estimates in bfloat16 and in float32, divided by the rms error of the
            estimate in float32; as many as there are levels.
        window_margin: pixels around a part of a large picture that its estimate needs; None: the receptive radius.
        mirror_gains: how much smaller the squared error of the mean of mirrored estimates is than that of one estimate,
            in dB; as many as there are levels, or none if it was not measured.
    """

    log_snrs: tuple[float, ...] = ()
    bf16_errors: tuple[float, ...] = ()
    window_margin: int | None = None
    mirror_gains: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.log_snrs) != len(self.bf16_errors):
            found = f"{len(self.log_snrs)} and {len(self.bf16_errors)}"
            raise ConfigError(f"EvaluationProfile: expected as many errors as levels, found {found}")
        if self.mirror_gains and len(self.mirror_gains) != len(self.log_snrs):
            found = f"{len(self.log_snrs)} and {len(self.mirror_gains)}"
            raise ConfigError(f"EvaluationProfile: expected as many gains as levels, found {found}")
        if any(after <= before for before, after in pairwise(self.log_snrs)):
            raise ConfigError("EvaluationProfile.log_snrs: expected ascending values")
        if self.window_margin is not None and self.window_margin < 0:
            raise ConfigError(f"EvaluationProfile.window_margin: expected at least 0, found {self.window_margin}")

    @property
    def rounds(self) -> bool:
        """Whether bfloat16 is accurate enough at any level."""
        return any(self.allows_bf16(log_snr) for log_snr in self.log_snrs)

    def allows_bf16(self, log_snr: float) -> bool:
        """Whether bfloat16 is accurate enough at a level: it is at both measured levels beside it.

        Below the noisiest measured level that level's error counts; beyond the finest one, or if nothing was measured,
        the answer is no.
        """
        beside = self._beside(log_snr, self.bf16_errors)
        return bool(beside) and max(beside) <= LARGEST_ERROR

    def gains_from_mirroring(self, log_snr: float) -> bool:
        """Whether the mean of mirrored estimates is worth its time at a level: it is at both levels beside it."""
        beside = self._beside(log_snr, self.mirror_gains)
        return bool(beside) and min(beside) >= LEAST_MIRROR_GAIN

    def _beside(self, log_snr: float, measured: tuple[float, ...]) -> tuple[float, ...]:
        """What was measured at the levels beside one; nothing beyond the finest."""
        above = bisect_left(self.log_snrs, log_snr)
        return measured[max(above - 1, 0) : above + 1] if above < len(self.log_snrs) else ()


FLOAT32 = EvaluationProfile()
"""Allows no bfloat16."""

BFLOAT16 = EvaluationProfile((math.inf,), (0.0,))
"""Allows bfloat16 everywhere."""
