"""The callables for engines: columns in, columns out, and no picture stops the others."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.options import MAX_BATCH, MAX_BATCH_PIXELS
from diffcodec.dataset import CompressBatch, RestoreBatch
from diffcodec.dataset.attempts import alike
from diffcodec.errors import CheckpointError, ConfigError, ImageError, WrongTypeError
from diffcodec.images import read_picture
from tests.conftest import smooth_pixels
from tests.dataset.making import png


@pytest.fixture(scope="module")
def compress(shared_tiny_model: Path) -> CompressBatch:
    return CompressBatch(timestep=200, model=shared_tiny_model)


@pytest.fixture(scope="module")
def restore(shared_tiny_model: Path) -> RestoreBatch:
    return RestoreBatch(model=shared_tiny_model)


def test_files_are_those_of_the_codec(compress: CompressBatch, codec: DiffusionCodec) -> None:
    pictures = [smooth_pixels(9, 8, seed) for seed in range(3)]
    found = compress({"image": pictures, "label": [5, 6, 7]})
    streams = codec.compress_batch(pictures, timestep=200, measure=False)
    assert found["dfc"] == [stream.data for stream in streams]
    assert found["error"] == [""] * 3
    assert found["label"] == [5, 6, 7]
    assert "image" not in found
    assert found["bpp"] == [stream.report.bpp for stream in streams]
    assert found["steps"] == [len(stream.report.steps) for stream in streams]
    assert all(map(math.isnan, found["psnr_db"]))


def test_forms_of_a_picture_make_the_same_file(compress: CompressBatch, tmp_path: Path) -> None:
    data = png(9, 8)
    (tmp_path / "a.png").write_bytes(data)
    pixels = smooth_pixels(9, 8)
    forms: list[Any] = [
        data,
        bytearray(data),
        {"bytes": data, "path": "elsewhere.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"bytes": None, "path": f"file://{tmp_path}/a.png"},
        pixels,
        pixels.tolist(),
        Image.fromarray(pixels),
        torch.from_numpy(pixels).permute(2, 0, 1),
    ]
    files = {compress({"image": [form]})["dfc"][0] for form in forms}
    assert len(files) == 1
    assert files != {b""}


def test_measured_pictures_have_a_psnr(shared_tiny_model: Path) -> None:
    found = CompressBatch(timestep=200, model=shared_tiny_model, measure=True)({"image": [png(9, 8)]})
    assert 5 < found["psnr_db"][0] < 60


def test_a_bad_picture_is_named_and_stops_nothing(compress: CompressBatch) -> None:
    good = [png(9, 8, seed) for seed in range(3)]
    cut = png(9, 8)[:60]
    images: list[Any] = [good[0], cut, good[1], b"", None, "photo.png", good[2], np.zeros((0, 3, 3), np.uint8)]
    images.append({"bytes": None, "path": "/no/such.png"})
    names = ["a.png", "cut.png", "b.png", "empty.png", "none", "text", "c.png", "nothing", "such.png"]
    found = compress({"image": images, "name": names})
    assert [found["dfc"][place] for place in (0, 2, 6)] == compress({"image": good})["dfc"]
    failed = [place for place, error in enumerate(found["error"]) if error]
    assert failed == [1, 3, 4, 5, 7, 8]
    assert all(found["dfc"][place] == b"" for place in failed)
    assert all(names[place] in found["error"][place] for place in (1, 3, 8))


def test_a_failure_of_a_batch_is_that_of_one_picture(
    compress: CompressBatch, codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of memory: the others are compressed one by one."""
    original = DiffusionCodec.compress_batch

    def fails_at(self: DiffusionCodec, pictures: Any, **options: Any) -> Any:
        if any(picture.pixels[0, 0, 0] == 77 for picture in pictures):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory")
        return original(self, pictures, **options)

    pictures = [smooth_pixels(9, 8, seed) for seed in range(3)]
    for pixels in pictures:
        pixels[0, 0] = 10
    pictures[1][0, 0] = 77
    alone = [codec.compress(pictures[k], timestep=200, measure=False).data for k in (0, 2)]
    monkeypatch.setattr(DiffusionCodec, "compress_batch", fails_at)
    found = compress({"image": pictures})
    assert [bool(error) for error in found["error"]] == [False, True, False]
    assert "memory" in found["error"][1]
    assert [found["dfc"][k] for k in (0, 2)] == alone


def test_errors_of_a_device_are_raised(compress: CompressBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: DiffusionCodec, pictures: Any, **options: Any) -> Any:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(DiffusionCodec, "compress_batch", fails)
    assert "the device is lost" in compress({"image": [png(9, 8)]})["error"][0]
    on_device = pickle.loads(pickle.dumps(compress))
    on_device._evaluation["device"] = "cuda"
    with pytest.raises(RuntimeError, match="device is lost"):
        on_device({"image": [png(9, 8)]})


def test_pictures_turned_upright_are_grouped_by_their_size_then(compress: CompressBatch, codec: DiffusionCodec) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth_pixels(9, 8)).save(turned, "PNG", exif=exif)
    images = [png(9, 8, 1), turned.getvalue(), png(9, 8, 2)]
    found = compress({"image": images})
    assert found["error"] == [""] * 3
    assert found["width"] == [8, 9, 8]


def test_threads_are_bounded_and_restored(compress: CompressBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = DiffusionCodec.compress_batch

    def look(self: DiffusionCodec, pictures: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return original(self, pictures, **options)

    monkeypatch.setattr(DiffusionCodec, "compress_batch", look)
    torch.set_num_threads(3)
    compress({"image": [png(9, 8)]})
    assert seen == [1]
    assert torch.get_num_threads() == 3


def test_pickled_ones_hold_options_and_work(compress: CompressBatch, restore: RestoreBatch) -> None:
    images = [png(9, 8), png(7, 8)]
    data = pickle.dumps(compress)
    assert len(data) < 2000
    again = pickle.loads(data)
    files = compress({"image": images})["dfc"]
    assert again({"image": images})["dfc"] == files
    assert pickle.loads(pickle.dumps(restore))({"dfc": files}) == restore({"dfc": files})


def test_files_are_restored_as_files_or_arrays(
    compress: CompressBatch, restore: RestoreBatch, codec: DiffusionCodec, shared_tiny_model: Path
) -> None:
    files = compress({"image": [png(9, 8), png(7, 8), smooth_pixels(9, 8)[:, :, 0]]})["dfc"]
    expected = [codec.decompress(file).pixels for file in files]
    found = restore({"dfc": files, "label": [1, 2, 3]})
    assert found["label"] == [1, 2, 3]
    assert found["error"] == [""] * 3
    assert found["mode"] == ["RGB", "RGB", "L"]
    for data, pixels in zip(found["image"], expected, strict=True):
        assert np.array_equal(read_picture(io.BytesIO(data)).pixels, pixels)
    arrays = RestoreBatch(model=shared_tiny_model, format="array")({"dfc": [*files, b"nothing"]})["image"]
    assert all(np.array_equal(array, pixels) for array, pixels in zip(arrays[:3], expected, strict=True))
    assert arrays[3] is None


def test_a_bad_file_is_named_and_stops_nothing(compress: CompressBatch, restore: RestoreBatch) -> None:
    (good,) = compress({"image": [png(9, 8)]})["dfc"]
    damaged = bytearray(good)
    damaged[-3] ^= 255
    found = restore({"dfc": [good, bytes(damaged), good[:20], None, b""], "name": list("abcde")})
    assert [bool(error) for error in found["error"]] == [False, True, True, True, True]
    assert all(name in error for name, error in zip("bcde", found["error"][1:], strict=True))
    assert found["image"][1:] == [b""] * 4
    assert RestoreBatch()({"dfc": [good]})["error"][0].startswith("row 1 was made with model")


def test_wrong_options_are_refused_at_once(shared_tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="quality and timestep"):
        CompressBatch(quality=50, timestep=3)
    with pytest.raises(ConfigError, match="threads"):
        CompressBatch(threads=0)
    with pytest.raises(CheckpointError):
        CompressBatch(model="no-such-model")
    with pytest.raises(ImageError, match="XYZ"):
        RestoreBatch(format="XYZ")
    with pytest.raises(ConfigError, match="no column 'image', only 'picture'") as caught:
        CompressBatch(model=shared_tiny_model)({"picture": []})
    assert caught.value.parameters == ("image",)
    with pytest.raises(WrongTypeError, match="batch of columns"):
        CompressBatch(model=shared_tiny_model)([])  # type: ignore[arg-type]


def test_empty_batches_have_all_columns(compress: CompressBatch, restore: RestoreBatch) -> None:
    assert compress({"image": []})["dfc"] == []
    assert restore({"dfc": []})["image"] == []


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=60), st.integers(0, 2 * MAX_BATCH_PIXELS))
def test_groups_are_of_one_key_and_bounded(keys: list[str | None], pixels: int) -> None:
    groups = alike(dict(enumerate(keys)), dict.fromkeys(range(len(keys)), pixels))
    assert sorted(place for group in groups for place in group) == list(range(len(keys)))
    for group in groups:
        assert len({keys[place] for place in group}) == 1
        assert group == sorted(group)
        assert len(group) == 1 or (keys[group[0]] is not None and len(group) * pixels <= MAX_BATCH_PIXELS)
        assert len(group) <= MAX_BATCH
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    if pixels * MAX_BATCH <= MAX_BATCH_PIXELS:
        for key in set(keys) - {None}:
            sizes = [len(group) for group in groups if keys[group[0]] == key]
            assert all(size == MAX_BATCH for size in sizes[:-1])
