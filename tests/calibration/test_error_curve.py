"""What is measured of a model, and how it becomes the table of variances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.calibration.error_curve import BANDS, make_variances, measure_error_curve
from diffcodec.calibration.samples import Samples, mean_colour
from diffcodec.coding.canvas import RGB
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.model.tables import INFORMATION_FROM, INFORMATION_SCALE, OCTAVE_STEPS
from tests.calibration.measured import images_of, made_up_curve
from tests.conftest import make_tiny_checkpoint


class Blind(Denoiser):
    """A denoiser that takes every picture for black, and records the levels at which it is evaluated."""

    def __init__(self) -> None:
        super().__init__(make_tiny_checkpoint().config)
        self.asked: list[float] = []

    def estimate_x_0(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        self.asked.append(level.log_snr)
        return torch.full_like(x_t, -1.0)


@pytest.mark.parametrize("side", [32, 5])
def test_the_error_curve_is_the_mean_square_of_the_error_in_every_band(side: int) -> None:
    blind, images, done = Blind(), images_of(side, 3), list[int]()
    curve = measure_error_curve(blind, Samples.of_pixels(images), points=4, progress=done.append)
    assert done == [1, 2, 3, 4]
    assert blind.asked == pytest.approx(np.linspace(-8.5, 9.6, 4))
    transform = RGB.transform(side, side)

    def by_band(errors: Tensor) -> NDArray[np.float64]:
        squares = transform.forward(errors.reshape(3, -1).numpy()).astype(np.float64) ** 2
        whole = squares.mean()
        bands = [squares[:, transform.band == band] for band in range(BANDS)]
        return np.array([own.mean() if own.size else whole for own in bands])

    for row in curve.variances:
        np.testing.assert_allclose(row, by_band(images.float() / 127.5), rtol=1e-4)
    colour = torch.tensor(mean_colour(images))[:, None, None] / (128 * 127.5) - 1
    np.testing.assert_allclose(curve.start, by_band(images.float() / 127.5 - 1 - colour), rtol=1e-4)


def test_the_error_curve_falls() -> None:
    curve = measure_error_curve(make_tiny_checkpoint().denoiser(), Samples.of_pixels(images_of(8, 2)), points=12)
    assert curve.variances.shape == (12, BANDS)
    assert np.all(np.diff(curve.variances, axis=0) <= 1e-15)
    assert curve.variances.min() > 0
    assert curve.variances[-1].mean() < 0.1 * curve.variances[0].mean()


def test_the_error_curve_is_interpolated_geometrically() -> None:
    curve = made_up_curve()
    np.testing.assert_allclose(curve.at(curve.log_snr[3]), curve.variances[3])
    between = curve.at((curve.log_snr[3] + curve.log_snr[4]) / 2)
    np.testing.assert_allclose(between, np.sqrt(curve.variances[3] * curve.variances[4]))
    np.testing.assert_allclose(curve.at(-50.0), curve.variances[0])
    np.testing.assert_allclose(curve.at(50.0), curve.variances[-1])
    np.testing.assert_array_equal(curve.at(-math.inf), curve.start)


def test_mean_colour_is_in_units_of_the_tables() -> None:
    images = torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    images[0, 0], images[1, 2] = 255, 1
    assert mean_colour(images) == (128 * 255 // 2, 0, 64)


# ------------------------------------------------------------------------------------ integer tables


def test_variances_are_rounded_to_eighths_of_an_octave() -> None:
    curve = made_up_curve()
    found = make_variances(curve)
    np.testing.assert_allclose(np.array(found.log_snr) / LOG_SNR_SCALE, curve.log_snr, atol=0.5 / LOG_SNR_SCALE)
    for octaves, variances in ((found.octaves, curve.variances), (found.start, curve.start)):
        assert np.abs(np.array(octaves) - OCTAVE_STEPS * np.log2(variances)).max() <= 0.5 + 1e-9


def test_information_is_the_formula_rounded() -> None:
    found = make_variances(made_up_curve())
    for place, value in enumerate(found.information):
        bits = 0.5 * math.log2(1 + 2 ** ((place + INFORMATION_FROM) / OCTAVE_STEPS))
        assert abs(value - max(1, INFORMATION_SCALE * bits)) <= 0.5
    assert found.expected(np.array([0])) == INFORMATION_SCALE // 2
