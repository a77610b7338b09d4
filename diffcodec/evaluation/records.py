"""Result files of benchmarks: one JSON object per codec and data set, with a row per image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from diffcodec.files import atomic_write

Row = dict[str, float | int | None]
"""Measured values of one image."""

Summary = dict[str, dict[str, float | None] | None]
"""Mean, median, and interval of the mean, `low` to `high`, by column; None for a column without values."""

CONFIDENCE = 0.95
RESAMPLES = 2000
DIGITS = 7
"""Significant digits of stored floats; more would only be noise."""

_NAMES = ("image", "timestep", "width", "height")


def summarise(rows: Sequence[Row], *, seed: int = 0) -> Summary:
    """Mean, median and a bootstrap interval of the mean over images, for every column.

    Missing values (the PSNR of an exact restoration, a metric whose library is not installed) are skipped; a column
    without any value has the summary None. Intervals are percentile bootstraps of 95 %; they are None for a single
    image. Besides the columns themselves there are

    - `rmse_of_mean`: root of the mean `mse`, whereas `rmse` averages the images' roots;
    - `paid_per_delivered_bit`: file bits without header over delivered bits, of the sums over images.

    Args:
        rows: of the images, with the same columns.
        seed: of the resampling.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in _NAMES))
    values = {name: np.array([row[name] for row in rows if row.get(name) is not None], float) for name in columns}
    summary: Summary = dict.fromkeys(columns)
    for length in {len(value) for value in values.values()} - {0}:
        names = [name for name, value in values.items() if len(value) == length]
        stacked = np.stack([values[name] for name in names])
        low, high = _interval((stacked,), np.mean, seed)
        for place, name in enumerate(names):
            summary[name] = {
                "mean": float(stacked[place].mean()),
                "median": float(np.median(stacked[place])),
                "low": _number(low[place]),
                "high": _number(high[place]),
            }
    if squared := summary.get("mse"):
        summary["rmse_of_mean"] = {key: None if value is None else math.sqrt(value) for key, value in squared.items()}
    # Not for lossless files, whose residual is not a delivered sample. And the information delivered may be negative
    # for a picture with very few bits.
    paid, delivered = (values.get(name, np.zeros(0)) for name in ("payload_bytes", "delivered_bits"))
    residual = values.get("residual_bits", np.zeros(0)).any()
    if len(paid) == len(delivered) > 0 and not residual and delivered.min() > 0:
        paid = 8 * paid
        low, high = _interval((paid, delivered), _ratio, seed)
        summary["paid_per_delivered_bit"] = {
            "mean": float(paid.sum() / delivered.sum()),
            "median": float(np.median(paid / delivered)),
            "low": _number(low),
            "high": _number(high),
        }
    return summary


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(numerator.sum(axis=axis) / denominator.sum(axis=axis))


def _interval(samples: tuple[NDArray[np.float64], ...], statistic: Callable[..., Any], seed: int) -> tuple[Any, Any]:
    """Bounds of a statistic over images, which are the last axis of the samples; NaN for a single image."""
    if samples[0].shape[-1] < 2:
        missing = np.full(samples[0].shape[:-1], math.nan)
        return missing, missing
    # The same images are resampled for all columns, reproducibly by the seed; BCa fails on constant columns.
    from scipy.stats import bootstrap  # late: it takes half a second

    interval = bootstrap(
        samples,
        statistic,
        axis=-1,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return interval.low, interval.high


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class Results:
    """A codec's results on a data set, point by point.

    Args:
        conditions: everything that the results depend on: data, model, seed, versions and the like.
        description: further fields, such as the command.
    """

    def __init__(self, conditions: Mapping[str, Any], description: Mapping[str, Any]) -> None:
        self.conditions = _plain(conditions)
        self.description = _plain(description)
        self.points: dict[str, dict[str, Any]] = {}
        self.extras: dict[str, Any] = {}

    def __contains__(self, setting: object) -> bool:
        return setting in self.points

    def put(self, setting: str, parameter: float, rows: Sequence[Row], **values: Any) -> None:
        """Add a point.

        Args:
            setting: name of the point; replaces an existing point of that name.
            parameter: sort key of the points.
            rows: of the images.
            values: further fields of the point.
        """
        rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
        summary = summarise(rows, seed=int(self.conditions.get("seed", 0)))
        point = {"setting": setting, "parameter": parameter, **values, "rows": rows, "summary": summary}
        self.points[setting] = _plain(point)

    @property
    def document(self) -> dict[str, Any]:
        """The results as a JSON object."""
        points = sorted(self.points.values(), key=lambda point: float(point["parameter"]))
        return {**self.conditions, **self.description, **_plain(self.extras), "points": points}


class ResultFile(Results):
    """Results in a file, which is rewritten after every point.

    An existing file is continued if it was measured under the same conditions; otherwise it is replaced after the
    first point.

    Args:
        path: of the JSON file; its folder is created.
        conditions: as for `Results`; compared with those in an existing file.
        description: as for `Results`; not compared.
        fresh: whether to ignore an existing file.
    """

    def __init__(
        self, path: Path, conditions: Mapping[str, Any], description: Mapping[str, Any], *, fresh: bool = False
    ) -> None:
        super().__init__(conditions, description)
        self.path = path
        if path.exists() and not fresh:
            found = read_results(path)
            if all(found.get(key, ...) == value for key, value in self.conditions.items()):
                self.points = {point["setting"]: point for point in found["points"]}
                known = {"points", *self.conditions, *self.description}
                self.extras = {key: value for key, value in found.items() if key not in known}

    def add(self, setting: str, parameter: float, rows: Sequence[Row], **values: Any) -> None:
        """Add a point as `put` does, and write the file.

        Raises:
            ConfigError: if the file cannot be written.
        """
        self.put(setting, parameter, rows, **values)
        self.write()

    def write(self) -> None:
        """Write the file atomically.

        Raises:
            ConfigError: if it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.path.parent}: cannot be created ({error}): name another folder", parameters=["out"]
            ) from error
        with atomic_write(self.path, overwrite=True) as file:
            file.write(to_text(self.document).encode())


def read_results(path: Path) -> dict[str, Any]:
    """The JSON object of a result file.

    Raises:
        ConfigError: if it is not a result file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: not a result file ({error}): remove it, or name another folder", parameters=["out"]
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("points"), list):
        raise ConfigError(
            f"{path}: not a result file (no points): remove it, or name another folder", parameters=["out"]
        )
    return found


def _plain(value: Any) -> Any:
    """The value for JSON: numpy's numbers as Python's, non-finite ones as None, floats rounded."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}") if math.isfinite(value) else None
    return value


def to_text(document: Mapping[str, Any]) -> str:
    """JSON with a line per row, so that a diff between two files shows which images changed."""
    lines = []
    for key, value in document.items():
        if key == "points":
            points = []
            for point in value:
                head = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in point.items() if k != "rows"]
                rows = ",\n   ".join(json.dumps(row, allow_nan=False) for row in point["rows"])
                points.append("  {" + ",\n   ".join([*head, f'"rows": [\n   {rows}]']) + "}")
            lines.append('"points": [\n' + ",\n".join(points) + "]")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
            lines.append(f"{json.dumps(key)}: [\n  {items}]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{" + ",\n ".join(lines) + "}\n"
