"""Reading pictures: formats, frames, depths, and files that are none."""

import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.images import Picture, picture_from_pil, picture_to_pil, read_picture
from diffcodec.images.depth import bits_per_sample
from tests.conftest import assert_same_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY, ALPHA = (RNG.integers(0, 256, (5, 7), dtype=np.uint8) for _ in range(2))
PICTURES = [Picture(RGB), Picture(GREY), Picture(RGB, ALPHA), Picture(GREY, ALPHA)]


def png_bytes(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.mode)
def test_through_pillow_and_back(picture: Picture) -> None:
    image = picture_to_pil(picture)
    assert (image.mode, image.size) == (picture.mode, (7, 5))
    assert (picture.width, picture.height) == (7, 5)
    assert_same_picture(read_picture(image), picture)


@pytest.mark.parametrize(("mode", "bits"), [("I;16", 16), ("I;16B", 16), ("I", 32), ("F", 32)])
def test_deep_modes_are_refused(mode: str, bits: int) -> None:
    with pytest.raises(ImageError, match=f"the image: .*at most 8 bits per sample, found {bits}: reduce it first"):
        read_picture(Image.new(mode, (3, 2)))


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.jp2", "a.ppm"])
def test_deep_grey_files_are_refused(name: str, tmp_path: Path) -> None:
    Image.new("I;16", (3, 2), 40_000).save(tmp_path / name)
    with pytest.raises(ImageError, match=rf"{name}: expected at most 8 bits per sample, found 16"):
        read_picture(tmp_path / name)


def test_pillow_cuts_deep_files_without_a_word_and_we_do_not() -> None:
    """JPEG 2000 and AVIF say their depth in a byte, which is patched here."""
    for format, mark, place, flip, bits in (
        ("JPEG2000", b"\xff\x4f\xff\x51", 42, 7 ^ 11, 12),
        ("AVIF", b"av1C", 6, 0x40, 10),
        ("AVIF", b"av1C", 6, 0x60, 12),
    ):
        file = io.BytesIO()
        Image.fromarray(RGB).save(file, format)
        deep = bytearray(file.getvalue())
        deep[deep.index(mark) + place] ^= flip
        with Image.open(file) as image:
            assert bits_per_sample(image, file.getvalue()) == 8
            assert bits_per_sample(image, bytes(deep)) == bits


def test_sixteen_bits_a_pixel_are_no_depth(tmp_path: Path) -> None:
    """A BMP of 5, 6 and 5 bits."""
    head = struct.pack("<2sIHHI", b"BM", 70, 0, 0, 66) + struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    (tmp_path / "a.bmp").write_bytes(head + masks + struct.pack("<HH", 0xF800, 0x001F))
    assert read_picture(tmp_path / "a.bmp").pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_sixteen_bit_colour_is_refused() -> None:
    # Pillow would drop the low bytes without a word.
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(7)))
    with pytest.raises(ImageError, match="expected at most 8 bits per sample, found 16"):
        read_picture(io.BytesIO(data + chunk(b"IEND", b"")))


@pytest.mark.parametrize("header", ["P6 1 1 65535\n", "P6 1 1 256\n", "P3 1 1 1000\n"])
def test_deep_ppm_is_refused(header: str) -> None:
    with pytest.raises(ImageError, match=r"expected at most 8 bits per sample, found (16|9|10):"):
        read_picture(io.BytesIO(header.encode() + b"1 2 3 4 5 6 7"))


def test_ppm_of_eight_bits_is_read() -> None:
    for maximum, value in ((255, 9), (15, 9 * 17)):
        found = read_picture(io.BytesIO(f"P6 1 1 {maximum}\n".encode() + bytes([9, 9, 9])))
        assert found.pixels.tolist() == [[[value] * 3]]


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "a.gif", "a.avif"])
def test_of_an_animation_the_first_frame_is_taken_if_asked_for(name: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (60 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(
        ImageError, match=rf"{name}: expected a still picture, found 3 frames: use only the first"
    ) as caught:
        read_picture(tmp_path / name)
    assert caught.value.parameters == ("first_frame",)
    first = read_picture(tmp_path / name, first_frame=True)
    assert (first.width, first.height) == (16, 16)
    assert first.pixels.max() <= 2  # AVIF is lossy
    assert not first.notes


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "webp", "tiff", "jpg", "in memory"])
def test_orientation_is_applied(extension: str, orientation: int, tmp_path: Path) -> None:
    # How the pixels of an upright picture lie in a file of this orientation.
    turned = {
        1: RGB,
        2: RGB[:, ::-1],
        3: np.rot90(RGB, 2),
        4: RGB[::-1],
        5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, 1),
        7: np.rot90(RGB, 2).swapaxes(0, 1),
        8: np.rot90(RGB, 3),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{'png' if extension == 'in memory' else extension}"
    settings: dict[str, dict[str, Any]] = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    options = settings.get(extension, {})
    Image.fromarray(np.ascontiguousarray(turned[orientation])).save(path, exif=exif, **options)
    if extension == "in memory":
        with Image.open(path) as image:
            found = read_picture(image).pixels
    else:
        found = read_picture(path).pixels
    assert found.shape == RGB.shape
    error = np.abs(found.astype(int) - RGB).mean()
    assert error < 15 if extension == "jpg" else error == 0  # noise turned wrongly is off by 85


def test_damaged_exif_does_not_make_a_picture_unreadable(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\0\0\1")
    for keep in ("nothing", "metadata"):
        found = read_picture(tmp_path / "a.png", keep=keep)
        assert np.array_equal(found.pixels, RGB)
        assert not found.metadata
    assert "EXIF block is damaged" in " ".join(found.notes)


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


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"data", r"bytes: wrap them in io\.BytesIO"),
        (5, "an int"),
        (None, "None"),
        (RGB, "an ndarray"),
        (Picture(RGB), "a Picture"),
    ],
)
def test_sources_of_other_types_are_refused(source: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=f"^expected a path, an open file or a Pillow image, found {found}$"):
        read_picture(source)


def test_what_to_keep_is_checked() -> None:
    image = Image.fromarray(RGB)
    message = "^keep: expected one of nothing, meaning, metadata, found 'x'$"
    for source in (image, io.BytesIO(png_bytes(image))):
        with pytest.raises(ConfigError, match=message):
            read_picture(source, keep="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        picture_from_pil(image, keep="x")  # type: ignore[arg-type]


def test_pixel_limit() -> None:
    image = Image.new("L", (10, 10))
    assert read_picture(image, max_pixels=100).width == 10
    with pytest.raises(ImageError, match="10 x 10 pixels, more than the limit of 99"):
        read_picture(image, max_pixels=99)


def test_formats_that_start_other_programs_are_not_opened(tmp_path: Path) -> None:
    """Pillow would hand EPS to Ghostscript."""
    path = tmp_path / "page.eps"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(ImageError, match=r"page\.eps"):
        read_picture(path)


def test_pipes_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png is a pipe or a device, not a file"):
        read_picture(tmp_path / "a.png")
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        Image.fromarray(RGB).save(file, "PNG")
    with os.fdopen(reading, "rb") as file:
        assert np.array_equal(read_picture(file).pixels, RGB)


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(40)


@pytest.mark.parametrize(
    ("module", "head", "message"),
    [
        ("pillow_heif", HEIC_HEAD, "is a HEIC picture, which needs another package: pip install pillow-heif"),
        ("pillow_jxl", b"\xff\x0a" + bytes(40), "is a JPEG XL picture, .*: pip install pillow-jxl-plugin"),
    ],
)
def test_missing_packages_are_named(module: str, head: bytes, message: str, tmp_path: Path) -> None:
    """In another process, where none has been registered yet."""
    (tmp_path / "a").write_bytes(head)
    code = (
        "import sys; from diffcodec.images import read_picture\n"
        f"sys.modules[{module!r}] = None  # importing it fails\n"
        f"read_picture({str(tmp_path / 'a')!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(f"ImageError: .*a {message}", result.stderr)


def test_jpeg_xl_is_read_without_being_asked_to(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    Image.fromarray(RGB).save(tmp_path / "a.jxl", lossless=True)
    code = f"from diffcodec.images import read_picture\nprint(read_picture({str(tmp_path / 'a.jxl')!r}).pixels.sum())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == RGB.sum()


@settings(max_examples=60)
@given(
    format=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "QOI"]),
    cut=st.integers(0, 2000),
    flips=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 255)), max_size=4),
)
def test_whatever_is_wrong_with_a_file_the_error_is_ours(format: str, cut: int, flips: list[tuple[int, int]]) -> None:
    file = io.BytesIO()
    exif = (
        {}
        if format in ("PPM", "TGA", "GIF", "BMP", "JPEG2000", "QOI", "TIFF")
        else {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}
    )
    Image.fromarray(RGB).save(file, format, **exif)
    data = bytearray(file.getvalue()[:cut])
    for place, flip in flips:
        if place < len(data):
            data[place] ^= flip
    damaged = io.BytesIO(bytes(data))
    damaged.name = "holiday"
    message, pixels = "", 0
    try:
        picture = read_picture(damaged, max_pixels=10_000, keep="metadata", first_frame=True)
        pixels = picture.width * picture.height
    except ImageError as error:
        message = str(error)
    assert 0 < pixels <= 10_000 or message.startswith("holiday")
