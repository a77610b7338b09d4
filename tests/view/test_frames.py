"""Which pictures a page holds, how, and their figures."""

from __future__ import annotations

import base64
import dataclasses
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.errors import ImageError
from diffcodec.images import Picture, picture_to_pil
from diffcodec.lossless.stored import MAX_WEBP_SIDE
from diffcodec.view import frames
from diffcodec.view.frames import Inlining, collect_views
from tests.conftest import smooth_pixels


def decoded(source: str) -> Image.Image:
    head, _, body = source.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == f"data:image/{image.format.lower()};base64"  # type: ignore[union-attr]
    return image


def test_frames_are_the_steps(codec: DiffusionCodec, viewed: Picture, viewed_stream: Bitstream) -> None:
    info = read_header(viewed_stream.data)
    reported: list[tuple[int, int]] = []
    views = collect_views(
        codec.progressive(viewed_stream), info, viewed, lambda done, steps: reported.append((done, steps))
    )
    assert reported == [(step, 8) for step in range(1, 9)]
    assert [frame.step for frame in views.frames] == list(range(1, 9))
    assert views.original is not None
    assert np.array_equal(np.asarray(decoded(views.original)), viewed.pixels)
    for frame, restored in zip(views.frames, codec.progressive(viewed_stream), strict=True):
        assert np.array_equal(np.asarray(decoded(frame.source)), restored.pixels)
        assert frame.timestep == restored.timestep
    assert views.frames[-1].psnr_db == pytest.approx(viewed_stream.report.psnr_db, abs=1e-3)


def test_bytes_of_a_frame_are_those_of_a_file_that_ends_there(codec: DiffusionCodec, viewed: Picture) -> None:
    """The first steps of two files are the same, whatever follows."""
    alpha = np.full((24, 40), 77, np.uint8)
    picture = Picture(viewed.pixels, alpha)
    fine, coarse = (codec.compress(picture, timestep=timestep) for timestep in (4, 200))
    views = collect_views(codec.progressive(fine), read_header(fine.data), None)
    assert views.frames[-1].file_bytes == len(fine.data)
    (frame,) = (frame for frame in views.frames if frame.timestep == 200)
    assert frame.file_bytes == pytest.approx(len(coarse.data), abs=5)
    assert frame.psnr_db is None


def test_bytes_of_a_frame_of_a_file_with_blocks(codec: DiffusionCodec) -> None:
    """Short prefixes have no checksums of blocks."""
    noisy = smooth_pixels(48, 64).astype(int) + np.random.default_rng(0).integers(-30, 31, (48, 64, 3))
    stream = codec.compress(Picture(np.clip(noisy, 0, 255).astype(np.uint8)), timestep=2, effort=8)
    info = read_header(stream.data)
    assert info.has_blocks
    views = collect_views(codec.progressive(stream), info, None)
    for frame in views.frames[:-1]:
        shorter = codec.truncate(stream.data, frame.file_bytes + 8)  # with room for its origin
        shortened = read_header(shorter).header.shortened
        assert shortened is not None
        assert shortened.steps == frame.step
        assert frame.file_bytes == pytest.approx(len(shorter), abs=5)


def test_exact_restorations_have_infinite_psnr(codec: DiffusionCodec, viewed: Picture) -> None:
    stream = codec.compress(viewed, timestep=0)
    assert collect_views(codec.progressive(stream), read_header(stream.data), viewed).frames[-1].psnr_db == math.inf


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_mode_goes_into_a_page_without_loss(mode: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 7, 3) if "RGB" in mode else (5, 7)).astype(np.uint8)
    picture = Picture(pixels, rng.integers(0, 256, (5, 7)).astype(np.uint8) if mode.endswith("A") else None)
    source = Inlining(lossless=True, count=1).source(picture)
    assert np.array_equal(
        np.asarray(decoded(source).convert("RGBA")), np.asarray(picture_to_pil(picture).convert("RGBA"))
    )


def test_pictures_too_long_for_webp_are_png() -> None:
    picture = Picture(np.zeros((1, 20_000, 3), np.uint8))
    inlining = Inlining.of(20_000, 1, 8, with_original=True)
    assert decoded(inlining.source(picture)).size == (20_000, 1)
    assert inlining.lossless


@given(st.integers(1, MAX_WEBP_SIDE), st.integers(1, MAX_WEBP_SIDE), st.integers(1, 65), st.booleans())
def test_pages_stay_small(width: int, height: int, steps: int, with_original: bool) -> None:
    inlining = Inlining.of(width, height, steps, with_original=with_original)
    chosen = inlining.steps(steps)
    assert len(chosen) == inlining.count
    assert chosen <= set(range(1, steps + 1))
    assert steps in chosen
    pixels = (len(chosen) + with_original) * width * height
    assert pixels <= frames.LOSSY_PIXELS or len(chosen) <= frames.FEWEST_FRAMES
    if inlining.lossless:
        assert len(chosen) == steps
        assert pixels <= frames.LOSSLESS_PIXELS


def test_of_a_large_picture_some_steps_are_shown(
    codec: DiffusionCodec, viewed: Picture, viewed_stream: Bitstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "LOSSLESS_PIXELS", 4 * 960)
    monkeypatch.setattr(frames, "LOSSY_PIXELS", 6 * 960)
    views = collect_views(codec.progressive(viewed_stream), read_header(viewed_stream.data), viewed)
    assert [frame.step for frame in views.frames] == [2, 3, 5, 6, 8]
    assert not views.inlining.lossless
    restored = {each.step: each.picture for each in codec.progressive(viewed_stream)}
    for frame in views.frames:
        assert frame.source == frames.data_uri(restored[frame.step], "WEBP", quality=95)
    cut = viewed_stream.data[: len(viewed_stream.data) // 2]
    views = collect_views(codec.progressive(cut, partial=True), read_header(cut), viewed)
    assert views.frames[-1].step == codec.decompress(cut, partial=True).step
    assert not views.verified


def test_colour_profiles_go_along() -> None:
    from PIL import ImageCms

    from diffcodec.images.metadata import Metadata

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = dataclasses.replace(Picture(smooth_pixels(8, 8)), metadata=Metadata(icc_profile=profile))
    for lossless in (True, False):
        assert decoded(Inlining(lossless, 1).source(picture)).info["icc_profile"] == profile


@pytest.mark.parametrize("shape", [(40, 24, 3), (24, 40), (24, 41, 3)])
def test_another_picture_is_no_original(viewed_stream: Bitstream, shape: tuple[int, ...]) -> None:
    other = Picture(np.zeros(shape, np.uint8))
    with pytest.raises(
        ImageError, match=r"other\.png: expected 40 x 24 RGB, .* of a\.dfc, found .*: pass the original"
    ):
        frames.check_original(other, read_header(viewed_stream.data), name="a.dfc", original_name="other.png")
