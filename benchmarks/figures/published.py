"""Numbers that others published, from `benchmarks/reported`: on other images than ours, and often only on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcodec.errors import ConfigError

RATE_KINDS = {"file": "files", "coder": "coder", "ideal": "ideal"}
"""What a published rate counts: a conventional codec's file, the length of a working coder, or a bound on paper."""


@dataclass(frozen=True)
class PublishedCurve:
    """A codec's published rates and distortions.

    Args:
        codec, label: of the codec.
        rate: `file`, `coder` or `ideal`.
        points: (bits per pixel, PSNR in dB or another measure), by rising rate.
    """

    codec: str
    label: str
    rate: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PublishedLength:
    """A published lossless codelength in bits/dim, and what it counts: `file`, `coder` or `ideal`."""

    label: str
    rate: str
    bpd: float


def published_curves(record: Mapping[str, Any], name: str, measure: str = "psnr_db") -> list[PublishedCurve]:
    """Codecs with at least two points of rate and a measure; a single point is no curve.

    Args:
        record: of a file such as `cifar10-others.json`.
        name: of the file, for messages.
        measure: `psnr_db` or `ms_ssim`.

    Raises:
        ConfigError: if a point lacks what it needs.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for point in record["points"]:
        if not point.get("lossless") and point.get(measure) is not None:
            found.setdefault(str(point.get("codec")), []).append(point)
    return [
        PublishedCurve(
            codec,
            str(points[0].get("label", codec)),
            _rate(points[0], name),
            tuple(sorted((_number(point, "bpp", name), _number(point, measure, name)) for point in points)),
        )
        for codec, points in found.items()
        if len(points) > 1
    ]


def published_lengths(reported: Mapping[str, Mapping[str, Any]]) -> list[PublishedLength]:
    """Lossless codelengths, for each codec its shortest, from short to long.

    Args:
        reported: files by name.

    Raises:
        ConfigError: if a point lacks what it needs.
    """
    shortest: dict[str, PublishedLength] = {}
    for name, record in reported.items():
        for point in record["points"]:
            if point.get("lossless"):
                label, steps = str(point.get("label", point.get("codec"))), point.get("steps")
                label += f", {steps} steps" if steps and str(steps) not in label else ""
                length = PublishedLength(label, _rate(point, name), _number(point, "bpd", name))
                key = f"{name} {point.get('codec')}"
            elif point.get("bpd_test") is not None:
                label = f"{record.get('label', name)}, {point.get('objective')}"
                length = PublishedLength(label, _rate(record, name), _number(point, "bpd_test", name))
                key = label
            else:
                continue
            if key not in shortest or length.bpd < shortest[key].bpd:
                shortest[key] = length
    return sorted(shortest.values(), key=lambda length: length.bpd)


def _rate(record: Mapping[str, Any], name: str) -> str:
    if record.get("rate") not in RATE_KINDS:
        raise ConfigError(f"{name}: rate: expected one of {', '.join(RATE_KINDS)}, found {record.get('rate')!r}")
    return str(record["rate"])


def _number(point: Mapping[str, Any], column: str, name: str) -> float:
    value = point.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: {column}: expected a number, found {value!r}")
    return float(value)
