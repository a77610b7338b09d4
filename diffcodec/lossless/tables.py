"""Integer tables of the lossless step: fitted at calibration, stored in the model, never recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig

COEFFICIENT_SCALE = 1 << 12
"""Coefficients of the lossless model are stored in units of 1 / COEFFICIENT_SCALE."""

SHAPE_TOTAL = (1 << 24) - 256
"""Last value of a distribution's shape: the total that is divided among the values of a pixel."""


@dataclass(frozen=True)
class PassFit(JsonConfig):
    """Coefficients of one pass, for the contexts of `lossless.context`.

    Args:
        prediction: for the residuals of the pass's neighbours.
        spread: a constant (in 1 / 128 grey level), then for the absolute residuals of the neighbours, then for the
            local gradients. None is negative.
    """

    prediction: tuple[int, ...]
    spread: tuple[int, ...]

    def __post_init__(self) -> None:
        if max((abs(value) for value in (*self.prediction, *self.spread)), default=0) > 1 << 24:
            raise ConfigError("lossless tables: a coefficient is out of range")
        if min(self.spread, default=0) < 0:
            raise ConfigError("lossless tables: a spread must not be negative")


@dataclass(frozen=True)
class ResidualFit(JsonConfig):
    """The model of pixels given the estimate at one noise level.

    Args:
        log_snr: of that level, in 1 / LOG_SNR_SCALE nats.
        spacing: of the grid to which estimates are rounded, in 1 / 128 grey level: a power of two.
        passes: in order.
        thresholds: rising; they divide the spread into classes.
        inverse_scales: for each class, steps of the shape table per grey level, in 1 / 4096.
    """

    log_snr: int
    spacing: int
    passes: tuple[PassFit, ...]
    thresholds: tuple[int, ...]
    inverse_scales: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 64 <= self.spacing <= 1 << 15 or self.spacing & (self.spacing - 1):
            raise ConfigError(f"lossless tables: the spacing must be a power of two from 64, found {self.spacing}")
        if len(self.inverse_scales) != len(self.thresholds) + 1 or len(self.thresholds) > 255:
            raise ConfigError("lossless tables: expected one scale more than thresholds")
        if any(a > b for a, b in pairwise(self.thresholds)):
            raise ConfigError("lossless tables: thresholds must rise")
        if not 1 <= min(self.inverse_scales) <= max(self.inverse_scales) <= 1 << 24:
            raise ConfigError("lossless tables: a scale is out of range")


@dataclass(frozen=True)
class LosslessTables(JsonConfig):
    """All tables of lossless coding.

    Args:
        shape: cumulative distribution of a residual, from 0 to SHAPE_TOTAL, at evenly spaced points around zero.
        colour, grey: fits for both kinds of pictures, at rising log SNR.
    """

    shape: tuple[int, ...]
    colour: tuple[ResidualFit, ...]
    grey: tuple[ResidualFit, ...]

    def __post_init__(self) -> None:
        if len(self.shape) < 3 or self.shape[0] != 0 or self.shape[-1] != SHAPE_TOTAL or len(self.shape) > 1 << 16:
            raise ConfigError(f"lossless tables: a shape must rise from 0 to {SHAPE_TOTAL}")
        if any(a > b for a, b in pairwise(self.shape)):
            raise ConfigError("lossless tables: a shape must not fall")
        for fits in (self.colour, self.grey):
            if not fits or any(a.log_snr >= b.log_snr for a, b in pairwise(fits)):
                raise ConfigError("lossless tables: expected fits at rising log SNR")
