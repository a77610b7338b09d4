"""Damage of TIFF files that only a message of libtiff tells of."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

from diffcodec.errors import ImageError
from diffcodec.images import read_picture
from diffcodec.images.native_messages import tiff_messages

PAGE = Image.fromarray(np.add.outer(np.arange(200), np.arange(300)) % 7 < 3)


@pytest.fixture
def damaged() -> io.BytesIO:
    file = io.BytesIO()
    PAGE.save(file, "TIFF", compression="group4")
    data = bytearray(file.getvalue())
    data[3000:3004] = b"\xff\x00\xff\x00"
    return io.BytesIO(data)


def test_damaged_fax_pages_are_refused(damaged: io.BytesIO, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match=r"the image is damaged: Fax4Decode: .* at line \d+"):
        read_picture(damaged)
    assert capfd.readouterr().err == ""


def test_they_are_read_if_that_is_asked_for(damaged: io.BytesIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    picture = read_picture(damaged)
    assert picture.pixels.shape == (200, 300)
    assert picture.notes[0].startswith("it is damaged: Fax4Decode: ")


def test_intact_pages_are_read(capfd: pytest.CaptureFixture[str]) -> None:
    for compression in ("group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        file = io.BytesIO()
        PAGE.save(file, "TIFF", compression=compression)
        picture = read_picture(file)
        assert np.array_equal(picture.pixels > 0, np.asarray(PAGE))
        assert picture.notes == ()
    assert capfd.readouterr().err == ""


def test_what_others_write_in_the_meantime_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with tiff_messages() as found:
        os.write(2, b"a message of another thread\n")
        os.write(2, b"TIFFReadDirectory: Warning, Unknown field with tag 9.\n")
        os.write(2, b"LZWDecode: Not enough data \x1b[1m.\n")
        os.write(2, b'MissingRequired: TIFF directory is missing required "StripOffsets" field.\n')
    missing = 'MissingRequired: TIFF directory is missing required "StripOffsets" field'
    print("after", file=sys.stderr)
    assert found == ["LZWDecode: Not enough data [1m", missing]
    assert capfd.readouterr().err == "a message of another thread\nafter\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_process_forked_in_the_meantime_has_its_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with tiff_messages() as found:
        child = os.fork()
        if child == 0:
            os.write(2, b"of the child\n")
            with tiff_messages():
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert found == []
    assert capfd.readouterr().err == "of the child\n"
