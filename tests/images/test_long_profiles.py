"""PNG files with colour profiles that are too long for Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffcodec.images import read_picture
from diffcodec.images.metadata import MAX_METADATA_BYTES
from tests.conftest import smooth_pixels

PIXELS = smooth_pixels(9, 7)


def profile_of(length: int) -> bytes:
    """An sRGB profile, filled up."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rest = np.random.default_rng(0).bytes(length - len(plain))
    return length.to_bytes(4, "big") + plain[4:] + rest


def png(profile: bytes) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", icc_profile=profile)
    return file


@pytest.mark.parametrize("length", [5000, (1 << 20) + 1, 2 << 20, MAX_METADATA_BYTES])
def test_profiles_are_kept(length: int) -> None:
    profile = profile_of(length)
    picture = read_picture(png(profile), keep="metadata")
    assert picture.metadata.icc_profile == profile
    assert np.array_equal(picture.pixels, PIXELS)
    assert picture.notes == ()


def test_longer_ones_are_left_out_with_a_note() -> None:
    for length in (MAX_METADATA_BYTES + 1, MAX_METADATA_BYTES + (1 << 17)):
        picture = read_picture(png(profile_of(length)), keep="metadata")
        assert picture.metadata.icc_profile is None
        assert np.array_equal(picture.pixels, PIXELS)
        assert picture.notes == (f"its colour profile has more than {MAX_METADATA_BYTES} bytes and is ignored",)


def test_a_colour_space_is_no_escape_sequence() -> None:
    profile = bytearray(profile_of(5000))
    profile[16:20] = b"\x1b[1m"
    (note,) = read_picture(png(bytes(profile))).notes
    assert note == "its colour profile is for [1m: ignored, the pixels are unchanged"
