"""What evaluations of a network may leave out, as calibration measured it. Torch-free; not part of the fingerprint."""

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


@dataclass(frozen=True)
class EvaluationProfile(JsonConfig):
    """The rounding error of a network in bfloat16, by noise level, and how far it really sees.

    Args:
        log_snrs: of the measured levels, in nats, ascending.
        bf16_errors: rms difference of the x_0 estimates in bfloat16 and in float32, divided by the rms error of the
            estimate in float32; as many as there are levels.
        window_margin: pixels around a part of a large picture that its estimate needs; None: the receptive radius.
    """

    log_snrs: tuple[float, ...] = ()
    bf16_errors: tuple[float, ...] = ()
    window_margin: int | None = None

    def __post_init__(self) -> None:
        if len(self.log_snrs) != len(self.bf16_errors):
            found = f"{len(self.log_snrs)} and {len(self.bf16_errors)}"
            raise ConfigError(f"EvaluationProfile: expected as many errors as levels, found {found}")
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
        above = bisect_left(self.log_snrs, log_snr)
        if above == len(self.log_snrs):
            return False
        return max(self.bf16_errors[max(above - 1, 0) : above + 1]) <= LARGEST_ERROR


FLOAT32 = EvaluationProfile()
"""Allows no bfloat16."""

BFLOAT16 = EvaluationProfile((math.inf,), (0.0,))
"""Allows bfloat16 everywhere."""
