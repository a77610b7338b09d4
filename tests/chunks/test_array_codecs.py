"""The codec `dfc` of numcodecs and Zarr, found by its entry points."""

from __future__ import annotations

import json
import pickle
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcodec.chunks.stack import StackCodec
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, ImageError, StreamError
from diffcodec.evaluation.datasets import load_dataset
from tests.conftest import smooth_pixels, with_one_byte_changed

ROOT = Path(__file__).parents[2]
PICTURES = np.stack([smooth_pixels(9, 8, seed) for seed in range(6)])


@pytest.fixture(scope="module")
def model(shared_tiny_model: Path) -> str:
    return str(shared_tiny_model)


@pytest.mark.parametrize("shape", [(6, 9, 8, 3), (2, 3, 9, 8, 3), (1, 9, 8, 3), (9, 8, 3), (0, 9, 8, 3)])
def test_shapes_come_back(model: str, shape: tuple[int, ...], codec: DiffusionCodec) -> None:
    array = PICTURES.ravel()[: int(np.prod(shape))].reshape(shape)
    stack = StackCodec(200, model)
    found = stack.decode(stack.encode(array))
    assert found.shape == shape
    flat = list(array.reshape(-1, 9, 8, 3))
    expected = [codec.decompress(each).pixels for each in codec.compress_batch(flat, timestep=200)] if flat else []
    assert np.array_equal(found.reshape(-1, 9, 8, 3), np.array(expected, np.uint8).reshape(-1, 9, 8, 3))


def test_grey_pictures_and_exact_ones(model: str) -> None:
    grey = PICTURES[..., :1]
    stack = StackCodec(200, model)
    assert stack.decode(stack.encode(grey)).shape == grey.shape
    exact = StackCodec(0, model)
    for array in (grey, PICTURES):
        assert np.array_equal(exact.decode(exact.encode(array)), array)


def test_arrays_without_pictures_are_refused(model: str) -> None:
    stack = StackCodec(200, model)
    wrong: list[NDArray[Any]] = [PICTURES.astype(float), PICTURES[..., :2], PICTURES[0, 0], np.zeros(3, np.uint8)]
    for array in wrong:
        with pytest.raises(ImageError, match="expected an array of uint8"):
            stack.encode(array)
    for options in ({"timestep": -1}, {"timestep": "x"}, {"timestep": None}, {"model": 5}):
        with pytest.raises(ConfigError):
            StackCodec(**options)


def test_damaged_chunks_are_errors(model: str) -> None:
    stack = StackCodec(500, model)
    data = stack.encode(PICTURES[:1])
    for damaged in [*with_one_byte_changed(data), data[:-1], data + b"x", b"", data[:9]]:
        # Whatever gets past the chunk's own structure meets the checksums of the files.
        with pytest.raises(StreamError):
            stack.decode(damaged)


def test_a_pickled_one_holds_its_configuration(model: str) -> None:
    stack = StackCodec(200, model)
    data = stack.encode(PICTURES)
    again = pickle.loads(pickle.dumps(stack))
    assert again == stack
    assert again.encode(PICTURES) == data


@pytest.mark.parametrize("group", ["numcodecs.codecs", "zarr.codecs"])
def test_entry_points_are_installed(group: str) -> None:
    pytest.importorskip(group.split(".")[0])
    found = [point for point in entry_points(group=group) if point.name == "dfc"]
    assert found, "install the package again: pip install -e ."
    assert found[0].load().__module__.startswith("diffcodec.chunks.")


def test_numcodecs_finds_it_by_its_configuration(model: str) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    codec = numcodecs.get_codec({"id": "dfc", "timestep": 200, "model": model})
    data = codec.encode(PICTURES)
    assert numcodecs.get_codec(codec.get_config()) == codec
    found = codec.decode(data)
    assert np.array_equal(found, StackCodec(200, model).decode(data))
    out = np.zeros_like(PICTURES)
    codec.decode(data, out=out)
    assert np.array_equal(out, found)
    assert np.array_equal(pickle.loads(pickle.dumps(codec)).decode(data), found)


@pytest.mark.parametrize("timestep", [0, 300])
def test_zarr_3_arrays_of_cifar_10(tmp_path: Path, timestep: int) -> None:
    zarr = pytest.importorskip("zarr")
    from diffcodec.chunks.for_zarr import DfcCodec

    pictures = load_dataset(str(ROOT / "benchmarks" / "data" / "cifar10-test-100.webp"), limit=6).pictures
    array = np.stack([picture.pixels for picture in pictures])
    chunks = (4, 32, 32, 3)
    path = tmp_path / "pictures.zarr"
    written = zarr.create_array(
        path, shape=array.shape, chunks=chunks, dtype="uint8", serializer=DfcCodec(timestep), compressors=None
    )
    written[:] = array
    metadata = json.loads((path / "zarr.json").read_text())
    assert metadata["codecs"] == [{"name": "dfc", "configuration": {"timestep": timestep, "model": None}}]
    found = zarr.open_array(path, mode="r")[:]
    if timestep == 0:
        assert np.array_equal(found, array)
    else:
        codec = DiffusionCodec.from_pretrained()
        restored = [codec.decompress(each).pixels for each in codec.compress_batch(array[:4], timestep=timestep)]
        assert np.array_equal(found[:4], restored)
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")
    assert stored < array.nbytes


def test_zarr_refuses_arrays_without_pictures(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    from diffcodec.chunks.for_zarr import DfcCodec

    for shape, dtype in (((4, 4), "uint8"), ((4, 8, 8, 3), "float32")):
        with pytest.raises(ImageError, match="expected an array of uint8"):
            zarr.create_array(tmp_path / "a", shape=shape, chunks=shape, dtype=dtype, serializer=DfcCodec())


def test_zarr_shards_hold_pictures_one_by_one(tmp_path: Path, model: str) -> None:
    zarr = pytest.importorskip("zarr")
    from diffcodec.chunks.for_zarr import DfcCodec

    array = zarr.create_array(
        tmp_path / "a",
        shape=PICTURES.shape,
        shards=(3, 9, 8, 3),
        chunks=(1, 9, 8, 3),
        dtype="uint8",
        serializer=DfcCodec(0, model),
        compressors=None,
    )
    array[:] = PICTURES
    assert np.array_equal(zarr.open_array(tmp_path / "a", mode="r")[4], PICTURES[4])


def test_zarr_2_arrays_take_the_codec_of_numcodecs(tmp_path: Path, model: str) -> None:
    zarr, numcodecs = pytest.importorskip("zarr"), pytest.importorskip("numcodecs")
    codec = numcodecs.get_codec({"id": "dfc", "timestep": 0, "model": model})
    array = zarr.create_array(
        tmp_path / "a", shape=PICTURES.shape, chunks=PICTURES.shape, dtype="uint8", zarr_format=2, compressors=codec
    )
    array[:] = PICTURES
    assert np.array_equal(zarr.open_array(tmp_path / "a", mode="r")[:], PICTURES)
