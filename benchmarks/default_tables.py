"""The tables of models that have none: makes the file that ships, and measures what a calibration would save.

    python benchmarks/default_tables.py --make     # diffcodec/models/default_tables.json
    python benchmarks/default_tables.py --images 20

Without --make it compresses test images with the bundled model, once with its own tables and once without any.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
import numpy as np
from equal_variances import band_counts, planner_for_equal_variances, stored_error

import diffcodec
from diffcodec.calibration.level_lists import CLASS_SIDES, SIZE_CLASSES, make_level
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.images import Picture
from diffcodec.model.default_tables import GeneralList, GeneralTables
from diffcodec.model.levels import Level
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.tables import Variances
from diffcodec.training.data import load_images

MODEL = "cifar10-small-v3"
STEPS = (8, 16, 32, 64)
DEFAULT_STEPS = 32
TIMESTEPS = (300, 100, 20, 1)
SHIPPED = Path(diffcodec.__file__).parent / "models" / "default_tables.json"
IMAGES = Path(__file__).parent / "data" / "cifar10-test-100.webp"


def plan(variances: Variances, side: int) -> list[tuple[int, ...]]:
    """Log SNRs of the best lists for equal variances, on the timesteps of the paper's schedule."""
    planner = planner_for_equal_variances(variances, NoiseSchedule(ScheduleConfig()), side, between=False)
    return [tuple(make_level(value).log_snr for value in planner.plan(steps)) for steps in STEPS]


def make_tables() -> GeneralTables:
    """From the errors that were measured for the bundled model."""
    tables = load_checkpoint(MODEL).tables
    assert tables is not None
    assert tables.variances is not None
    assert tables.start is not None
    variances, counts = tables.variances, band_counts(CLASS_SIDES[0])
    lists = tuple(
        GeneralList(max_pixels, log_snr)
        for max_pixels, side in zip(SIZE_CLASSES, CLASS_SIDES, strict=True)
        for log_snr in plan(variances, side)
    )
    return GeneralTables(
        tables.start,
        stored_error(variances, None, counts),
        variances.log_snr,
        tuple(stored_error(variances, Level(value, 1), counts) for value in variances.log_snr),
        tables.length_weights,
        lists,
        DEFAULT_STEPS,
    )


def measure(count: int) -> None:
    """Print mean file sizes with and without calibration."""
    images = load_images(str(IMAGES))[:count]
    pictures = [Picture(image.permute(1, 2, 0).numpy(), None) for image in images]
    checkpoint = load_checkpoint(MODEL)
    calibrated, bare = DiffusionCodec(checkpoint), DiffusionCodec(dataclasses.replace(checkpoint, tables=None))
    for steps in STEPS:
        for timestep in TIMESTEPS:
            sizes, errors = [], []
            for codec in (calibrated, bare):
                reports = [s.report for s in codec.compress_batch(pictures, timestep=timestep, steps=steps)]
                sizes.append(np.mean([report.file_bytes for report in reports]))
                errors.append(np.mean([report.rmse for report in reports]))
            click.echo(
                f"{steps:4} steps, t = {timestep:4}: {sizes[0]:7.1f} bytes, rmse {errors[0]:5.2f} calibrated; "
                f"{sizes[1]:7.1f} bytes, rmse {errors[1]:5.2f} without ({100 * (sizes[1] / sizes[0] - 1):+.1f} %)"
            )


@click.command()
@click.option("--make", is_flag=True, help="Write the file that ships, instead of measuring.")
@click.option("--images", type=click.IntRange(1, 100), default=20, show_default=True, help="Test images to compress.")
def main(make: bool, images: int) -> None:
    """Measure how much larger files are without calibration, or make the tables for models without."""
    if make:
        SHIPPED.write_text(json.dumps(make_tables().to_dict()) + "\n", encoding="utf-8")
    else:
        measure(images)


if __name__ == "__main__":
    main()
