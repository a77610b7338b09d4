"""Pillow images, arrays and tensors become pictures and come back; others are refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ConfigError, ImageError, WrongTypeError
from diffcodec.images import Picture, as_picture, is_single, to_pil, to_planes
from diffcodec.images.metadata import Metadata
from tests.conftest import assert_same_picture, smooth_pixels

RGB = smooth_pixels(5, 4)
GREY = RGB[..., 1].copy()


def planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """As torchvision has pictures: (3, H, W) or (1, H, W), uint8."""
    return torch.from_numpy(np.array(np.atleast_3d(pixels).transpose(2, 0, 1)))


FORMS: dict[str, Any] = {
    "Picture": lambda pixels: Picture(pixels),
    "Pillow": Image.fromarray,
    "array": lambda pixels: pixels,
    "array with an axis of channels": np.atleast_3d,
    "array in another order": np.asfortranarray,
    "read-only array": lambda pixels: np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape),
    "uint8": planes,
    "float32": lambda pixels: planes(pixels) / 255,
    "float64": lambda pixels: planes(pixels).double() / 255,
    "float16": lambda pixels: (planes(pixels) / 255).half(),
    "with gradients": lambda pixels: (planes(pixels) / 255).requires_grad_(),
    "channels last": lambda pixels: (planes(pixels) / 255)[None].to(memory_format=torch.channels_last)[0],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["RGB", "L"])
def test_all_forms_are_the_same_picture(form: str, pixels: NDArray[np.uint8]) -> None:
    found = as_picture(FORMS[form](pixels))
    assert_same_picture(found, Picture(pixels))
    assert found.pixels.flags["C_CONTIGUOUS"]


def test_pictures_keep_what_they_have() -> None:
    picture = Picture(RGB, GREY, Metadata(exif=b"Exif"))
    assert as_picture(picture) is picture


def test_pillow_images_are_read_as_files_are(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("P")
    assert_same_picture(as_picture(image), Picture(np.array(image.convert("RGB"))))
    assert_same_picture(as_picture(Image.merge("LA", [Image.fromarray(GREY)] * 2)), Picture(GREY, GREY))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert as_picture(Image.open(tmp_path / "a.png")).height == 4


def test_there_are_256_levels_and_floats_go_to_the_nearest() -> None:
    levels = torch.arange(256.0)
    for offset in (-0.49, 0.0, 0.49):
        values = ((levels + offset) / 255).clamp(0, 1)
        assert np.array_equal(as_picture(values.reshape(1, 16, 16)).pixels.reshape(-1), np.arange(256))
    assert as_picture(torch.ones(1, 1, 1)).pixels == 255


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_planes_come_back(seed: int, grey: bool) -> None:
    shape = (3, 2) if grey else (3, 2, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = to_planes(Picture(pixels))
    assert found.shape == (1 if grey else 3, 3, 2)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert np.array_equal(as_picture(torch.from_numpy(found)).pixels, pixels)


def test_images_for_pillow_have_modes_and_metadata() -> None:
    for picture in (Picture(RGB), Picture(GREY), Picture(RGB, GREY), Picture(GREY, GREY)):
        image = to_pil(picture)
        assert image.mode == picture.mode
        assert image.info == {}
        assert_same_picture(as_picture(image), picture)
    assert to_pil(Picture(RGB, None, Metadata(b"profile", b"Exif"))).info == {
        "icc_profile": b"profile",
        "exif": b"Exif",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 4, 3)), r"an array of uint8, .*, found float64 \(4, 4, 3\)$"),
        (np.zeros((4, 4), np.int64), r"found int64 \(4, 4\)$"),
        (np.zeros((4, 4), bool), r"found bool \(4, 4\)$"),
        (np.zeros((3, 8, 8), np.uint8), r"found uint8 \(3, 8, 8\)$"),
        (np.zeros((4, 4, 4), np.uint8), r"found uint8 \(4, 4, 4\)$"),
        (np.zeros(4, np.uint8), r"found uint8 \(4,\)$"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"found uint8 \(2, 4, 4, 3\): use compress_batch for several pictures$"),
        (torch.zeros(4, 4), r"a tensor \(3, H, W\) or \(1, H, W\), found \(4, 4\)$"),
        (torch.zeros(4, 4, 3), r"found \(4, 4, 3\)$"),
        (torch.zeros(4, 8, 8), r"found \(4, 8, 8\)$"),
        (torch.zeros(2, 3, 8, 8), r"found \(2, 3, 8, 8\): use compress_batch for several pictures$"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), r"uint8, or of floats in \[0, 1\], found int64"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "found bool"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "found complex64"),
    ],
)
def test_arrays_and_tensors_of_other_shapes_and_types_are_refused(value: Any, message: str) -> None:
    with pytest.raises(WrongTypeError, match=message):
        as_picture(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel, not 4 x 0"),
        (np.zeros((0, 4, 1), np.uint8), "at least one pixel, not 4 x 0"),
        (torch.zeros(3, 0, 4), "at least one pixel, not 4 x 0"),
        (torch.zeros(3, 0, 4, dtype=torch.uint8), "at least one pixel, not 4 x 0"),
        (torch.full((3, 4, 4), torch.nan), r"floats in \[0, 1\], found NaN"),
        (torch.full((3, 4, 4), torch.inf), r"found inf to inf: scale or clamp them first"),
        (torch.linspace(-1, 1, 48).reshape(3, 4, 4), r"found -1 to 1: scale or clamp them first"),
        (torch.full((3, 4, 4), 200.0), r"found 200 to 200: scale or clamp them first"),
    ],
)
def test_values_that_are_no_grey_levels_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        as_picture(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a.png", "a str: read_picture reads files"),
        (Path("a.png"), "a Path: read_picture reads files"),
        (b"data", "bytes: read_picture reads files"),
        ([[1, 2], [3, 4]], "a list"),
        (3, "an int"),
        (None, "None"),
    ],
)
def test_other_things_are_refused_with_all_that_is_taken(value: object, found: str) -> None:
    with pytest.raises(WrongTypeError) as caught:
        as_picture(value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ConfigError)
    for taken in ("Picture", "Pillow", "(H, W, 3)", "(H, W, 1)", "(H, W)", "(3, H, W)", "(1, H, W)"):
        assert taken in str(caught.value)
    assert str(caught.value).endswith(f"found {found}")


def test_batches_are_told_from_single_pictures() -> None:
    for one in (Picture(RGB), Image.fromarray(RGB), RGB, GREY, planes(RGB)):
        assert is_single(one)
    for several in ([RGB], (), RGB[None], planes(RGB)[None], "a.png", None):
        assert not is_single(several)
