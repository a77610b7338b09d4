"""From the last noisy state to the picture itself, t = 0: sender's and receiver's side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import ColourMode
from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.lossless.residuals import ResidualModel
from diffcodec.lossless.rounding import UNIT, round_alike, round_values
from diffcodec.plane import Plane
from diffcodec.tables import LevelList, LosslessTables, ResidualFit


@dataclass(frozen=True)
class LastStep:
    """Codes pixels exactly, given the estimate at a level of a list.

    Args:
        tables: of the model.
        plane: geometry.
        levels: the list that the walk follows.
    """

    tables: LosslessTables
    plane: Plane
    levels: LevelList

    def starts(self) -> set[int]:
        """Numbers of steps after which it is worth trying: at the first level that is as clean as a fit's."""
        found = set()
        for fit in self._fits:
            cleaner = [k for k, level in enumerate(self.levels.levels, 1) if level.log_snr >= fit.log_snr]
            found.add(cleaner[0] if cleaner else len(self.levels.levels))
        return found

    def write(self, pixels: NDArray[np.uint8], estimate: Tensor, steps: int, out: SymbolWriter) -> None:
        """Write a picture, (H, W, 3) or (H, W), given the estimate (3, H, W) after `steps` steps."""
        fit = self._fit(steps)
        means = self._means(estimate, lambda values: round_values(values, fit.spacing, out))
        self._model(fit).encode(_planes(pixels), means, out)

    def read(self, estimate: Tensor, steps: int, source: SymbolReader) -> NDArray[np.uint8]:
        """Read the picture.

        Raises:
            StreamError: if there are no symbols of any picture.
        """
        fit = self._fit(steps)
        means = self._means(estimate, lambda values: round_alike(values, fit.spacing, source))
        planes = self._model(fit).decode(means, source)
        return np.ascontiguousarray(planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, 2))

    def _means(
        self, estimate: Tensor, rounded: Callable[[NDArray[np.float64]], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """The estimate (3, H, W), rounded as sender or receiver do, in 1 / UNIT grey level, (C, H, W)."""
        values = self.plane.grey_levels(estimate)
        values *= UNIT
        return rounded(values.reshape(-1)).reshape(values.shape)

    @property
    def _fits(self) -> tuple[ResidualFit, ...]:
        return self.tables.grey if self.plane.colour is ColourMode.L else self.tables.colour

    def _fit(self, steps: int) -> ResidualFit:
        """The fit for the cleanest level that is not cleaner than the one after `steps` steps."""
        reached = self.levels.levels[steps - 1].log_snr
        return [fit for fit in self._fits if fit is self._fits[0] or fit.log_snr <= reached][-1]

    def _model(self, fit: ResidualFit) -> ResidualModel:
        return ResidualModel(self.tables.shape, fit)


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
