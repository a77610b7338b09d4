"""Result files as the figures need them: checked on reading, with errors that name the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from diffcodec.evaluation.compressai import CompressaiCurve, read_compressai

EXPECTED = (
    "ddpm-bound",
    "diffcodec-trellis",
    "diffcodec-poisson",
    "diffcodec-true-sampling",
    "diffcodec-lossless",
    "jpeg-420",
    "jpeg-444",
    "webp",
    "jpeg2000",
    "avif",
    "jpegxl",
    "png-lossless",
    "webp-lossless",
    "jpegxl-lossless",
    "jpeg2000-lossless",
)
"""What a whole benchmark has; what is missing is named and skipped, what is more is drawn too."""

KINDS = ("lossy", "lossless", "bound")


class Estimate(NamedTuple):
    """A mean and the 95 % interval of it; NaN where there is no interval."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def scaled(self, factor: float) -> Estimate:
        """In another unit."""
        return Estimate(self.mean * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Point:
    """One codec at one setting.

    Args:
        where: file and place in it, for messages.
        setting: the setting in words, such as `q=30`.
        parameter: the setting as a number.
        rows: one for each image.
        summary: for each column of the rows its mean and the interval of the mean.
    """

    where: str
    setting: str
    parameter: float
    rows: tuple[dict[str, Any], ...]
    summary: dict[str, Any]

    def estimate(self, column: str) -> Estimate | None:
        """The mean of a column over the images; None if it has no finite mean, as the PSNR of exact copies.

        Raises:
            ConfigError: if the summary lacks the column.
        """
        if column not in self.summary:
            raise ConfigError(f"{self.where}: the summary lacks {column!r}: run benchmarks/rate_distortion.py again")
        entry = self.summary[column]
        if entry is None:
            return None
        if not isinstance(entry, dict):
            raise ConfigError(f"{self.where}: {column}: expected an object with a mean, found {entry!r}")
        values = [_number(entry.get(name), f"{self.where}: {column}: {name}") for name in ("mean", "low", "high")]
        return Estimate(*values) if math.isfinite(values[0]) else None

    def column(self, name: str, images: Sequence[int] | None = None) -> NDArray[np.float64]:
        """A column of the rows, NaN for null; of these images only, in their order, if they are given.

        Raises:
            ConfigError: if a row lacks the column.
        """
        by_image = {row.get("image"): row for row in self.rows}
        chosen = self.rows if images is None else [by_image[image] for image in images]
        if any(name not in row for row in chosen):
            raise ConfigError(f"{self.where}: a row lacks {name!r}: run benchmarks/rate_distortion.py again")
        return np.array([_number(row[name], f"{self.where}: {name}") for row in chosen])


@dataclass(frozen=True)
class CodecResult:
    """One result file: a codec on a data set.

    Args:
        path: the file.
        codec, label, dataset, kind, images, points: as in the file; points rise in `parameter`.
        record: the whole file, for what only some codecs have.
    """

    path: Path
    codec: str
    label: str
    dataset: str
    kind: str
    images: int
    points: tuple[Point, ...]
    record: dict[str, Any]

    @property
    def is_own(self) -> bool:
        """Whether this is diffcodec, and not a peer."""
        return self.codec.startswith("diffcodec-")

    def image_numbers(self) -> set[int]:
        """The images that every point has a row of."""
        sets = [{int(row["image"]) for row in point.rows if "image" in row} for point in self.points]
        return set.intersection(*sets) if sets else set()


@dataclass(frozen=True)
class Results:
    """All result files of a data set, and what others report.

    Args:
        dataset: its name.
        codecs: by name.
        reported: published numbers, by file name without suffix.
        subpixels_per_pixel: 3 for colour: bpp over bits/dim.
    """

    dataset: str
    codecs: dict[str, CodecResult]
    reported: dict[str, dict[str, Any]]
    subpixels_per_pixel: float

    @property
    def missing(self) -> list[str]:
        """Names of the expected codecs without a result file."""
        return [name for name in EXPECTED if name not in self.codecs]

    @property
    def peers(self) -> list[CodecResult]:
        """The lossy codecs of others, in the order of `EXPECTED`, unknown ones last."""
        return [c for c in self._in_order() if c.kind == "lossy" and not c.is_own]

    @property
    def lossless(self) -> list[CodecResult]:
        """The lossless codecs, own and others."""
        return [c for c in self._in_order() if c.kind == "lossless"]

    def own(self, *names: str) -> list[CodecResult]:
        """Those of the named diffcodec variants that there are."""
        return [self.codecs[f"diffcodec-{name}"] for name in names if f"diffcodec-{name}" in self.codecs]

    def label(self, codec: CodecResult) -> str:
        """The label of a curve; says so if it is of fewer images than others."""
        if codec.images == max(c.images for c in self.codecs.values()):
            return codec.label
        count = f"{codec.images} images"
        return f"{codec.label[:-1]}, {count})" if codec.label.endswith(")") else f"{codec.label} ({count})"

    def _in_order(self) -> Iterable[CodecResult]:
        known = {name: place for place, name in enumerate(EXPECTED)}
        return sorted(self.codecs.values(), key=lambda codec: (known.get(codec.codec, len(known)), codec.codec))


def load_results(folder: Path, reported: Path | None = None, compressai: Sequence[Path] = ()) -> Results:
    """Read every result file of a folder, and the published numbers.

    Args:
        folder: `<codec>.json`, one for each codec.
        reported: `<source>.json`; may be missing.
        compressai: result files of CompressAI, which count as published.

    Raises:
        ConfigError: if there is no result file, or one of them is not what it should be.
    """
    codecs = {codec.codec: codec for codec in map(_read_codec, sorted(folder.glob("*.json")))}
    if not codecs:
        raise ConfigError(f"{folder} has no result files: run benchmarks/rate_distortion.py first")
    datasets = {codec.dataset for codec in codecs.values()}
    if len(datasets) > 1:
        raise ConfigError(f"{folder}: results of several data sets, {', '.join(sorted(datasets))}: keep them apart")
    published = {}
    if reported is not None and reported.is_dir():
        published = {path.stem: read_reported(path) for path in sorted(reported.glob("*.json"))}
    published |= {path.stem: compressai_record(read_compressai(path)) for path in compressai}
    return Results(datasets.pop(), codecs, published, _subpixels_per_pixel(codecs.values()))


def compressai_record(curve: CompressaiCurve) -> dict[str, Any]:
    """CompressAI's results as published numbers: whole files of conventional codecs, else what a coder wrote."""
    psnr_db = curve.psnr_db or [None] * len(curve.bpp)
    ms_ssim = curve.ms_ssim or [None] * len(curve.bpp)
    common = {"codec": curve.name, "label": curve.name, "rate": "file" if curve.counts_files else "coder"}
    points = [
        {**common, "bpp": bpp, "psnr_db": psnr, "ms_ssim": ssim}
        for bpp, psnr, ssim in zip(curve.bpp, psnr_db, ms_ssim, strict=True)
    ]
    return {"source": f"CompressAI: {curve.description}", "points": points}


def _subpixels_per_pixel(codecs: Iterable[CodecResult]) -> float:
    for codec in codecs:
        for point in codec.points:
            if "bpp" in point.summary and "bpd" in point.summary:
                bpp, bpd = point.estimate("bpp"), point.estimate("bpd")
                if bpp and bpd and bpd.mean:
                    return bpp.mean / bpd.mean
    return 3.0


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a result file: {error}") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{path} is not a result file: expected an object, found {type(record).__name__}")
    if not isinstance(record.get("points"), list) or not all(isinstance(p, dict) for p in record["points"]):
        raise ConfigError(f"{path} is not a result file: expected a list 'points' of objects")
    return record


def _read_codec(path: Path) -> CodecResult:
    record = _read(path)
    for name, kind in {"codec": str, "label": str, "dataset": str, "kind": str, "images": int}.items():
        if not isinstance(record.get(name), kind):
            raise ConfigError(f"{path}: {name}: expected {kind.__name__}, found {record.get(name)!r}")
    if record["kind"] not in KINDS:
        raise ConfigError(f"{path}: kind: expected one of {', '.join(KINDS)}, found {record['kind']!r}")
    points = tuple(sorted((_read_point(path, p) for p in record["points"]), key=lambda point: point.parameter))
    return CodecResult(
        path, record["codec"], record["label"], record["dataset"], record["kind"], record["images"], points, record
    )


def _read_point(path: Path, record: dict[str, Any]) -> Point:
    where = f"{path}, setting {record.get('setting')!r}"
    rows, summary = record.get("rows", []), record.get("summary")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{where}: rows: expected a list of objects")
    if not isinstance(summary, dict):
        raise ConfigError(f"{where}: summary: expected an object, found {summary!r}")
    parameter = _number(record.get("parameter"), f"{where}: parameter")
    return Point(where, str(record.get("setting", "")), parameter, tuple(rows), summary)


def read_reported(path: Path) -> dict[str, Any]:
    """Published numbers: an object with `source` and `points`.

    Raises:
        ConfigError: if the file is no such object.
    """
    record = _read(path)
    if not isinstance(record.get("source"), str):
        raise ConfigError(f"{path}: source: expected where the numbers are from, found {record.get('source')!r}")
    return record


def _number(value: object, where: str) -> float:
    """The value as a float; NaN for null.

    Raises:
        ConfigError: if it is not a number.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: expected a number, found {value!r}")
    return float(value)
