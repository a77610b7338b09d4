"""The choices of variances that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from step_variances.measurement import ACTIVITY_BLOCK, Measurement
from step_variances.models import StepModel, class_energy, group_counts, group_energy, picture_labels
from step_variances.transforms import (
    COLOUR_DCT,
    DAUBECHIES_4,
    HAAR,
    RGB,
    BlockDct,
    CodecTransform,
    Floats,
    Labels,
    Transform,
    Wavelet,
    change_colours,
    colour_klt,
)

CLASSES = 8
PLANNING_PICTURES = 64
"""Calibration pictures on which level lists are planned where each picture has its own variances."""


@dataclass(frozen=True)
class Row:
    """A choice of variances.

    Args:
        name: of the row.
        calibration: what steps cost on calibration pictures; level lists follow from it.
        test: what they cost on test pictures; the variances are those that calibration pictures told.
    """

    name: str
    calibration: StepModel
    test: StepModel

    def with_variance(self, name: str, calibration: Floats, test: Floats) -> Row:
        """The same groups with other variances."""
        return Row(name, replace(self.calibration, variance=calibration), replace(self.test, variance=test))

    def with_own_scale(self) -> Row:
        """The row with one more factor for every picture and step, which the step's length tells."""
        models = (replace(model, own_scale=True) for model in (self.calibration, self.test))
        return Row(f"{self.name}, own scale", *models)

    def plan(self) -> StepModel:
        """What to plan level lists on: all calibration pictures where one stands for all, or else some."""
        if self.calibration.is_alike:
            return self.calibration.mean_picture()
        return self.calibration.first(PLANNING_PICTURES)


STATIC = "8x8 DCT"
"""The row to which others are compared."""

CODEC = "32x32 DCT, 300 bands"
"""What the codec does, but for the scale."""

TRANSFORMS: dict[str, tuple[Transform, Floats]] = {
    "8x8 DCT, RGB": (BlockDct(8), RGB),
    "4x4 DCT": (BlockDct(4), COLOUR_DCT),
    STATIC: (BlockDct(8), COLOUR_DCT),
    "16x16 DCT": (BlockDct(16), COLOUR_DCT),
    "32x32 DCT": (BlockDct(32), COLOUR_DCT),
    CODEC: (CodecTransform(), COLOUR_DCT),
    "Haar, 2 scales": (Wavelet(HAAR, 2), COLOUR_DCT),
    "Haar, 3 scales": (Wavelet(HAAR, 3), COLOUR_DCT),
    "Daubechies-4, 3 scales": (Wavelet(DAUBECHIES_4, 3), COLOUR_DCT),
}


def all_rows(calibration: Measurement, test: Measurement, head_blocks: Mapping[str, int]) -> Iterator[Row]:
    """Rows for the same nodes.

    Args:
        calibration, test: errors on either pictures.
        head_blocks: side of the blocks of each head that was measured.
    """
    no_bands = np.zeros(test.errors.shape[2:], int)
    single = static_row("one variance a step", calibration.errors**2, test.errors**2, no_bands)
    nothing = np.zeros_like(single.test.variance)
    yield single.with_variance("equal variances", nothing, nothing)
    yield single
    for name, (transform, colours) in TRANSFORMS.items():
        yield band_row(name, calibration, test, transform, colours)
    yield band_row("8x8 DCT, colour KLT", calibration, test, BlockDct(8), colour_klt(calibration.errors))
    for name in (STATIC, "16x16 DCT", CODEC):
        yield band_row(name, calibration, test, *TRANSFORMS[name]).with_own_scale()
    static = band_row(STATIC, calibration, test, *TRANSFORMS[STATIC])
    classes = class_row(calibration, test, static)
    yield classes
    yield classes.with_own_scale()
    for name, block in head_blocks.items():
        yield from head_rows(name, block, calibration, test)


def squared_coefficients(measurement: Measurement, transform: Transform, colours: Floats) -> Floats:
    """(nodes, N, 3, H, W)."""
    coefficients = transform(change_colours(colours, measurement.errors))
    return np.square(coefficients, out=coefficients)


def band_labels(measurement: Measurement, transform: Transform) -> Labels:
    """Labels of coefficients by channel and band, (3, H, W)."""
    return picture_labels(transform.bands(*measurement.errors.shape[-2:]))


def static_row(name: str, calibration: Floats, test: Floats, labels: Labels) -> Row:
    """One variance for each node and label (3, H, W): the mean of the calibration squares (nodes, N, 3, H, W)."""
    counts = group_counts(labels)
    energy = group_energy(calibration, labels)
    variance = energy.mean(axis=1, keepdims=True) / counts
    return Row(name, StepModel(energy, counts, variance), StepModel(group_energy(test, labels), counts, variance))


def band_row(name: str, calibration: Measurement, test: Measurement, transform: Transform, colours: Floats) -> Row:
    """One variance for each node and band of a transform."""
    squares, test_squares = (squared_coefficients(measured, transform, colours) for measured in (calibration, test))
    return static_row(name, squares, test_squares, band_labels(test, transform))


def class_row(calibration: Measurement, test: Measurement, static: Row) -> Row:
    """A variance for each band of the 8x8 DCT and class of activity, which the estimate tells of every block."""
    transform = BlockDct(ACTIVITY_BLOCK)
    bounds = np.quantile(calibration.activity, np.arange(1, CLASSES) / CLASSES, axis=(1, 2, 3)).T
    sums = [
        class_energy(
            squared_coefficients(measurement, transform, COLOUR_DCT),
            measurement.activity,
            bounds,
            band_labels(measurement, transform),
        )
        for measurement in (calibration, test)
    ]
    energy, counts = (values.mean(axis=1, keepdims=True) for values in sums[0])
    # A class into which no calibration block falls gets its band's variance.
    variance = np.where(counts > 0, energy / np.maximum(counts, 1e-9), np.tile(static.test.variance, CLASSES))
    models = (StepModel(*values, variance) for values in sums)
    return Row(f"{static.name}, {CLASSES} classes", *models)


def head_rows(name: str, block: int, calibration: Measurement, test: Measurement) -> Iterator[Row]:
    """A head's variance for each coefficient; the same with a scale; and its mean over each picture's bands."""
    transform = BlockDct(block)
    labels = band_labels(test, transform)
    static = band_row("", calibration, test, transform, COLOUR_DCT)
    start = static.test.variance[:1]  # given nothing there is nothing to tell pictures apart
    each, means = [], []
    for measurement, model in ((calibration, static.calibration), (test, static.test)):
        squares = squared_coefficients(measurement, transform, COLOUR_DCT)
        variance = np.exp(measurement.log_variance[name].astype(np.float32))
        variance[0] = start[0, 0][labels]
        flat = (*variance.shape[:2], -1)
        each.append(StepModel(squares.reshape(flat), np.ones((1, 1, 1), np.float32), variance.reshape(flat)))
        means.append(replace(model, variance=group_energy(variance, labels) / model.counts))
    yield (row := Row(name, *each))
    yield row.with_own_scale()
    yield Row(f"{name}, band means", *means)
