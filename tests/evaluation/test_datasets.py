"""Data sets by name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.datasets import Dataset, load_dataset, open_dataset, same_size_batches
from diffcodec.images import Picture
from tests.conftest import smooth_pixels


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two rows of three tiles, the k-th filled with the value k."""
    tiles = np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 1, 3, 1, 1), 3, axis=4)
    pixels = np.broadcast_to(tiles, (2, 32, 3, 32, 3)).reshape(64, 96, 3)
    path = tmp_path / "tiles.webp"
    Image.fromarray(pixels).save(path, lossless=True)
    return path


def test_grid_is_cut_in_row_order(grid: Path) -> None:
    dataset = load_dataset(str(grid))
    assert dataset.name == "tiles"
    assert [int(picture.pixels[0, 0, 0]) for picture in dataset.pictures] == list(range(6))
    assert all(picture.pixels.shape == (32, 32, 3) for picture in dataset.pictures)


def test_bundled_sample_holds_one_hundred_images() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "data" / "cifar10-test-100.webp"
    dataset = load_dataset(str(path))
    assert (dataset.name, len(dataset.pictures)) == ("cifar10-test-100", 100)


def test_limit_takes_the_first_and_says_so(grid: Path) -> None:
    dataset = load_dataset(str(grid), limit=2)
    assert dataset.name == "tiles-first-2"
    assert len(dataset.pictures) == 2
    assert load_dataset(str(grid), limit=6).name == load_dataset(str(grid), limit=99).name == "tiles"
    with pytest.raises(ConfigError, match="at least 1"):
        load_dataset(str(grid), limit=0)


def test_digest_changes_with_a_pixel_and_with_the_shape() -> None:
    def digest(pixels: np.ndarray) -> str:
        return Dataset("x", (Picture(pixels),)).digest

    pixels = smooth_pixels(4, 6)
    other = pixels.copy()
    other[3, 2, 1] ^= 1
    assert digest(pixels) == digest(pixels.copy())
    assert len({digest(pixels), digest(other), digest(pixels.reshape(6, 4, 3))}) == 3


def test_folder_takes_any_size_and_leaves_alpha_out(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(smooth_pixels(5, 7)).save(folder / "a.png")
    Image.fromarray(smooth_pixels(9, 4)).convert("RGBA").save(folder / "b.png")
    Image.fromarray(smooth_pixels(6, 6)).convert("L").save(folder / "deep" / "c.png")
    (folder / "notes.txt").write_text("not a picture")
    dataset = load_dataset(str(folder))
    assert dataset.name == "photos"
    assert [(p.width, p.height, p.mode) for p in dataset.pictures] == [(7, 5, "RGB"), (4, 9, "RGB"), (6, 6, "L")]
    assert "alpha planes of 1 " in dataset.notes[0]


def test_opened_folder_is_read_when_it_is_gone_through(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("b", 1), ("a", 0), ("c", 2)):
        Image.fromarray(smooth_pixels(5, 7, seed)).save(folder / f"{name}.png")
    opened = open_dataset(str(folder))
    assert (opened.name, len(opened)) == ("photos", 3)
    for _ in range(2):
        assert all(np.array_equal(p.pixels, smooth_pixels(5, 7, seed)) for seed, p in enumerate(opened))
    few = open_dataset(str(folder), limit=2)
    assert (few.name, len(few), len(list(few))) == ("photos-first-2", 2, 2)
    assert len({opened.digest, few.digest, open_dataset(str(folder)).digest}) == 2
    (folder / "c.png").write_bytes(b"no picture")
    changed = open_dataset(str(folder))  # nothing is read yet
    assert changed.digest != opened.digest
    with pytest.raises(ImageError, match=r"c\.png"):
        list(changed)


def test_opened_grid_is_the_loaded_one(grid: Path) -> None:
    loaded, opened = load_dataset(str(grid), limit=4), open_dataset(str(grid), limit=4)
    assert (opened.name, opened.digest, len(opened)) == (loaded.name, loaded.digest, 4)
    assert all(np.array_equal(p.pixels, q.pixels) for p, q in zip(opened, loaded, strict=True))
    with pytest.raises(ConfigError, match="at least 1"):
        open_dataset(str(grid), limit=0)


def test_errors_say_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_dataset(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="expected pictures below this folder"):
        load_dataset(str(tmp_path))
    Image.fromarray(smooth_pixels(33, 64)).save(tmp_path / "odd.png")
    with pytest.raises(ConfigError, match="grid of 32 x 32 tiles, found 64 x 33"):
        load_dataset(str(tmp_path / "odd.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bad\.png"):
        load_dataset(str(tmp_path))


def test_batches_have_one_size_and_mode_and_are_bounded() -> None:
    small, wide = smooth_pixels(4, 4), smooth_pixels(4, 8)
    pictures = [Picture(p) for p in (small, wide, small, small[..., 0].copy(), small, wide, wide)]
    assert same_size_batches(pictures, size=2, max_pixels=1000) == [[0, 2], [4], [1, 5], [6], [3]]
    assert same_size_batches(pictures, size=9, max_pixels=48) == [[0, 2, 4], [1], [5], [6], [3]]
    assert same_size_batches(pictures, size=9, max_pixels=1) == [[0], [2], [4], [1], [5], [6], [3]]


class FakeTorchvision:
    """Stands in for torchvision's CIFAR10: remembers what it was asked, and has no network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        datasets = ModuleType("torchvision.datasets")
        datasets.CIFAR10 = self.load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)

    def load(self, root: str, **options: Any) -> SimpleNamespace:
        self.asked.append({"root": root, **options})
        if not (Path(root) / "cifar-10-batches-py").exists():
            raise RuntimeError("no network")
        return SimpleNamespace(data=np.zeros((10_000, 32, 32, 3), np.uint8))


def test_cifar10_finds_a_copy_anywhere_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = FakeTorchvision(monkeypatch)
    copy = tmp_path / "somewhere" / "deep" / "cifar-10-batches-py"
    copy.mkdir(parents=True)
    for root in (tmp_path, copy.parent, copy):
        dataset = load_dataset("cifar10", root=str(root), limit=3)
        assert (dataset.name, len(dataset.pictures)) == ("cifar10-test-first-3", 3)
    assert load_dataset("cifar10", root=str(tmp_path)).name == "cifar10-test"
    assert torchvision.asked == [{"root": str(copy.parent), "train": False, "download": True}] * 4
    train = open_dataset("cifar10-train", root=str(tmp_path), limit=2)
    assert (train.name, len(train)) == ("cifar10-train-first-2", 2)
    assert torchvision.asked[-1] == {"root": str(copy.parent), "train": True, "download": True}


def test_cifar10_without_a_copy_or_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTorchvision(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"cannot be downloaded.*name a folder that holds cifar-10-batches-py"
    ) as error:
        load_dataset("cifar10", root=str(tmp_path / "nothing"))
    assert error.value.parameters == ("root", "data")


def test_cifar10_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ConfigError, match="needs torchvision"):
        load_dataset("cifar10")
