"""What of an EXIF block is kept."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from diffcodec.images import read_picture
from diffcodec.images.exif import MARKER, of_upright_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
THUMBNAIL = bytes(range(1, 200))


def block(order: str) -> bytes:
    """Orientation 6 and a maker's name; then a directory with a thumbnail, as cameras write it."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = struct.pack(order + "H", 2)
    first += struct.pack(order + "HHI4s", ExifTags.Base.Make, 2, 4, b"abc\0")
    first += struct.pack(order + "HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    second_place = 8 + len(first) + 4
    second = struct.pack(order + "H", 2)
    second += struct.pack(order + "HHII", ExifTags.Base.JpegIFOffset, 4, 1, second_place + 30)
    second += struct.pack(order + "HHII", ExifTags.Base.JpegIFByteCount, 4, 1, len(THUMBNAIL)) + bytes(4)
    return MARKER + head + first + struct.pack(order + "I", second_place) + second + THUMBNAIL + b"maker's note"


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_and_thumbnail_go_and_nothing_moves(order: str) -> None:
    before, after = block(order), of_upright_picture(block(order))
    assert len(after) == len(before)
    assert after.endswith(bytes(len(THUMBNAIL)) + b"maker's note")
    exif = Image.Exif()
    exif.load(after)
    assert dict(exif) == {ExifTags.Base.Make: "abc", ExifTags.Base.Orientation: 1}
    assert not exif.get_ifd(ExifTags.IFD.IFD1)
    assert of_upright_picture(after) == after
    assert of_upright_picture(before.removeprefix(MARKER)) == after


def test_only_what_is_certainly_a_thumbnail_is_overwritten() -> None:
    """A length without a place, and strips of which there are two, name no bytes of the block."""
    for entries in (
        struct.pack("<HHII", ExifTags.Base.JpegIFByteCount, 4, 1, 4000),
        struct.pack("<HHIIHHII", ExifTags.Base.StripOffsets, 4, 2, 20, ExifTags.Base.StripByteCounts, 4, 2, 4000),
        struct.pack("<HHIIHHII", ExifTags.Base.StripOffsets, 4, 1, 0, ExifTags.Base.StripByteCounts, 4, 1, 40),
    ):
        first = struct.pack("<HHHI4s", 1, ExifTags.Base.Make, 2, 4, b"abc\0")
        second = struct.pack("<H", len(entries) // 12) + entries + bytes(4)
        before = b"II*\0\x08\0\0\0" + first + struct.pack("<I", 26) + second + b"maker's note"
        after = of_upright_picture(before).removeprefix(MARKER)
        assert after == before[:22] + bytes(4) + before[26:]


def test_short_integers_are_read_in_the_order_of_bytes() -> None:
    for order in "<>":
        before = block(order)
        place = before.index(struct.pack(order + "HHII", ExifTags.Base.JpegIFByteCount, 4, 1, len(THUMBNAIL)))
        short = struct.pack(order + "HHIHH", ExifTags.Base.JpegIFByteCount, 3, 1, len(THUMBNAIL), 77)
        after = of_upright_picture(before[:place] + short + before[place + 12 :])
        assert after.endswith(bytes(len(THUMBNAIL)) + b"maker's note")


@given(st.binary(max_size=60), st.integers(0, 200))
def test_damaged_blocks_raise_ours(noise: bytes, cut: int) -> None:
    for data in (noise, b"II*\0\x08\0\0\0" + noise, block("<")[:cut], block(">")[:cut] + noise):
        try:
            kept = of_upright_picture(data)
        except ValueError:
            continue
        assert len(kept.removeprefix(MARKER)) == len(data.removeprefix(MARKER))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tiff", "avif"])
def test_exif_is_kept_if_asked_for_from_any_format(extension: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "a maker", 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.25
    path = tmp_path / f"a.{extension}"
    Image.fromarray(PIXELS).save(path, exif=exif.tobytes())

    assert read_picture(path).metadata.exif is None
    assert read_picture(path, keep="meaning").metadata.exif is None
    picture = read_picture(path, keep="metadata")
    assert (picture.width, picture.height) == (5, 7)  # turned
    assert picture.metadata.exif is not None
    assert picture.metadata.exif.startswith(MARKER)
    kept = Image.Exif()
    kept.load(picture.metadata.exif)
    assert kept[ExifTags.Base.Make] == "a maker"
    assert kept.get(ExifTags.Base.Orientation, 1) == 1
    assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.25
    assert ExifTags.Base.ImageWidth not in kept
