"""Tiled files of pictures of awkward sizes: report, steps, shorter files and damage agree with each other."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, StreamError
from diffcodec.images import Picture
from diffcodec.images.metadata import Metadata
from tests.conftest import assert_same_picture, smooth_pixels

SIZES = [
    (1, 1),
    (1, 2),
    (31, 33),
    (32, 32),
    (33, 31),
    (47, 49),
    (48, 48),
    (63, 65),
    (64, 64),
    (65, 63),
    (96, 97),
    (97, 95),
    (3, 200),
    (200, 3),
    (1, 500),
]
"""Around the borders of tiles, of the network's grid and of lower resolutions; and long ones."""


def example(kind: str, height: int, width: int) -> tuple[Picture, dict[str, Any]]:
    """A picture, half of it calm where it is wide enough to have such tiles, and options of its file."""
    pixels = smooth_pixels(height, width)
    if width > 40:
        pixels[:, width // 2 :] = 90
    match kind:
        case "grey":
            return Picture(pixels[..., 0].copy()), {"timestep": 20}
        case "alpha":
            alpha = smooth_pixels(height, width, 3)[..., 0].copy()
            return Picture(pixels, alpha, Metadata(b"profile", b"Exif")), {"timestep": 100, "seed": 2**64 - 1}
        case "poisson":
            return Picture(pixels), {"timestep": 100, "channel": "poisson"}
    return Picture(pixels), {"timestep": 4}


@pytest.mark.parametrize(
    ("kind", "height", "width"),
    [("colour", *size) for size in SIZES[::2]]
    + [pytest.param("colour", *size, marks=pytest.mark.slow) for size in SIZES[1::2]]
    + [(kind, *size) for kind in ("grey", "alpha") for size in SIZES[::3]]
    + [pytest.param("poisson", *size, marks=pytest.mark.slow) for size in SIZES[2::7]],
)
def test_all_that_a_tiled_file_says_fits_together(
    tiled_codec: DiffusionCodec, kind: str, height: int, width: int
) -> None:
    codec = tiled_codec
    picture, options = example(kind, height, width)
    stream = codec.compress(picture, effort=8, **options)
    every = list(codec.progressive(stream))
    restored = every[-1].picture
    error = np.mean((restored.pixels.astype(float) - picture.pixels) ** 2)
    assert error == pytest.approx(stream.report.rmse**2)
    if picture.alpha is not None:
        assert np.array_equal(restored.alpha, picture.alpha)  # type: ignore[arg-type]
    assert restored.metadata == picture.metadata
    assert all(before.payload_bits <= after.payload_bits for before, after in pairwise(every))

    shorter = stream.data
    while True:
        try:
            shorter = codec.truncate(shorter, len(shorter) - 1)
        except ConfigError:
            break
        shortened = read_header(shorter).header.shortened
        assert shortened is not None
        expected = every[shortened.steps - 1]
        found = codec.decompress(shorter)
        assert_same_picture(found.picture, expected.picture)
        assert found.payload_bits == pytest.approx(expected.payload_bits)

    for length in random.Random(0).sample(range(len(stream.data)), 3):
        try:
            found = codec.decompress(stream.data[:length], partial=True)
        except StreamError:
            continue  # within the header
        if found.step:
            assert np.array_equal(found.pixels, every[found.step - 1].pixels)
