"""Result files of CompressAI (github.com/InterDigitalInc/CompressAI): ours in its form, and its own.

Such a file has a `name`, a `description`, and `results`: lists of equal length, means over the images at each setting:
`bpp`, `psnr-rgb` in dB, `ms-ssim-rgb` from 0 to 1, `encoding_time` and `decoding_time` in seconds. Older files have
`psnr` and `ms-ssim` or `msssim`; some have the lists without the object around them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcodec.errors import ConfigError

COLUMNS = {
    "bpp": "bpp",
    "psnr-rgb": "psnr_db",
    "ms-ssim-rgb": "ms_ssim",
    "encoding_time": "encode_s",
    "decoding_time": "decode_s",
}
"""Its names of what our rows have."""

OLDER = {"psnr-rgb": ("psnr",), "ms-ssim-rgb": ("ms-ssim", "msssim")}


def to_compressai(document: Mapping[str, Any]) -> dict[str, Any]:
    """A result document of ours in CompressAI's form, by rising rate.

    Settings without a PSNR (exact pictures) are left out, as is a measure that some settings lack.

    Args:
        document: as `Results.document`.

    Raises:
        ConfigError: if no setting is left.
    """
    points = [point["summary"] for point in document["points"] if point["summary"].get("psnr_db")]
    if not points:
        raise ConfigError("CompressAI's files hold no lossless results: measure a timestep above 0")
    points.sort(key=lambda summary: float(summary["bpp"]["mean"]))
    model = document["model"]
    found = {
        name: [summary[column]["mean"] for summary in points]
        for name, column in COLUMNS.items()
        if all(summary.get(column) for summary in points)
    }
    images = f"{document['images']} images of {document['dataset']}"
    settings = f"channel {document['channel']}, effort {document['effort']}, whole files, {images}"
    return {"name": f"diffcodec {model['name']}", "description": settings, "results": found}


@dataclass(frozen=True)
class CompressaiCurve:
    """The content of one of CompressAI's files.

    Args:
        name, description: as in the file.
        bpp: of each setting, rising.
        psnr_db, ms_ssim: of each setting; empty if the file has none.
        counts_files: whether rates are those of files of a conventional codec, and not of a network's strings.
    """

    name: str
    description: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]
    ms_ssim: tuple[float, ...]
    counts_files: bool


def read_compressai(path: Path) -> CompressaiCurve:
    """Read one of CompressAI's files.

    Raises:
        ConfigError: if it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a result file of CompressAI: {error}") from error
    curve = from_compressai(found, path)
    if curve is None:
        raise ConfigError(f"{path} is not a result file of CompressAI: expected results with a list 'bpp'")
    return curve


def from_compressai(found: object, path: Path) -> CompressaiCurve | None:
    """The curve of a JSON value; None if it is not CompressAI's.

    Args:
        found: the value.
        path: of its file, for messages, and for a name if it has none.

    Raises:
        ConfigError: if it is CompressAI's, but malformed.
    """
    results = found.get("results", found) if isinstance(found, dict) else None
    if not isinstance(results, dict) or not isinstance(results.get("bpp"), list):
        return None
    assert isinstance(found, dict)
    bpp = _numbers(results, "bpp", path, len(results["bpp"]))
    columns = [_numbers(results, _name(results, name), path, len(bpp)) for name in OLDER]
    places = sorted(range(len(bpp)), key=lambda place: bpp[place])
    rates, psnr_db, ms_ssim = (tuple(values[place] for place in places) if values else () for values in (bpp, *columns))
    description = str(found.get("description", ""))
    is_network = description.startswith(("Inference", "Evaluation"))
    return CompressaiCurve(str(found.get("name", path.stem)), description, rates, psnr_db, ms_ssim, not is_network)


def _name(results: Mapping[str, Any], name: str) -> str:
    """The name under which a file has a measure."""
    return next((each for each in (name, *OLDER[name]) if each in results), name)


def _numbers(results: Mapping[str, Any], name: str, path: Path, length: int) -> tuple[float, ...]:
    values = results.get(name, [])
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ConfigError(f"{path}: {name}: expected a list of numbers, found {values!r}")
    if values and len(values) != length:
        raise ConfigError(f"{path}: {name}: expected {length} numbers as of bpp, found {len(values)}")
    return tuple(map(float, values))
