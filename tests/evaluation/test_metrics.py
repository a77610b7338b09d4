"""MSE, PSNR and MS-SSIM, against closed forms and an implementation of the formula in NumPy."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate2d

from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.metrics import (
    MS_SSIM_WEIGHTS,
    measure_distortion,
    measure_haarpsi,
    measure_ms_ssim,
    ms_ssim_scales,
)
from tests.conftest import smooth_pixels


def noisy(pixels: NDArray[np.uint8], std: float, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, std, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def reference_ms_ssim(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Wang et al. (2003), eq. 7, for one plane of even sides: valid windows, halved by means of 2 x 2."""
    window = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window /= window.sum()

    def local(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        filtered: NDArray[np.float64] = correlate2d(plane, np.outer(window, window), mode="valid")
        return filtered

    c_1, c_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            x, y = (plane.reshape(len(plane) // 2, 2, -1, 2).mean(axis=(1, 3)) for plane in (x, y))
        mean_x, mean_y = local(x), local(y)
        variances = local(x**2) - mean_x**2 + local(y**2) - mean_y**2
        similarity = (2 * (local(x * y) - mean_x * mean_y) + c_2) / (variances + c_2)
        if scale == len(weights) - 1:
            similarity *= (2 * mean_x * mean_y + c_1) / (mean_x**2 + mean_y**2 + c_1)
        product *= similarity.mean() ** weight
    return product


def test_a_constant_error_has_the_closed_form() -> None:
    original = np.full((12, 14, 3), 100, np.uint8)
    found = measure_distortion(original, original + np.uint8(5))
    assert (found.mse, found.rmse) == (25, 5)
    assert found.psnr_db == pytest.approx(20 * math.log10(51))


def test_errors_do_not_wrap_around() -> None:
    found = measure_distortion(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))
    assert found.mse == 255**2
    assert found.psnr_db == 0


def test_an_exact_picture_has_no_psnr() -> None:
    pixels = smooth_pixels(32, 32)
    found = measure_distortion(pixels, pixels.copy())
    assert (found.mse, found.rmse, found.psnr_db) == (0, 0, None)
    assert found.ms_ssim == pytest.approx(1, abs=1e-12)


def test_the_weights_are_those_of_the_paper() -> None:
    assert MS_SSIM_WEIGHTS == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (32, 2), (96, 4), (176, 5)])
def test_ms_ssim_is_the_formula_with_renormalised_weights(size: int, scales: int) -> None:
    original = smooth_pixels(size, size)
    restored = noisy(original, 20)
    weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    channels = [
        reference_ms_ssim(original[..., c].astype(float), restored[..., c].astype(float), weights) for c in range(3)
    ]
    near = 1e-6 if scales < 5 else 1e-5  # five scales are those of large pictures, in single precision
    assert measure_ms_ssim(original, restored) == pytest.approx(np.mean(channels), abs=near)
    assert measure_ms_ssim(original[..., 0], restored[..., 0]) == pytest.approx(channels[0], abs=near)


@pytest.mark.parametrize(
    ("side", "scales"),
    [
        (1, 0),
        (10, 0),
        (11, 1),
        (20, 1),
        (21, 2),
        (32, 2),
        (40, 2),
        (41, 3),
        (80, 3),
        (81, 4),
        (160, 4),
        (161, 5),
        (5000, 5),
    ],
)
def test_small_pictures_have_fewer_scales(side: int, scales: int) -> None:
    assert ms_ssim_scales(side, side + 100) == ms_ssim_scales(side + 100, side) == scales


@pytest.mark.parametrize("side", [11, 21, 41, 81, 161])
def test_the_smallest_pictures_of_every_number_of_scales_are_taken(side: int) -> None:
    original = smooth_pixels(side, side + 3)
    found = measure_ms_ssim(original, noisy(original, 10))
    assert found is not None
    assert 0.5 < found < 0.9999


def test_more_noise_is_less_similar() -> None:
    original = smooth_pixels(32, 32)
    found = [measure_distortion(original, noisy(original, std)) for std in (2, 8, 20, 50)]
    for better, worse in itertools.pairwise(found):
        assert better.ms_ssim is not None
        assert worse.ms_ssim is not None
        assert better.ms_ssim > worse.ms_ssim
        assert better.mse < worse.mse


def test_a_negative_has_no_similarity() -> None:
    original = noisy(np.full((32, 32, 3), 128, np.uint8), 40)
    assert measure_ms_ssim(original, 255 - original) == 0


def test_grey_is_colour_with_equal_channels() -> None:
    original = smooth_pixels(23, 37)[..., 0]
    restored = noisy(original, 10)
    grey = measure_distortion(original, restored)
    colour = measure_distortion(np.stack([original] * 3, 2), np.stack([restored] * 3, 2))
    assert grey.mse == colour.mse
    assert grey.ms_ssim == pytest.approx(colour.ms_ssim, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 40, 3), (40, 10)])
def test_tiny_pictures_have_no_ms_ssim(shape: tuple[int, ...]) -> None:
    found = measure_distortion(np.zeros(shape, np.uint8), np.ones(shape, np.uint8))
    assert found.mse == 1
    assert found.ms_ssim is None


def test_views_are_taken() -> None:
    original = smooth_pixels(32, 32)
    restored = noisy(original, 10)
    turned = measure_ms_ssim(original[::-1, ::-1], restored[::-1, ::-1])
    assert turned == pytest.approx(measure_ms_ssim(original, restored), abs=1e-12)


@pytest.mark.parametrize(
    ("original", "restored", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), "the same shape"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), "the same shape"),
        (np.zeros((4, 4)), np.zeros((4, 4)), "original: expected uint8"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int16), "restored: expected uint8"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), "original: expected uint8"),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8), "at least one pixel"),
    ],
)
def test_other_arrays_are_refused(original: NDArray[np.uint8], restored: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        measure_distortion(original, restored)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)
    pixels = smooth_pixels(12, 12)
    with pytest.raises(ConfigError, match=r"piq.*pip install 'diffcodec\[bench\]'"):
        measure_distortion(pixels, pixels)
    assert measure_distortion(pixels[:4], pixels[:4]).ms_ssim is None  # too small to need it


def test_haarpsi_falls_with_noise_and_is_1_for_the_same_picture() -> None:
    original = smooth_pixels(32, 40)
    found = [measure_haarpsi(original, noisy(original, std)) for std in (0.0, 5.0, 20.0, 60.0)]
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert all(worse < better for better, worse in itertools.pairwise(found))  # type: ignore[operator]
    assert measure_haarpsi(original[..., 0], original[..., 0]) == pytest.approx(1, abs=1e-6)


def test_haarpsi_needs_room_for_its_wavelets() -> None:
    assert measure_haarpsi(smooth_pixels(15, 40), smooth_pixels(15, 40)) is None
    with pytest.raises(ImageError, match="the same shape"):
        measure_haarpsi(smooth_pixels(16, 16), smooth_pixels(16, 17))
