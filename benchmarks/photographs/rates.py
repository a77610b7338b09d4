"""Codecs at equal rates: every picture's own curve, read where others are to be compared with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from figures.records import CodecResult, Results, load_results, read_reported
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

METRICS = {"psnr_db": "PSNR (dB)", "ms_ssim": "MS-SSIM", "haarpsi": "HaarPSI"}
"""Columns of the rows, and what they are called."""

JPEGS = ("jpeg-420", "jpeg-444")
PUBLISHED = Path(__file__).parents[1] / "data"
"""Folder of `<data set>-published.json`: curves as others report them, in the form of a result file."""

GRID = np.geomspace(0.02, 8, 601)
"""Rates at which curves are held against each other, in bits per pixel, 1 % apart."""


@dataclass(frozen=True)
class Curves:
    """A codec's quality over its rate, one curve for each picture.

    Args:
        label: for people.
        points: for each picture rates in bits per pixel, rising, and the values there, (2, N).
    """

    label: str
    points: tuple[FloatArray, ...]

    @classmethod
    def of(cls, codec: CodecResult, metric: str) -> Curves:
        """The curves of a codec; exact files, whose PSNR is infinite, are left out."""
        pairs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for point in codec.points:
            for row in point.rows:
                if row.get(metric) is not None:
                    pairs[row["image"]].append((row["bpp"], row[metric]))
        return cls(codec.label, tuple(np.array(sorted(dict(pairs[image]).items())).T for image in sorted(pairs)))

    def at(self, bpp: FloatArray) -> FloatArray:
        """Every picture's value at some rates, linear in log rate between its files, (pictures, rates).

        NaN where a picture has no file of that few or that many bits.
        """
        found = [
            np.interp(np.log(bpp), np.log(rates), values, left=np.nan, right=np.nan) for rates, values in self.points
        ]
        return np.array(found).reshape(len(found), len(bpp))


@dataclass(frozen=True)
class Region:
    """A range of rates in which one mean curve lies above another.

    Args:
        low, high: bits per pixel.
        mean_gain: mean of the difference over the logarithm of the rate.
        best_gain: the greatest difference.
    """

    low: float
    high: float
    mean_gain: float
    best_gain: float


@dataclass(frozen=True)
class Comparison:
    """Where our mean curve lies above another's.

    Args:
        low, high: rates that all pictures have in both codecs, in bits per pixel; NaN if there are none.
        regions: where ours is above.
    """

    low: float
    high: float
    regions: tuple[Region, ...]


def photo_results(folder: Path, compressai: Sequence[Path] = ()) -> Results:
    """The result files of a data set, without points that are not of all of their pictures.

    Args:
        folder: of the data set.
        compressai: as for `load_results`.

    Raises:
        ConfigError: as `load_results`.
    """
    results = load_results(folder, compressai=compressai)
    return replace(results, codecs={name: _complete(codec) for name, codec in results.codecs.items()})


def published_records(results: Results) -> dict[str, dict[str, Any]]:
    """Curves of a data set as others report them, by file: those in `PUBLISHED`, and CompressAI's that were asked for.

    Raises:
        ConfigError: if a file is not what it should be.
    """
    known = PUBLISHED / f"{results.dataset}-published.json"
    return {**({known.stem: read_reported(known)} if known.exists() else {}), **results.reported}


def _complete(codec: CodecResult) -> CodecResult:
    most = max((len(point.rows) for point in codec.points), default=0)
    return replace(codec, points=tuple(point for point in codec.points if len(point.rows) == most))


def values_at(results: Results, metric: str, bpp: FloatArray) -> dict[str, FloatArray]:
    """Values of all lossy codecs at some rates, (pictures, rates), by label; ours first.

    Where both kinds of JPEG are there, the better of them at each rate of each picture is there as another.
    """
    codecs = [*results.own("trellis", "best"), *results.peers]
    found = {codec.label: Curves.of(codec, metric).at(bpp) for codec in codecs}
    jpegs = [Curves.of(results.codecs[name], metric).at(bpp) for name in JPEGS if name in results.codecs]
    if len(jpegs) == len(JPEGS) and jpegs[0].shape == jpegs[1].shape:
        found["JPEG, better of both"] = np.fmax(*jpegs)
    return found


def compare_over_rates(ours: FloatArray, other: FloatArray, rates: FloatArray = GRID) -> Comparison:
    """Where the mean of our curves lies above that of another's, over rates that all pictures have in both.

    Args:
        ours, other: (pictures, rates).
        rates: bits per pixel, evenly spaced in their logarithm.
    """
    gain = ours.mean(axis=0) - other.mean(axis=0)  # NaN where any picture is missing
    common = np.flatnonzero(np.isfinite(gain))
    if not len(common):
        return Comparison(np.nan, np.nan, ())
    above = np.flatnonzero(gain > 0)
    runs = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1) if len(above) else []
    regions = [
        Region(float(rates[run[0]]), float(rates[run[-1]]), float(gain[run].mean()), float(gain[run].max()))
        for run in runs
    ]
    return Comparison(float(rates[common[0]]), float(rates[common[-1]]), tuple(regions))


def mean_and_count(values: FloatArray) -> tuple[float, int]:
    """Mean of a column over the pictures that have a value, and their number."""
    there = values[np.isfinite(values)]
    return (float(there.mean()) if len(there) else np.nan), len(there)
