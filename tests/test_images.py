"""Reading and writing pictures, the unit range, and the alpha packet."""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import CorruptStreamError, ImageError
from diffcodec.images import (
    AlphaMethod,
    Picture,
    decode_alpha,
    encode_alpha,
    from_unit,
    picture_to_pil,
    read_picture,
    to_unit,
    write_picture,
)

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY, ALPHA = (RNG.integers(0, 256, (5, 7), dtype=np.uint8) for _ in range(2))
PICTURES = [Picture(RGB), Picture(GREY), Picture(RGB, ALPHA), Picture(GREY, ALPHA)]


def assert_same(a: Picture, b: Picture) -> None:
    assert a.mode == b.mode
    assert np.array_equal(a.pixels, b.pixels)
    if a.alpha is not None and b.alpha is not None:
        assert np.array_equal(a.alpha, b.alpha)


def png_bytes(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.mode)
def test_through_pillow_and_back(picture: Picture) -> None:
    image = picture_to_pil(picture)
    assert (image.mode, image.size) == (picture.mode, (7, 5))
    assert (picture.width, picture.height) == (7, 5)
    assert_same(read_picture(image), picture)


@pytest.mark.parametrize("extension", ["png", "PNG", "tif", "tiff", "webp", "bmp", "ppm", "pgm", "jpg", "jpeg"])
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.mode)
def test_files_hold_the_picture_or_say_that_they_cannot(picture: Picture, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    lost_alpha = picture.alpha is not None and extension in ("bmp", "ppm", "pgm", "jpg", "jpeg")
    if lost_alpha or (extension == "webp" and picture.mode in ("L", "LA")):
        with pytest.raises(ImageError, match=f"cannot hold {picture.mode} pictures"):
            write_picture(picture, path)
        assert not path.exists()
        return
    write_picture(picture, str(path))
    again = read_picture(path)
    if extension.startswith("j"):
        assert again.mode == picture.mode
    else:
        assert_same(again, picture)


def test_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "noextension"
    with path.open("wb") as file:
        write_picture(PICTURES[2], file)
    with path.open("rb") as file:
        assert_same(read_picture(file), PICTURES[2])
    buffer = io.BytesIO()
    write_picture(PICTURES[0], buffer, "PPM")
    assert buffer.getvalue().startswith(b"P6")


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.gif", r"not written as '\.gif'; use one of"), ("a", "not written as ''"), ("no/a.png", "No such")],
)
def test_unwritable_targets(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        write_picture(PICTURES[0], tmp_path / name)
    with pytest.raises(ImageError, match="not written as GIF"):
        write_picture(PICTURES[0], tmp_path / "a.png", "GIF")


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("P", "RGB"),
        ("1", "L"),
        ("CMYK", "RGB"),
        ("I;16", "L"),
        ("I", "L"),
        ("F", "L"),
        ("YCbCr", "RGB"),
        ("LAB", "RGB"),
        ("HSV", "RGB"),
        ("PA", "RGBA"),
        ("RGBa", "RGBA"),
        ("RGBX", "RGB"),
    ],
)
def test_other_modes_are_refused(mode: str, advice: str) -> None:
    with pytest.raises(ImageError, match=f"mode {mode}: convert it to {advice} first"):
        read_picture(Image.new(mode, (3, 2)))


def test_sixteen_bit_colour_is_refused() -> None:
    # Pillow would drop the low bytes without a word.
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(7)))
    with pytest.raises(ImageError, match="more than 8 bits per sample"):
        read_picture(io.BytesIO(data + chunk(b"IEND", b"")))


@pytest.mark.parametrize("header", ["P6 1 1 65535\n", "P6 1 1 256\n", "P3 1 1 1000\n"])
def test_deep_ppm_is_refused(header: str) -> None:
    with pytest.raises(ImageError, match="more than 8 bits per sample"):
        read_picture(io.BytesIO(header.encode() + b"1 2 3 4 5 6 7"))


def test_ppm_of_eight_bits_is_read() -> None:
    for maximum, value in ((255, 9), (15, 9 * 17)):
        found = read_picture(io.BytesIO(f"P6 1 1 {maximum}\n".encode() + bytes([9, 9, 9])))
        assert found.pixels.tolist() == [[[value] * 3]]


def test_animations_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(3)]
    for name in ("a.png", "a.webp", "a.tiff", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match=rf"{name} has 3 frames"):
            read_picture(tmp_path / name)


def test_first_view_of_a_camera_file_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(2)]
    frames[0].save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "a.mpo").pixels.max() == 0


def test_transparent_colour_becomes_alpha() -> None:
    data = png_bytes(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[0, 0]))
    picture = read_picture(io.BytesIO(data))
    assert picture.mode == "RGBA"
    assert np.array_equal(picture.pixels, RGB)
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[1:].min() == 255
    grey = read_picture(io.BytesIO(png_bytes(Image.fromarray(GREY), transparency=int(GREY[0, 0]))))
    assert grey.mode == "LA"
    assert np.array_equal(grey.alpha == 0, GREY[0, 0] == GREY)


@pytest.mark.parametrize("as_image", [False, True])
def test_orientation_is_applied(as_image: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    source = io.BytesIO(png_bytes(Image.fromarray(RGB), exif=exif))
    picture = read_picture(Image.open(source) if as_image else source)
    assert np.array_equal(picture.pixels, np.rot90(RGB, 3))


def damage_nothing(path: Path) -> None:
    path.write_bytes(b"")


def damage_text(path: Path) -> None:
    path.write_text("not a picture\n" * 20)


def damage_cut(path: Path) -> None:
    path.write_bytes(png_bytes(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)))[:4000])


def damage_header(path: Path) -> None:
    path.write_bytes(png_bytes(Image.fromarray(RGB))[:20])


def damage_directory(path: Path) -> None:
    path.mkdir()


def damage_missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    "damage", [damage_nothing, damage_text, damage_cut, damage_header, damage_directory, damage_missing]
)
def test_unreadable_files_are_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "holiday.png"
    damage(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"holiday\.png"):
            read_picture(path)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_bombs_are_refused_before_they_are_decoded(side: int, tmp_path: Path) -> None:
    # A PNG header alone: decoding would fail with another message.
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"\0\0\0\x0dIHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\1\0IDAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"bomb\.png .*(limit|bomb)"):
            read_picture(path)


def test_pixel_limit() -> None:
    image = Image.new("L", (10, 10))
    assert read_picture(image, max_pixels=100).width == 10
    with pytest.raises(ImageError, match="10 x 10 pixels, more than the limit of 99"):
        read_picture(image, max_pixels=99)


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


planes = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda shape: st.one_of(
        arrays(np.uint8, shape),
        arrays(np.uint8, shape, elements=st.sampled_from([0, 255])),
        arrays(np.uint8, shape, elements=st.integers(7, 7)),
    )
)


@settings(deadline=None)
@given(planes)
def test_alpha_round_trip(alpha: NDArray[np.uint8]) -> None:
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, alpha.shape[1], alpha.shape[0]), alpha)
    assert len(data) <= alpha.size + 6 * (1 + alpha.size // 16000)
    for cut in range(len(data)):
        with pytest.raises(CorruptStreamError):
            decode_alpha(data[:cut], alpha.shape[1], alpha.shape[0])


def test_each_alpha_method_has_its_use() -> None:
    ramp = np.add.outer(np.arange(40), 3 * np.arange(50)).astype(np.uint8)
    noise_row = RNG.integers(0, 256, 300, dtype=np.uint8)
    for method, alpha in (
        (AlphaMethod.CONSTANT, np.full((9, 9), 200, np.uint8)),
        (AlphaMethod.PLAIN, RNG.choice(np.array([3, 90], np.uint8), (40, 50))),
        (AlphaMethod.LEFT, ramp + RNG.integers(0, 256, (40, 1), dtype=np.uint8)),
        (AlphaMethod.UP, noise_row + np.arange(40, dtype=np.uint8)[:, None]),
        (AlphaMethod.BINARY, RNG.choice(np.array([0, 255], np.uint8), (41, 51))),
    ):
        data = encode_alpha(alpha)
        assert data[0] == method
        assert np.array_equal(decode_alpha(data, alpha.shape[1], alpha.shape[0]), alpha)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_damaged_alpha_raises_ours(data: bytes) -> None:
    for packet in (data, *(bytes([method]) + data for method in AlphaMethod)):
        with contextlib.suppress(CorruptStreamError):
            assert decode_alpha(packet, 3, 2).shape == (2, 3)


def test_alpha_bomb_is_bounded() -> None:
    bomb = bytes([AlphaMethod.PLAIN]) + zlib.compress(bytes(50_000_000), 9, wbits=-15)
    with pytest.raises(CorruptStreamError, match="exactly 6 bytes"):
        decode_alpha(bomb, 3, 2)


def test_formats_that_start_other_programs_are_not_opened(tmp_path: Path) -> None:
    """Pillow would hand EPS to Ghostscript."""
    path = tmp_path / "page.eps"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(ImageError, match=r"page\.eps"):
        read_picture(path)
