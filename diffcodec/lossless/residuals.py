"""Codes exact pixels, given an estimate that encoder and decoder share.

For every pixel: a correction of the estimate by its errors nearby, a class of its expected error, and from both a
distribution over the 256 values, as in DDPM's discretised decoder (Ho et al. 2020, eq. 13), but with measured shape
and scales. All of it is integer arithmetic on tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.errors import CheckpointError
from diffcodec.lossless.context import ALL_ROWS, Contexts, Pass, passes_for
from diffcodec.lossless.rounding import UNIT
from diffcodec.lossless.tables import COEFFICIENT_SCALE, PassFit, ResidualFit

SHAPE_STEPS = 16
"""Steps of a shape table per standard deviation."""

_FINE = 256
_CHUNK = 4096


@dataclass(frozen=True)
class ResidualModel:
    """Distribution of pixels given the estimate.

    Args:
        shape: cumulative distribution, see `tables.LosslessTables`.
        fit: for the current noise level.
    """

    shape: tuple[int, ...]
    fit: ResidualFit

    def encode(self, pixels: NDArray[np.uint8], means: NDArray[np.int64], out: SymbolWriter) -> None:
        """Write pixels.

        Args:
            pixels: (C, H, W).
            means: the rounded estimate, in 1 / UNIT grey level, (C, H, W).
            out: takes the symbols.
        """
        contexts = Contexts(means)
        for step, pass_fit in self._passes(len(means)):
            values = pixels[step.channel][step.grid].reshape(-1).astype(np.int64)
            for part, shares in self._shares(contexts, step, pass_fit):
                out.write_shares(values[part], shares)
            contexts.learn(step, values)

    def decode(self, means: NDArray[np.int64], source: SymbolReader) -> NDArray[np.uint8]:
        """Read the pixels, (C, H, W), that were written with the same means."""
        contexts = Contexts(means)
        pixels = np.zeros(means.shape, np.uint8)
        for step, pass_fit in self._passes(len(means)):
            target = pixels[step.channel][step.grid]
            values = np.zeros(target.size, np.int64)
            for part, shares in self._shares(contexts, step, pass_fit):
                values[part] = source.read_shares(shares)
            pixels[step.channel][step.grid] = values.reshape(target.shape).astype(np.uint8)
            contexts.learn(step, values)
        return pixels

    def _passes(self, channels: int) -> Iterator[tuple[Pass, PassFit]]:
        passes = passes_for(channels)
        if len(passes) != len(self.fit.passes):
            raise CheckpointError(f"lossless tables: expected {len(passes)} passes, found {len(self.fit.passes)}")
        for step, pass_fit in zip(passes, self.fit.passes, strict=True):
            if (len(pass_fit.prediction), len(pass_fit.spread)) != (len(step.neighbours), step.spread_features):
                raise CheckpointError(
                    "lossless tables: the numbers of coefficients do not match those of neighbours and features"
                )
            yield step, pass_fit

    def _shares(self, contexts: Contexts, step: Pass, pass_fit: PassFit) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Code points of every value of every pixel of a pass, in bounded chunks: (slice of pixels, (n, 256))."""
        shape, scales = np.array(self.shape, np.int64), np.array(self.fit.inverse_scales, np.int64)
        height, width = contexts.means[0][step.grid].shape
        band = max(1, _CHUNK // max(1, width))
        for top in range(0, height if width else 0, band):
            rows = slice(top, top + band)
            residuals = contexts.residuals(step, rows)
            centres = corrected_means(contexts, step, pass_fit, residuals, rows)
            spread = spreads(contexts, step, pass_fit, residuals, rows)
            chosen = scales[np.searchsorted(self.fit.thresholds, spread, side="right")]
            for start in range(0, len(centres), _CHUNK):
                part = slice(start, min(start + _CHUNK, len(centres)))
                first = top * width
                yield slice(first + part.start, first + part.stop), shares_of_values(shape, centres[part], chosen[part])


def corrected_means(
    contexts: Contexts, step: Pass, pass_fit: PassFit, residuals: NDArray[np.int64], rows: slice = ALL_ROWS
) -> NDArray[np.int64]:
    """The estimate plus a linear combination of the neighbours' residuals, in 1 / UNIT grey level, (n,)."""
    correction = residuals @ np.array(pass_fit.prediction, np.int64)
    return contexts.centres(step, rows) + ((correction + COEFFICIENT_SCALE // 2) // COEFFICIENT_SCALE)


def spreads(
    contexts: Contexts, step: Pass, pass_fit: PassFit, residuals: NDArray[np.int64], rows: slice = ALL_ROWS
) -> NDArray[np.int64]:
    """Expected size of the residuals, a linear combination of the spread features, (n,)."""
    features = contexts.spread_features(step, residuals, rows)
    result: NDArray[np.int64] = features @ np.array(pass_fit.spread, np.int64) // COEFFICIENT_SCALE
    return result


def shares_of_values(
    shape: NDArray[np.int64], centres: NDArray[np.int64], inverse_scales: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Code points for each of the 256 values of each pixel: differences of the shape at the edges between values.

    The outermost values also get the mass below 0 and above 255.

    Args:
        shape: cumulative distribution around its middle entry.
        centres: in 1 / UNIT grey level, (n,).
        inverse_scales: steps of the shape per grey level, in 1 / COEFFICIENT_SCALE, (n,).

    Returns:
        (n, 256), not negative; every row sums to the shape's last entry.
    """
    edges = np.arange(1, 256) * UNIT - UNIT // 2
    # Positions in the shape in units of 1 / _FINE step.
    places = (edges - centres[:, None]) * inverse_scales[:, None] // (UNIT * COEFFICIENT_SCALE // _FINE)
    places = np.clip(places + (len(shape) // 2) * _FINE, 0, (len(shape) - 1) * _FINE - 1)
    index, fraction = places // _FINE, places % _FINE
    heights = shape[index] + (shape[index + 1] - shape[index]) * fraction // _FINE
    shares: NDArray[np.int64] = np.diff(heights, axis=1, prepend=0, append=shape[-1])
    return shares
