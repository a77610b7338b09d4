"""Stored pictures: exact in every mode, never longer than the WebP file, and nothing hostile gets through."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcodec.errors import CorruptStreamError, ImageError
from diffcodec.images import Picture, picture_to_pil
from diffcodec.lossless import stored
from diffcodec.lossless.stored import StoredKind, restore, store
from tests.conftest import assert_same_picture


def webp_file(picture: Picture) -> bytes:
    file = io.BytesIO()
    picture_to_pil(picture).save(file, "WEBP", lossless=True, exact=True, quality=100, method=6)
    return file.getvalue()


@st.composite
def pictures(draw: st.DrawFn, max_side: int = 9) -> Picture:
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    colours = draw(st.sampled_from([1, 2, 256]))
    shape = (height, width, 3) if draw(st.booleans()) else (height, width)
    palette = rng.integers(0, 256, colours).astype(np.uint8)
    alpha = {
        "none": None,
        "opaque": np.full((height, width), 255, np.uint8),
        "clear": np.zeros((height, width), np.uint8),
        "binary": rng.choice([0, 255], (height, width)).astype(np.uint8),
        "any": rng.integers(0, 256, (height, width)).astype(np.uint8),
    }[draw(st.sampled_from(["none", "opaque", "clear", "binary", "any"]))]
    return Picture(palette[rng.integers(0, colours, shape)], alpha)


@settings(max_examples=60)
@given(pictures())
def test_every_picture_comes_back_and_is_no_longer_than_its_webp_file(picture: Picture) -> None:
    kind, body = store(picture)
    # 20 bytes of container are left out, and what pads it.
    assert len(body) <= len(webp_file(picture)) - 20
    assert_same_picture(restore(kind, body, picture.width, picture.height, picture.mode), picture)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (23, 1), (31, 33)])
def test_both_kinds_hold_every_mode(mode: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One kind at a time: WebP on its own, and PNG where a side is too long for WebP."""
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 256, (height, width, 3) if mode.startswith("RGB") else (height, width)).astype(np.uint8)
    alpha = rng.integers(0, 3, (height, width)).astype(np.uint8) * 127 if mode.endswith("A") else None
    picture = Picture(pixels, alpha)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "MAX_WEBP_SIDE", 0)
        kind, body = store(picture)
        assert (kind, body[:4]) == (StoredKind.PNG, b"\x89PNG")
        assert_same_picture(restore(kind, body, width, height, mode), picture)
    content = webp_file(picture)
    body = content[20 : 20 + int.from_bytes(content[16:20], "little")]
    assert_same_picture(restore(StoredKind.WEBP, body, width, height, mode), picture)


def test_what_pillow_would_not_open_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(np.zeros((10, 10, 3), np.uint8))
    monkeypatch.setattr(stored, "MAX_STORED_PIXELS", 99)
    with pytest.raises(ImageError, match="t = 0: expected at most 99 pixels, found 10 x 10"):
        store(picture)


def test_colours_under_full_transparency_survive() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    for colours in (pixels, pixels[..., 0]):
        picture = Picture(colours, np.zeros((12, 12), np.uint8))
        kind, body = store(picture)
        assert_same_picture(restore(kind, body, 12, 12, picture.mode), picture)


@pytest.mark.parametrize(("height", "width"), [(1, 16384), (16384, 1), (1, 40_000)])
def test_sides_beyond_webp_are_stored_as_png(height: int, width: int) -> None:
    picture = Picture((np.arange(height * width) // 7 % 256).astype(np.uint8).reshape(height, width), None)
    kind, body = store(picture)
    assert kind is StoredKind.PNG
    assert_same_picture(restore(kind, body, width, height, "L"), picture)


def test_longest_side_of_webp() -> None:
    picture = Picture(np.zeros((1, 16383, 3), np.uint8), None)
    kind, body = store(picture)
    assert kind is StoredKind.WEBP
    assert_same_picture(restore(kind, body, 16383, 1, "RGB"), picture)


def test_odd_and_even_bodies_both_occur() -> None:
    """An odd body is padded in a WebP file; the padding is not stored."""
    bodies = [store(Picture(np.full((1, width), 7 * width, np.uint8), None)) for width in range(1, 30)]
    assert {kind for kind, _ in bodies} == {StoredKind.WEBP}
    assert {len(body) % 2 for _, body in bodies} == {0, 1}


NOISE = Picture(np.random.default_rng(3).integers(0, 256, (6, 7, 3)).astype(np.uint8), None)


def bodies(picture: Picture) -> list[tuple[StoredKind, bytes]]:
    content, png = webp_file(picture), io.BytesIO()
    picture_to_pil(picture).save(png, "PNG")
    return [
        (StoredKind.WEBP, content[20 : 20 + int.from_bytes(content[16:20], "little")]),
        (StoredKind.PNG, png.getvalue()),
    ]


@pytest.mark.parametrize(("kind", "body"), bodies(NOISE))
def test_another_size_or_mode_is_corrupt(kind: StoredKind, body: bytes) -> None:
    assert_same_picture(restore(kind, body, 7, 6, "RGB"), NOISE)
    for width, height in ((6, 7), (7, 5), (8, 6), (42, 1), (1 << 14, 1 << 14)):
        with pytest.raises(CorruptStreamError, match="stored picture"):
            restore(kind, body, width, height, "RGB")
    transparent = Picture(NOISE.pixels, NOISE.pixels[..., 0].copy())
    for other, data in bodies(transparent):
        for mode in ("RGB", "L"):
            with pytest.raises(CorruptStreamError, match=r"size or mode differs|is in colour"):
                restore(other, data, 7, 6, mode)
    for data in (bodies(Picture(NOISE.pixels[..., 0].copy(), None))[1][1],):
        for mode in ("RGB", "RGBA"):
            with pytest.raises(CorruptStreamError, match="size or mode differs"):
                restore(StoredKind.PNG, data, 7, 6, mode)


@pytest.mark.parametrize(("kind", "body"), bodies(NOISE))
def test_every_cut_of_a_body_is_corrupt(kind: StoredKind, body: bytes) -> None:
    # The last bytes of a PNG file say that it ends, and Pillow does not need them.
    for end in range(len(body) - (20 if kind is StoredKind.PNG else 1)):
        with pytest.raises(CorruptStreamError, match="stored picture"):
            restore(kind, body[:end], 7, 6, "RGB")


@settings(max_examples=100)
@given(st.sampled_from(bodies(NOISE)), st.data())
def test_damaged_bodies_give_a_picture_of_the_right_size_or_are_corrupt(
    body: tuple[StoredKind, bytes], data: st.DataObject
) -> None:
    """Checksums are the container's business; whatever comes here must not do anything else."""
    kind, content = body
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = restore(kind, bytes(damaged), 7, 6, "RGB")
    except CorruptStreamError:
        return
    assert (found.width, found.height, found.mode) == (7, 6, "RGB")


@settings(max_examples=60)
@given(st.sampled_from(list(StoredKind)), st.binary(max_size=50))
def test_garbage_is_corrupt(kind: StoredKind, body: bytes) -> None:
    with pytest.raises(CorruptStreamError, match="stored picture"):
        restore(kind, body, 7, 6, "RGB")


def png_file(width: int, height: int, raw: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(raw, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(
    "body",
    [
        png_file(60_000, 60_000, b"\0" * 100),
        png_file(8, 9, b"\0" * 900),
        png_file(9, 9, b"\0" * 55 * 9, depth=16),
        png_file(9, 9, b"\0" * 10 * 9, colour=3, extra=chunk(b"PLTE", b"abc")),
        png_file(9, 9, b"\0" * 100),
        png_file(9, 9, b"\0" * 28 * 9, extra=chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 10_000_000, 9))),
        png_file(9, 9, b"\0" * 28 * 9, extra=chunk(b"tRNS", b"\0" * 6)),
    ],
    ids=["huge", "other-size", "deep", "palette", "short", "text-bomb", "transparent-colour"],
)
def test_hostile_png_files_are_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptStreamError, match="stored picture"):
        restore(StoredKind.PNG, body, 9, 9, "RGB")


@pytest.mark.parametrize(("width", "height"), [(16384, 16384), (13000, 13000), (10, 9)])
def test_webp_bodies_that_claim_another_size_are_corrupt(width: int, height: int) -> None:
    genuine = bodies(Picture(np.zeros((9, 9, 3), np.uint8), None))[0][1]
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + genuine[5:]
    with pytest.raises(CorruptStreamError, match="stored picture"):
        restore(StoredKind.WEBP, body, 9, 9, "RGB")


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PPM", "JPEG", "WEBP", "TGA", "QOI", "ICO"])
def test_kind_png_means_png(format: str) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE.pixels).save(file, format)
    with pytest.raises(CorruptStreamError):
        restore(StoredKind.PNG, file.getvalue(), 7, 6, "RGB")


@pytest.mark.parametrize(("kind", "body"), bodies(NOISE))
def test_a_colour_picture_is_not_a_grey_one(kind: StoredKind, body: bytes) -> None:
    with pytest.raises(CorruptStreamError):
        restore(kind, body, 7, 6, "L")
