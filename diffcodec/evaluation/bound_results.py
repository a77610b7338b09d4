"""The paper's measurement as a result file, and as the reference for the codec's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diffcodec.evaluation.bound_measurement import BoundMeasurement, table_4_steps
from diffcodec.evaluation.records import ResultFile, Row
from diffcodec.images import Picture


def join(indices: Sequence[Sequence[int]], parts: Sequence[BoundMeasurement]) -> BoundMeasurement:
    """One measurement of pictures that were measured in parts.

    Args:
        indices: of the pictures in each part; together 0 to N - 1.
        parts: with the same schedule. If pictures differ in size, only values per subpixel are meaningful.

    Returns:
        The measurement of all pictures in order, with `dims` of the first part.
    """
    order = np.argsort([index for part in indices for index in part])
    names = ["terms_fixedsmall", "terms_fixedlarge", "rate_fine", "mse", "grey_mse_rounded"]
    if parts[0].terms_learned is not None:
        names.append("terms_learned")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=1)[:, order] for name in names
    }
    return replace(parts[0], **joined)


def setting(steps_done: int) -> str:
    """Name of the point of the result file after `steps_done` reverse steps."""
    return f"{steps_done} steps done"


def wanted_steps(steps: int, timesteps: Sequence[int]) -> list[int]:
    """T - t + 1 of the points: ten as in Table 4 of the paper, and those at which the codec's files end.

    Args:
        steps: T.
        timesteps: at which files end.
    """
    return sorted({*table_4_steps(steps), *(steps - t + 1 for t in timesteps)} - {0})


def is_complete(results: ResultFile, steps_done: Sequence[int]) -> bool:
    """Whether the file has all these points, and the terms and the bound."""
    return {"terms", "bound"} <= results.extras.keys() and all(setting(done) in results for done in steps_done)


def write_bound(
    results: ResultFile,
    measurement: BoundMeasurement,
    pictures: Sequence[Picture],
    steps_done: Sequence[int],
    seed: int,
) -> None:
    """Fill and write the result file of the paper's measurement.

    Args:
        results: the file.
        measurement: of all pictures.
        pictures: the same, for their sizes.
        steps_done: T - t + 1 of the points.
        seed: of the bootstrap.
    """
    results.extras = measurement.without_points(seed)
    for done in steps_done:
        timestep = measurement.timestep_after(done)
        rows: list[Row] = []
        for row, picture in zip(measurement.rows(timestep), pictures, strict=True):
            bits = float(row["ideal_bpd"] or 0.0) * picture.pixels.size
            rows.append({**row, "width": picture.width, "height": picture.height, "ideal_bits": bits})
        results.put(setting(done), float(done), rows, timestep=timestep)
    results.write()


def attach_references(results: ResultFile, bound: ResultFile, pictures: Sequence[Picture]) -> None:
    """Fill in the `reference_bits` of rows: the network's rate with ever finer steps.

    That is the fine-limit rate at the row's timestep, and for t = 0 the whole bound of the fine limit.

    Args:
        results: of the codec, with `timestep` in its rows; written if anything changes.
        bound: the file of the paper's measurement of the same pictures.
        pictures: for their sizes.
    """
    rates = {
        (row["timestep"], row["image"]): row["rate_fine"] for point in bound.points.values() for row in point["rows"]
    }
    if "bound" in bound.extras:
        rates |= {(0, row["image"]): row["total_fine"] for row in bound.extras["bound"]["rows"]}
    changed = False
    for point in list(results.points.values()):
        rows = [dict(row) for row in point["rows"]]
        for row in rows:
            rate = rates.get((row["timestep"], row["image"]))
            if row["reference_bits"] is None and rate is not None:
                row["reference_bits"] = rate * pictures[row["image"]].pixels.size
        if rows != point["rows"]:
            results.put(point["setting"], point["parameter"], rows)
            changed = True
    if changed:
        results.write()
