"""Pictures and the unit range."""

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcodec.errors import ImageError
from diffcodec.images import Picture, from_unit, to_unit

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((2, 2), np.float32), None),
        (np.zeros((2, 2, 4), np.uint8), None),
        (np.zeros(4, np.uint8), None),
        (np.zeros((0, 2), np.uint8), None),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.int64)),
    ],
)
def test_pictures_are_validated(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> None:
    with pytest.raises(ImageError):
        Picture(pixels, alpha)


@pytest.mark.parametrize("pixels", [RGB, GREY, np.arange(256, dtype=np.uint8)[None]])
def test_unit_range_round_trip(pixels: NDArray[np.uint8]) -> None:
    x = to_unit(pixels)
    assert x.dtype == np.float32
    assert x.shape == ((3, 5, 7) if pixels.ndim == 3 else (1, *pixels.shape))
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    assert np.allclose(x, planes / 127.5 - 1, rtol=0, atol=1e-7)
    assert np.array_equal(from_unit(x), pixels)


def test_unit_range_ends() -> None:
    assert to_unit(np.array([[0, 255]], np.uint8)).tolist() == [[[-1.0, 1.0]]]
    assert from_unit(np.array([[[-9.0, -1.0, 1.0, np.inf, 0.5 / 127.5]]], np.float32)).tolist() == [
        [0, 0, 255, 255, 128]
    ]
    for bad in (np.zeros((2, 2, 2), np.float32), np.zeros((2, 2), np.float32), np.full((1, 1, 1), np.nan)):
        with pytest.raises(ValueError, match=r"^x (holds|must)"):
            from_unit(bad.astype(np.float32))
