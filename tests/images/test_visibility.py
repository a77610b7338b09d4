"""SSIMULACRA 2, against libjxl's program as ported to Rust (rust-av/ssimulacra2), compiled for double precision."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ImageError
from diffcodec.images.visibility import SSIMULACRA2_MIN_SIDE, Ssimulacra2, measure_ssimulacra2
from tests.conftest import smooth_pixels


def waves(height: int, width: int) -> NDArray[np.uint8]:
    """A picture of integers, the same everywhere."""
    row, column, channel = np.indices((height, width, 3))
    levels = 128 + (row * row // 40 + 5 * column + 60 * channel) % 97 - (row * column // 50) % 61
    return np.asarray(levels, np.uint8)


def coarse(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    return np.asarray(pixels // step * step + step // 2, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "step", "score"),
    [
        (113, 150, 4, 94.271176),  # the smallest height: the last scale has 4 rows
        (113, 150, 12, 85.673681),
        (113, 150, 40, 24.243762),
        (240, 131, 4, 94.609928),
        (240, 131, 40, 29.226497),
    ],
)
def test_scores_are_those_of_the_reference(height: int, width: int, step: int, score: float) -> None:
    pixels = waves(height, width)
    assert measure_ssimulacra2(pixels, coarse(pixels, step)) == pytest.approx(score, abs=1e-4)


def test_grey_counts_as_the_same_colour() -> None:
    pixels = waves(150, 150)[..., 0]
    found = measure_ssimulacra2(pixels, coarse(pixels, 12))
    assert found == pytest.approx(87.587267, abs=1e-4)
    stacks = [np.dstack([plane] * 3) for plane in (pixels, coarse(pixels, 12))]
    assert measure_ssimulacra2(*stacks) == found


def test_the_same_picture_has_100() -> None:
    pixels = smooth_pixels(120, 130)
    assert measure_ssimulacra2(pixels, pixels.copy()) == 100


def test_scores_fall_with_the_quality_of_jpeg() -> None:
    pixels = smooth_pixels(128, 160)
    scores = []
    for quality in (95, 80, 50, 20, 5):
        Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality)
        scores.append(measure_ssimulacra2(pixels, np.asarray(Image.open(file))))
    assert all(score is not None for score in scores)
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert scores[0] is not None
    assert scores[0] < 100


def test_small_pictures_have_no_score() -> None:
    pixels = smooth_pixels(SSIMULACRA2_MIN_SIDE - 1, 200)
    assert measure_ssimulacra2(pixels, pixels) is None
    assert measure_ssimulacra2(pixels.swapaxes(0, 1), pixels.swapaxes(0, 1)) is None


def test_shapes_are_checked() -> None:
    with pytest.raises(ImageError, match="same shape"):
        measure_ssimulacra2(smooth_pixels(120, 120), smooth_pixels(120, 121))


def test_single_precision_changes_the_second_decimal() -> None:
    pixels = smooth_pixels(128, 160)
    for step in (4, 12, 40):
        exact, quick = (Ssimulacra2(pixels, dtype).score(coarse(pixels, step)) for dtype in (np.float64, np.float32))
        assert quick == pytest.approx(exact, abs=0.05)
