"""The command line with pictures of other modes, several frames, colour profiles and EXIF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import ExifTags, Image

from tests.commands import run, succeeds
from tests.conftest import smooth_pixels
from tests.images.profiles import LINEAR

PIXELS = smooth_pixels(11, 14)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A photo lying on its side, with a profile, a maker and a place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "a maker"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    path = tmp_path / "tagged.png"
    Image.fromarray(PIXELS).save(path, exif=exif, icc_profile=LINEAR)
    return path


def restored(picture: Path, model: Path, out: Path, *options: str) -> tuple[Result, Result]:
    """There and back."""
    made = out.with_suffix(".dfc")
    compressed = succeeds(run("compress", picture, "--model", model, "-o", made, *options))
    return compressed, succeeds(run("decompress", made, "--model", model, "-o", out))


def test_metadata_is_dropped_unless_asked_for(tagged: Path, tiny_model: Path, tmp_path: Path) -> None:
    compressed, _ = restored(tagged, tiny_model, tmp_path / "a.png", "-t", "100")
    assert "tagged.png: colours converted from" in compressed.stderr
    assert compressed.stderr.startswith("Note: ")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (11, 14)
        assert not image.getexif()
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tiff", "avif"])
def test_metadata_is_kept_if_asked_for(extension: str, tagged: Path, tiny_model: Path, tmp_path: Path) -> None:
    results = restored(tagged, tiny_model, tmp_path / f"a.{extension}", "-t", "100", "--keep-metadata")
    assert "".join(result.stderr for result in results) == ""
    with Image.open(tmp_path / f"a.{extension}") as image:
        exif = image.getexif()
        assert (image.size, exif[ExifTags.Base.Make]) == ((11, 14), "a maker")
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert image.info["icc_profile"] == LINEAR


def test_metadata_of_which_nothing_is_made_are_named(tiny_model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(picture, xmp=b"<x:xmpmeta/>")
    options = ("-t", "300", "--model", tiny_model, "-o", tmp_path / "a.dfc")
    assert run("compress", picture, *options).stderr == ""
    result = run("compress", picture, *options, "--force", "--keep-metadata")
    assert result.stderr == f"Note: {picture}: its XMP data are not kept\n"


def test_formats_without_room_say_so(tagged: Path, tiny_model: Path, tmp_path: Path) -> None:
    _, back = restored(tagged, tiny_model, tmp_path / "a.bmp", "-t", "100", "--keep-metadata")
    assert "a.bmp: BMP cannot hold a colour profile (colours may look different) and its EXIF block" in back.stderr


def test_lossless_keeps_pixels_and_their_meaning(tagged: Path, tiny_model: Path, tmp_path: Path) -> None:
    compressed, _ = restored(tagged, tiny_model, tmp_path / "a.png", "-t", "0")
    assert compressed.stderr == ""
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), np.rot90(PIXELS, 3))
        assert image.info["icc_profile"] == LINEAR
        assert not image.getexif()


def test_notes_go_into_json_too(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.tiff")
    options = ("-t", "300", "--model", tiny_model, "-o")
    result = run("compress", tmp_path / "a.tiff", *options, tmp_path / "a.dfc", "--json")
    note = "converted from CMYK to RGB, without a usable profile: its colours are approximate"
    assert json.loads(result.stdout)["notes"] == [note]
    assert result.stderr == f"Note: {tmp_path / 'a.tiff'}: {note}\n"
    assert run("compress", tmp_path / "a.tiff", *options, tmp_path / "b.dfc", "--quiet").output == ""


def test_of_an_animation_the_first_frame(tiny_model: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    options = ("-t", "0", "--model", tiny_model, "-o", tmp_path / "a.dfc")
    result = run("compress", tmp_path / "a.png", *options)
    assert result.exit_code == 1
    assert "a.png: expected a still picture, found 2 frames: use only the first (--first-frame)" in result.stderr
    assert run("compress", tmp_path / "a.png", *options, "--first-frame").exit_code == 0
    assert run("decompress", tmp_path / "a.dfc", "--model", tiny_model, "-o", tmp_path / "b.png").exit_code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), PIXELS)
