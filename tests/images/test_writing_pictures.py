"""Writing pictures to files, with what they carry besides pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from diffcodec.errors import ConfigError, ImageError
from diffcodec.images import Picture, metadata_left_out, read_picture, write_picture
from diffcodec.images.metadata import Metadata
from tests.conftest import assert_same_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY, ALPHA = (RNG.integers(0, 256, (5, 7), dtype=np.uint8) for _ in range(2))
PICTURES = [Picture(RGB), Picture(GREY), Picture(RGB, ALPHA), Picture(GREY, ALPHA)]

EXIF = Image.Exif()
EXIF[ExifTags.Base.Make], EXIF[ExifTags.Base.ImageWidth] = "a maker", 4000  # some cameras note the width
EXIF.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
METADATA = Metadata(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), EXIF.tobytes())


@pytest.mark.parametrize("extension", ["png", "PNG", "tif", "tiff", "webp", "bmp", "ppm", "pgm", "jpg", "jpeg", "avif"])
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.mode)
def test_files_hold_the_picture_or_say_that_they_cannot(picture: Picture, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    lost_alpha = picture.alpha is not None and extension in ("bmp", "ppm", "pgm", "jpg", "jpeg")
    if lost_alpha or (extension in ("webp", "avif") and picture.mode in ("L", "LA")):
        with pytest.raises(ImageError, match=f"cannot hold {picture.mode} pictures"):
            write_picture(picture, path)
        assert not path.exists()
        return
    write_picture(picture, str(path))
    again = read_picture(path)
    if extension in ("jpg", "jpeg", "avif"):
        assert again.mode == picture.mode
    else:
        assert_same_picture(again, picture)


def test_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "noextension"
    with path.open("wb") as file:
        write_picture(PICTURES[2], file)
    with path.open("rb") as file:
        assert_same_picture(read_picture(file), PICTURES[2])
    buffer = io.BytesIO()
    write_picture(PICTURES[0], buffer, "PPM")
    assert buffer.getvalue().startswith(b"P6")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gif", r"cannot be written as '\.gif'; use one of"),
        ("a", "its name has no suffix; use one of"),
        ("no/a.png", "does not exist; create it first"),
    ],
)
def test_unwritable_targets(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        write_picture(PICTURES[0], tmp_path / name)
    with pytest.raises(ImageError, match="cannot be written as GIF"):
        write_picture(PICTURES[0], tmp_path / "a.png", "GIF")


@pytest.mark.parametrize("extension", ["png", "tiff", "webp", "jpg", "avif"])
def test_metadata_goes_along_where_it_can(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    write_picture(Picture(RGB, None, METADATA), path)
    found = read_picture(path, keep="metadata").metadata
    assert found.icc_profile == METADATA.icc_profile
    assert found.exif is not None
    with Image.open(path) as image:
        assert np.asarray(image).shape == RGB.shape
        assert image.getexif()[ExifTags.Base.Make] == "a maker"
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo) == {ExifTags.GPS.GPSLatitudeRef: "N"}


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    write_picture(Picture(RGB, None, METADATA), tmp_path / "a.bmp")
    assert np.array_equal(read_picture(tmp_path / "a.bmp").pixels, RGB)
    assert metadata_left_out(METADATA, "PPM") == (
        "PPM cannot hold a colour profile (colours may look different) and its EXIF block"
    )
    assert METADATA.exif is not None
    long = Metadata(None, METADATA.exif + bytes(70_000))
    assert metadata_left_out(long, "JPEG") == "JPEG cannot hold its EXIF block"
    write_picture(Picture(RGB, None, long), tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg", keep="metadata").metadata == Metadata()
    for nothing in (metadata_left_out(METADATA, "JPEG"), metadata_left_out(Metadata(), "BMP")):
        assert nothing == ""


def test_only_pictures_are_written(tmp_path: Path) -> None:
    for wrong, found in (("a.png", "a str"), (RGB, "an ndarray")):
        with pytest.raises(ConfigError, match=f"^expected a Picture, as read_picture returns, found {found}$"):
            write_picture(wrong, tmp_path / "b.png")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
