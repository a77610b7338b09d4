"""A tiny calibrated model, and pictures for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from diffcodec.calibration.calibrate import calibrate
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint, half_weights
from diffcodec.model.levels import LevelList
from diffcodec.model.model_file import ModelCard

# Shared machines are slow at times, so no test has a deadline. Every run draws other examples.
settings.register_profile("fast", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Commands that run in the test's process may set the number of threads: the next test has its own again."""
    threads = torch.get_num_threads()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def smooth_pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with gradients, an edge and a little noise, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    phase = rng.uniform(0, 6, (1, 1, 3))
    waves = np.sin(rows[..., None] / 5 + phase) + np.cos(columns[..., None] / 7 - phase)
    edge = 60.0 * (columns > width // 2)[..., None]
    levels = 110 + 35 * waves + edge + rng.normal(0, 3, (height, width, 3))
    pixels: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)
    return pixels


def make_tiny_checkpoint(seed: int = 0) -> Checkpoint:
    """A network of some 100,000 random weights that does nearly what the best linear denoiser does."""
    config = ModelConfig(
        network=UNetConfig(
            channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
        ),
        prediction="v",
        data_std=0.5,
    )
    torch.manual_seed(seed)
    denoiser = Denoiser(config)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    return Checkpoint(config, ModelCard(f"tiny-v{seed}"), half_weights(dict(denoiser.named_parameters())))


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    pictures = np.stack([smooth_pixels(16, 16, seed) for seed in range(8)]).transpose(0, 3, 1, 2)
    images = torch.from_numpy(np.ascontiguousarray(pictures))
    calibrated = calibrate(make_tiny_checkpoint(), images, points=24, length_pictures=2)
    assert calibrated.tables is not None
    # Lists planned for so simple a model would be too short to test anything.
    lists = tuple(
        LevelList(0, tuple(calibrated.tables.level(t) for t in timesteps), ())
        for timesteps in ((800, 500, 300, 200, 100, 40, 20, 10, 4, 2, 1), (300, 40, 4, 1))
    )
    return calibrated.with_tables(replace(calibrated.tables, lists=lists, default_steps=len(lists[0].levels)))


@pytest.fixture(scope="session")
def codec(tiny_checkpoint: Checkpoint) -> DiffusionCodec:
    return DiffusionCodec(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiled_codec(tiny_checkpoint: Checkpoint) -> DiffusionCodec:
    """The tiny model as one of photographs: tiles of 32 x 32, noisy levels halved, weak bands unsent."""
    tables = tiny_checkpoint.tables
    assert tables is not None
    assert tables.variances is not None
    halved = replace(tiny_checkpoint, config=replace(tiny_checkpoint.config, half_resolution_below=-1.0))
    variances = replace(tables.variances, unsent_share=26)
    return DiffusionCodec(halved.with_tables(replace(tables, tile_side=32, variances=variances)))


@pytest.fixture(scope="session")
def picture() -> Picture:
    return Picture(smooth_pixels(12, 10), None)


@pytest.fixture(scope="session")
def shared_tiny_model(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a file that all tests read."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    path.write_bytes(tiny_checkpoint.to_bytes())
    return path


@pytest.fixture
def tiny_model(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """The tiny model as a file."""
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(tiny_checkpoint.to_bytes())
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture file, 14 x 11 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(smooth_pixels(11, 14)).save(path)
    return path


def save_pictures(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> Path:
    """A new folder with a picture for each name, of a height and width; returns the folder."""
    folder.mkdir()
    for seed, (name, size) in enumerate(sizes.items()):
        Image.fromarray(smooth_pixels(*size, seed)).save(folder / name)
    return folder


def assert_same_picture(found: Picture, expected: Picture) -> None:
    """Of the same mode, and equal to the last bit."""
    assert found.mode == expected.mode
    assert np.array_equal(found.pixels, expected.pixels)
    if expected.alpha is not None:
        assert found.alpha is not None
        assert np.array_equal(found.alpha, expected.alpha)


def largest_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """In grey levels."""
    return int(np.abs(a.astype(int) - b).max())


def with_one_byte_changed(data: bytes) -> Iterator[bytes]:
    """The data with its lowest bit, its highest bit, or all bits of one byte flipped, byte by byte."""
    for position in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            yield bytes(damaged)
