"""Encoder and decoder of the last step, from a noisy state to the exact picture at t = 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.lossless.residuals import ResidualModel
from diffcodec.lossless.rounding import UNIT, round_alike, round_values
from diffcodec.lossless.tables import LosslessTables, ResidualFit


class NoisyLevel(Protocol):
    """A level of a list; the choice of a fit depends on its log SNR."""

    @property
    def log_snr(self) -> int:
        """Log SNR in the unit of `ResidualFit.log_snr`."""


class Levels(Protocol):
    """A list of noise levels."""

    @property
    def levels(self) -> tuple[NoisyLevel, ...]:
        """The levels, with rising log SNR."""


@dataclass(frozen=True)
class LosslessCoder:
    """Codes exact pixels, given the estimate at a level of a list.

    Args:
        tables: of the model.
        is_grey: whether the pictures are grey.
        levels: the list that the trajectory follows.
    """

    tables: LosslessTables
    is_grey: bool
    levels: Levels

    def starts(self) -> set[int]:
        """Numbers of steps after which to try the last step: at the first level that is as clean as a fit's."""
        found = set()
        for fit in self._fits:
            cleaner = [k for k, level in enumerate(self.levels.levels, 1) if level.log_snr >= fit.log_snr]
            found.add(cleaner[0] if cleaner else len(self.levels.levels))
        return found

    def write(self, pixels: NDArray[np.uint8], estimate: NDArray[np.float64], steps: int, out: SymbolWriter) -> None:
        """Write a picture, (H, W, 3) or (H, W), given the estimate after `steps` steps.

        Args:
            pixels: the picture.
            estimate: in grey levels, (C, H, W), C = 1 if grey; it is overwritten.
            steps: number of steps that led to it.
            out: takes the symbols.
        """
        fit = self._fit(steps)
        means = _means(estimate, lambda values: round_values(values, fit.spacing, out))
        self._model(fit).encode(_planes(pixels), means, out)

    def read(self, estimate: NDArray[np.float64], steps: int, source: SymbolReader) -> NDArray[np.uint8]:
        """Read the picture that `write` wrote; the estimate is overwritten.

        Raises:
            StreamError: if the symbols are invalid.
        """
        fit = self._fit(steps)
        means = _means(estimate, lambda values: round_alike(values, fit.spacing, source))
        planes = self._model(fit).decode(means, source)
        return np.ascontiguousarray(planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, 2))

    @property
    def _fits(self) -> tuple[ResidualFit, ...]:
        return self.tables.grey if self.is_grey else self.tables.colour

    def _fit(self, steps: int) -> ResidualFit:
        """The fit of the cleanest level that is not cleaner than the one after `steps` steps; else the first fit."""
        reached = self.levels.levels[steps - 1].log_snr
        return [fit for fit in self._fits if fit is self._fits[0] or fit.log_snr <= reached][-1]

    def _model(self, fit: ResidualFit) -> ResidualModel:
        return ResidualModel(self.tables.shape, fit)


def _means(
    estimate: NDArray[np.float64], rounded: Callable[[NDArray[np.float64]], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The estimate in 1 / UNIT grey level, rounded by `rounded`, (C, H, W)."""
    estimate *= UNIT
    return rounded(estimate.reshape(-1)).reshape(estimate.shape)


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
