"""Modes and colour profiles: how they are converted, and the notes on that."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms

from diffcodec.errors import ImageError
from diffcodec.images import Keep, Picture, picture_from_pil, picture_to_pil, read_picture
from tests.conftest import smooth_pixels

SMOOTH = Image.fromarray(smooth_pixels(9, 14))
ALPHA = Image.fromarray(np.arange(9 * 14, dtype=np.uint8).reshape(9, 14))


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(ALPHA)
    return image


EXACT = {
    "1": (SMOOTH.convert("1"), "L"),
    "P": (SMOOTH.quantize(16), "RGB"),
    "P, grey": (SMOOTH.convert("L").quantize(16), "L"),
    "PA": (SMOOTH.quantize(16).convert("PA"), "RGBA"),
    "RGBX": (SMOOTH.convert("RGBX"), "RGB"),
}


@pytest.mark.parametrize(("image", "mode"), EXACT.values(), ids=EXACT)
def test_other_forms_of_the_same_colours_are_taken_silently(image: Image.Image, mode: str) -> None:
    picture = read_picture(image)
    assert (picture.mode, picture.notes) == (mode, ())
    assert np.array_equal(np.asarray(picture_to_pil(picture)), np.asarray(image.convert(mode)))


@pytest.mark.parametrize(
    ("mode", "colour", "restored", "note"),
    [
        ("CMYK", (255, 0, 0, 0), (0, 255, 255), "converted from CMYK to RGB, without a usable profile: its"),
        ("YCbCr", (76, 85, 255), (254, 0, 0), "converted from YCbCr to RGB"),
        ("HSV", (0, 255, 200), (200, 0, 0), "converted from HSV to RGB"),
        ("LAB", (255, 128, 128), (255, 255, 255), "converted from Lab to RGB"),
        ("RGBa", (50, 0, 0, 128), (99, 0, 0, 128), "converted from premultiplied alpha to RGBA"),
        ("La", (50, 128), (99, 128), "converted from premultiplied alpha to LA"),
    ],
)
def test_conversions_are_noted(mode: str, colour: tuple[int, ...], restored: tuple[int, ...], note: str) -> None:
    # Pillow has no way to fill some of these modes; Lab's a and b are signed, 128 away from zero.
    pixel = bytes(value ^ 128 if mode == "LAB" and place else value for place, value in enumerate(colour))
    if mode == "La":
        image = Image.new("LA", (3, 2), colour).convert("La")
        shown = Image.new("LA", (1, 1), colour).getpixel((0, 0))
        assert isinstance(shown, tuple)
        restored = shown
    else:
        image = Image.frombytes(mode, (3, 2), pixel * 6)
    picture = read_picture(image)
    found = np.asarray(picture_to_pil(picture))[0, 0]
    assert np.abs(found.astype(int) - restored).max() <= 1
    assert len(picture.notes) == 1
    assert picture.notes[0].startswith(note)


def test_cmyk_jpeg_of_adobe_is_not_a_negative(tmp_path: Path) -> None:
    """Adobe writes CMYK inverted, which a marker records."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    picture = read_picture(tmp_path / "a.jpg")
    assert np.abs(picture.pixels.reshape(-1, 3).mean(0) - (255, 0, 0)).max() < 3
    assert "CMYK" in picture.notes[0]


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.webp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str, name: str, tmp_path: Path) -> None:
    if (name, mode) == ("a.gif", "RGB"):
        pytest.skip("GIF has palettes only")
    image = SMOOTH.quantize(8) if mode == "P" else SMOOTH.convert(mode)
    first = image.getpixel((0, 0))
    image.save(tmp_path / name, transparency=first, lossless=True)
    picture = read_picture(tmp_path / name)
    with Image.open(tmp_path / name) as file:
        expected = file.convert("RGBA")
    assert np.array_equal(np.asarray(picture_to_pil(picture).convert("RGBA")), np.asarray(expected))
    if name == "a.png":
        assert picture.alpha is not None
        assert picture.alpha[0, 0] == 0
        assert picture.alpha.max() == 255


def test_unknown_modes_are_named() -> None:
    class Odd(Image.Image):
        mode = "BGR;24"

    with pytest.raises(ImageError, match="the picture has mode BGR;24: convert it to RGB or L"):
        picture_from_pil(Odd())


# ------------------------------------------------------------------------------------- profiles


def profile(gamma: float, primaries: str = "sRGB") -> bytes:
    """A profile of screens: curve and matrix. lcms makes sRGB, whose parts are exchanged here."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(data[128:132], "big")):
        tag = 132 + 12 * number
        name, place = bytes(data[tag : tag + 4]), int.from_bytes(data[tag + 4 : tag + 8], "big")
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + b"\0\0"
            data[place : place + len(curve)] = curve
            data[tag + 8 : tag + 12] = (14).to_bytes(4, "big")
    return bytes(data)


def icc_file(device: bytes, space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of version 2.4 with these tags."""
    white = b"".join(round(v * 65536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    tags = {b"wtpt": b"XYZ " + bytes(4) + white, **tags}
    table, body, start = len(tags).to_bytes(4, "big"), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + (start + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[0:4] = (start + len(body)).to_bytes(4, "big")
    header[8:12], header[12:24], header[36:40], header[68:80] = b"\2\x40\0\0", device + space, b"acsp", white
    return bytes(header) + table + body


def grey_profile(gamma: float) -> bytes:
    """Of a grey screen."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
    return icc_file(b"mntr", b"GRAYXYZ ", {b"kTRC": curve})


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, icc_profile: bytes) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=icc_profile)
    file.seek(0)
    return file


@pytest.mark.parametrize("image", [SMOOTH, with_alpha(SMOOTH), SMOOTH.quantize(9)], ids=lambda image: image.mode)
def test_colours_are_converted_to_srgb_unless_they_are_kept(image: Image.Image) -> None:
    linear = profile(1.0)
    converted = read_picture(saved(image, linear))
    assert "to sRGB" in converted.notes[0]
    assert not converted.metadata
    rgb = np.asarray(image.convert("RGB")) / 255
    expected = 255 * np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    assert np.abs(converted.pixels - expected).max() < 2
    kept_kinds: list[Keep] = ["meaning", "metadata"]
    for keep in kept_kinds:
        kept = read_picture(saved(image, linear), keep=keep)
        assert kept.notes == ()
        assert kept.metadata.icc_profile == linear
        assert np.array_equal(kept.pixels, np.asarray(image.convert("RGB")))
    if image.mode == "RGBA":
        assert converted.alpha is not None
        assert np.array_equal(converted.alpha, np.asarray(ALPHA))


def test_a_profile_that_says_srgb_is_not_needed() -> None:
    kinds: list[tuple[Keep, bytes | None]] = [("nothing", None), ("meaning", None), ("metadata", SRGB)]
    for keep, expected in kinds:
        picture = read_picture(saved(SMOOTH, SRGB), keep=keep)
        assert np.array_equal(picture.pixels, np.asarray(SMOOTH))
        assert (picture.metadata.icc_profile, picture.notes) == (expected, ())


def test_grey_profiles() -> None:
    grey = with_alpha(SMOOTH.convert("L"))
    converted = read_picture(saved(grey, grey_profile(1.0)))
    assert converted.mode == "LA"
    assert "to sRGB" in converted.notes[0]
    level = int(np.asarray(grey)[4, 4, 0]) / 255
    assert abs(converted.pixels[4, 4] - 255 * (1.055 * level ** (1 / 2.4) - 0.055)) < 2
    kept = read_picture(saved(grey, grey_profile(1.0)), keep="meaning")
    assert kept.metadata.icc_profile == grey_profile(1.0)
    assert np.array_equal(kept.pixels, np.asarray(grey)[..., 0])


def cmyk_profile() -> bytes:
    """Of a printer with grey inks: each of cyan, magenta and yellow takes a third of the light, black all of it."""
    corners = bytearray()
    for inks in range(16):  # cyan is the highest bit
        cyan, magenta, yellow, black = (inks >> bit & 1 for bit in (3, 2, 1, 0))
        corners += bytes([round(255 * (1 - black) * (1 - (cyan + magenta + yellow) / 3)), 128, 128])
    identity = b"".join((65536 * (place % 4 == 0)).to_bytes(4, "big") for place in range(9))
    curve = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * curve + bytes(corners) + 3 * curve
    return icc_file(b"prtr", b"CMYKLab ", {b"A2B0": lut})


def test_cmyk_profiles_are_used_or_noted_as_missing(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for name in ("a.jpg", "a.tiff"):
        image.save(tmp_path / name, icc_profile=cmyk_profile(), quality=100)
        for keep in ("nothing", "meaning", "metadata"):
            picture = read_picture(tmp_path / name, keep=keep)
            assert picture.metadata.icc_profile is None  # the picture is in sRGB now
            assert picture.notes == ("converted from CMYK to RGB",)
            assert np.abs(picture.pixels.astype(int) - 161).max() <= 3  # L* = 66.7, where Pillow alone makes it cyan
        image.save(tmp_path / name, icc_profile=profile(1.8), quality=100)  # of a screen: of no use
        picture = read_picture(tmp_path / name, keep="metadata")
        assert picture.metadata.icc_profile is None
        assert picture.notes == ("converted from CMYK to RGB, without a usable profile: its colours are approximate",)


@pytest.mark.parametrize(
    ("mode", "data", "note"),
    [
        ("RGB", b"no profile", "its colour profile is damaged: ignored"),
        ("RGB", SRGB[:200], "its colour profile"),
        ("RGB", grey_profile(1.0), "is for L, not for RGB: ignored"),
        ("L", profile(1.0), "is for RGB, not for L: ignored"),
    ],
)
def test_profiles_that_do_not_work_are_noted_and_ignored(mode: str, data: bytes, note: str) -> None:
    image = SMOOTH.convert(mode)
    for keep in ("nothing", "meaning", "metadata"):
        picture = read_picture(saved(image, data), keep=keep)
        assert note in picture.notes[0]
        assert not picture.metadata
        assert np.array_equal(picture.pixels, np.asarray(image))


def test_grey_with_a_profile_of_srgb_needs_no_word() -> None:
    picture = read_picture(saved(SMOOTH.convert("L"), SRGB), keep="metadata")
    assert (picture.mode, picture.notes, picture.metadata.icc_profile) == ("L", (), None)


@given(st.binary(max_size=200), st.integers(0, len(SRGB)))
def test_damaged_profiles_never_raise(noise: bytes, place: int) -> None:
    for data in (noise, SRGB[:place] + noise + SRGB[place + len(noise) :]):
        image = SMOOTH.copy()
        image.info["icc_profile"] = data
        assert read_picture(image).pixels.shape == (9, 14, 3)


def test_names_of_profiles_do_not_reach_a_terminal_raw() -> None:
    linear = profile(1.0)
    at = linear.index("sRGB".encode("utf-16-be"))
    hostile = linear[:at] + "\x1b[2J".encode("utf-16-be") + linear[at + 8 :]
    (note,) = read_picture(saved(SMOOTH, hostile)).notes
    assert note.isprintable()


# ------------------------------------------------------------------------------------- any file

FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P"),
    "TGA": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "PCX": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
}
DEPTHS = {"1": (), "L": (), "P": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "RGBX": (4,)}


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, str]:
    """A file of any format and mode, and its name."""
    format = draw(st.sampled_from(sorted(FORMATS)))
    mode = draw(st.sampled_from(FORMATS[format]))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    pixels: NDArray[np.uint8] = draw(arrays(np.uint8, (*size, *DEPTHS[mode])))
    image = Image.fromarray(pixels > 127) if mode == "1" else Image.fromarray(pixels, "L" if mode == "P" else mode)
    if mode == "P":
        image.putpalette(draw(st.binary(min_size=768, max_size=768)))
    file = io.BytesIO()
    image.save(file, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    return file.getvalue(), f"{format} {mode}"


@given(files())
def test_any_file_is_read_as_pillow_shows_it(drawn: tuple[bytes, str]) -> None:
    data, _ = drawn
    picture: Picture = read_picture(io.BytesIO(data))
    with Image.open(io.BytesIO(data)) as image:
        assert picture.notes == ()
        assert (picture.width, picture.height) == image.size
        assert np.array_equal(np.asarray(picture_to_pil(picture).convert("RGBA")), np.asarray(image.convert("RGBA")))
        assert image.mode in ("P", "1", "RGBX") or picture.mode == image.mode
