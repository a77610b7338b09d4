"""Grids and animations of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ImageError
from diffcodec.images import Picture
from diffcodec.images.grids import GAP, grid, write_animation
from tests.conftest import smooth_pixels


def pictures(count: int, height: int = 4, width: int = 6) -> NDArray[np.uint8]:
    return np.stack([smooth_pixels(height, width, seed) for seed in range(count)])


def test_a_grid_holds_every_picture_in_reading_order() -> None:
    five = pictures(5)
    sheet = grid(five, 3).pixels
    assert sheet.shape == (2 * 4 + GAP, 3 * 6 + 2 * GAP, 3)
    for place, pixels in enumerate(five):
        top, left = place // 3 * (4 + GAP), place % 3 * (6 + GAP)
        assert np.array_equal(sheet[top : top + 4, left : left + 6], pixels)
    assert (sheet[4 + GAP :, 2 * (6 + GAP) :] == 255).all()
    assert (sheet[4 : 4 + GAP] == 255).all()


def test_a_grid_is_no_wider_than_what_it_holds_and_may_be_enlarged() -> None:
    two = pictures(2)
    sheet = grid(two, 10, zoom=3).pixels
    assert sheet.shape == (12, 36 + GAP, 3)
    assert np.array_equal(sheet[:12:3, :18:3], two[0])
    assert np.array_equal(sheet[2:12:3, 18 + GAP + 1 :: 3], two[1])


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_holds_every_frame_exactly(format: str) -> None:
    frames = [Picture(pixels) for pixels in pictures(3)]
    file = io.BytesIO()
    write_animation(frames, file, format, seconds=2.0)
    with Image.open(file) as image:
        assert getattr(image, "n_frames") == 3  # noqa: B009
        assert image.info["loop"] == 0
        for place, frame in enumerate(frames):
            image.seek(place)
            assert np.array_equal(np.asarray(image.convert("RGB")), frame.pixels)
            image.load()
            assert image.info["duration"] == (1000 if place < 2 else 2000)


def test_animations_too_large_for_their_format_are_refused() -> None:
    frames = [Picture(np.zeros((4, 17_000, 3), np.uint8))] * 2
    with pytest.raises(ImageError, match="a WEBP animation of 17000 x 4 pixels cannot be written"):
        write_animation(frames, io.BytesIO(), "WEBP")
