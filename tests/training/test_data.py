"""Training images: which pixels are read, in which order, and the errors where there are none."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from diffcodec.diffusion.units import to_unit
from diffcodec.errors import ConfigError, ImageError
from diffcodec.training.data import Batches, load_images


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> str:
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_a_grid_is_read_tile_by_tile_in_row_order(suffix: str, tmp_path: Path) -> None:
    pixels = noise(3 * 8, 5 * 8)
    found = load_images(save(tmp_path / f"grid{suffix}", pixels), size=8)
    assert found.shape == (15, 3, 8, 8)
    assert found.dtype == torch.uint8
    for row in range(3):
        for column in range(5):
            tile = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert np.array_equal(found[5 * row + column].permute(1, 2, 0).numpy(), tile)


def test_an_incomplete_rim_is_left_out(tmp_path: Path) -> None:
    pixels = noise(19, 30)
    found = load_images(save(tmp_path / "a.png", pixels), size=8)
    assert found.shape == (6, 3, 8, 8)
    assert np.array_equal(found[5].permute(1, 2, 0).numpy(), pixels[8:16, 16:24])


def test_a_folder_is_read_in_the_order_of_names_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    save(tmp_path / "c.PNG", noise(8, 8, 3))
    save(tmp_path / "b" / "a.webp", noise(8, 16, 2))
    save(tmp_path / "a.png", noise(8, 8, 1))
    save(tmp_path / "small.png", noise(7, 100, 4))
    (tmp_path / "notes.txt").write_text("not a picture")
    found = load_images(str(tmp_path), size=8).permute(0, 2, 3, 1).numpy()
    wide = noise(8, 16, 2)
    assert np.array_equal(found, np.stack([noise(8, 8, 1), wide[:, :8], wide[:, 8:], noise(8, 8, 3)]))


def test_sources_are_joined_by_commas_in_their_order(tmp_path: Path) -> None:
    first, second = save(tmp_path / "z.png", noise(8, 8, 1)), save(tmp_path / "a.png", noise(8, 8, 2))
    found = load_images(f"{first},{second}", size=8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found, np.stack([noise(8, 8, 1), noise(8, 8, 2)]))


def test_grey_and_palette_pictures_become_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(noise(8, 8)[:, :, 0])
    grey.save(tmp_path / "grey.png")
    grey.convert("P").save(tmp_path / "palette.png")
    found = load_images(str(tmp_path), size=8)
    expected = torch.from_numpy(np.array(grey)).expand(2, 3, 8, 8)
    assert torch.equal(found, expected)


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    pixels, exif = noise(8, 16), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = load_images(str(tmp_path), size=8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found.reshape(16, 8, 3), np.rot90(pixels, -1))


def test_missing_and_empty_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-folder: no such file or folder; pass an existing one, or `cifar10`"):
        load_images("no-such-folder")
    with pytest.raises(ConfigError, match="no picture of at least 32 x 32 pixels found"):
        load_images(str(tmp_path))
    small = save(tmp_path / "small.png", noise(31, 64))
    with pytest.raises(ConfigError, match=r"small\.png: no picture of at least 32 x 32 pixels found"):
        load_images(small)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.png"
    for content in (b"", b"not a picture", (Path(save(path, noise(64, 64)))).read_bytes()[:500]):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"damaged\.png: cannot be read as a picture"):
            load_images(str(tmp_path), size=8)


def use_torchvision(monkeypatch: pytest.MonkeyPatch, data_set: Any) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", data_set)


def test_cifar10_without_torchvision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    use_torchvision(monkeypatch, None)
    with pytest.raises(ConfigError, match=r"cifar10 needs torchvision: pip install 'diffcodec\[train\]'"):
        load_images("cifar10")


@pytest.mark.parametrize("error", [RuntimeError("Dataset not found"), OSError("network is unreachable")])
def test_cifar10_without_a_network_says_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: str, train: bool, download: bool) -> None:
        raise error

    use_torchvision(monkeypatch, SimpleNamespace(CIFAR10=fail))
    with pytest.raises(ConfigError, match=r"CIFAR-10 is not in 'here' .* name the folder of a local copy"):
        load_images("cifar10", root="here")


def test_cifar10_is_torchvision_s_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(2 * 32, 32).reshape(2, 32, 32, 3)
    asked = []

    def data_set(root: str, train: bool, download: bool) -> SimpleNamespace:
        asked.append((root, train))
        return SimpleNamespace(data=data)

    use_torchvision(monkeypatch, SimpleNamespace(CIFAR10=data_set))
    found = load_images("cifar10", root="here")
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), data)
    assert asked == [("here", True)]
    with pytest.raises(ConfigError, match="cifar10: its images are 32 x 32, found size 256: name a folder"):
        load_images("cifar10", size=256)


def test_cifar10_may_be_one_of_several_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, more = noise(32, 32, 1)[None], noise(32, 32, 2)
    use_torchvision(monkeypatch, SimpleNamespace(CIFAR10=lambda root, train, download: SimpleNamespace(data=data)))
    found = load_images(f"{save(tmp_path / 'a.png', more)},cifar10").permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found, np.stack([more, data[0]]))


def test_pixels_are_mapped_onto_minus_one_to_one() -> None:
    values = torch.arange(256).to(torch.uint8)
    unit = to_unit(values)
    assert unit.dtype == torch.float32
    assert (unit[0].item(), unit[255].item()) == (-1, 1)
    assert torch.allclose(unit.diff(), torch.full((255,), 1 / 127.5), atol=1e-6)
    assert torch.equal(((unit + 1) * 127.5).round().to(torch.uint8), values)


# Batches ---------------------------------------------------------------------------------------------------


def numbered(count: int) -> torch.Tensor:
    """Images of one pixel that is the image's number."""
    return torch.arange(count).to(torch.uint8)[:, None, None, None].expand(count, 3, 1, 1)


def numbers(batch: torch.Tensor) -> list[int]:
    return ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.booleans(), st.integers(0, 1 << 30))
def test_an_epoch_has_every_image_once(count: int, batch_size: int, flips: bool, seed: int) -> None:
    batches = Batches(numbered(count), batch_size, flips=flips, seed=seed)
    seen: list[int] = []
    while len(seen) < 3 * count:
        batch = next(batches)
        assert batch.shape == (batch_size, 3, 1, 1)
        seen += numbers(batch)
    assert batches.drawn == len(seen)
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5), st.integers(0, 1 << 30))
def test_batches_go_on_from_where_they_were(count: int, batch_size: int, before: int, seed: int) -> None:
    images = torch.randint(0, 256, (count, 3, 2, 4), dtype=torch.uint8)
    unbroken = Batches(images, batch_size, flips=True, seed=seed)
    for _ in range(before):
        next(unbroken)
    resumed = Batches(images, batch_size, flips=True, seed=seed)
    resumed.drawn = unbroken.drawn
    for _ in range(3):
        assert torch.equal(next(resumed), next(unbroken))


def test_batches_depend_on_images_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int, batch_size: int) -> list[int]:
        batches = Batches(numbered(60), batch_size, flips=True, seed=seed)
        return [number for _ in range((epoch + 1) * 60 // batch_size) for number in numbers(next(batches))][-60:]

    assert order(0, 0, 60) == order(0, 0, 10) != list(range(60))
    assert order(0, 0, 60) != order(1, 0, 60)
    assert order(0, 0, 60) != order(0, 1, 60)


def test_half_of_the_images_are_mirrored_and_only_left_to_right() -> None:
    image = torch.arange(48).reshape(1, 3, 4, 4).to(torch.uint8)
    straight, mirrored = to_unit(image)[0], to_unit(image)[0].flip(2)
    batch = next(Batches(image.expand(400, -1, -1, -1), 400, flips=True, seed=0))
    count = sum(bool(torch.equal(found, mirrored)) for found in batch)
    assert count + sum(bool(torch.equal(found, straight)) for found in batch) == 400
    assert 150 < count < 250
    batch = next(Batches(image.expand(400, -1, -1, -1), 400, flips=False, seed=0))
    assert all(torch.equal(found, straight) for found in batch)


def test_random_crops_of_tiles_are_turned_and_mirrored() -> None:
    """Every training image is one of the eight symmetries of a crop, and all eight occur."""
    tile = torch.arange(3 * 6 * 6, dtype=torch.uint8).reshape(1, 3, 6, 6)
    batches = Batches(tile, 1, flips=True, rotations=True, size=4, seed=5)
    crops = {
        tuple(crop.flatten().tolist()): kind
        for top in range(3)
        for left in range(3)
        for kind, crop in enumerate(symmetries(tile[0, :, top : top + 4, left : left + 4]))
    }
    seen = set()
    for _ in range(400):
        image = ((next(batches)[0] + 1) * 127.5).round().to(torch.uint8)
        seen.add(crops[tuple(image.flatten().tolist())])
    assert seen == set(range(8))


def symmetries(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [image.rot90(turn, (1, 2)) for turn in range(4)]
    return [*turned, *(each.flip(2) for each in turned)]


def test_arrays_of_tiles_are_taken_as_they_are(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    np.save(tmp_path / "tiles.npy", array)
    images = load_images(str(tmp_path / "tiles.npy"), size=8)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), array)
    with pytest.raises(ConfigError, match=r"tiles\.npy: expected uint8 of shape \(N, 4, 4, 3\)"):
        load_images(str(tmp_path / "tiles.npy"), size=4)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    with pytest.raises(ConfigError, match=r"objects\.npy: cannot be read as an array"):
        load_images(str(tmp_path / "objects.npy"), size=4)


def test_arrays_of_floats_are_latents_and_stay_as_they_are(tmp_path: Path) -> None:
    array = np.random.default_rng(1).standard_normal((5, 8, 8, 4)).astype(np.float16) * 3
    np.save(tmp_path / "latents.npy", array)
    images = load_images(str(tmp_path / "latents.npy"), size=8)
    (batch,) = [next(Batches(images, 5, flips=False, seed=0))]
    assert batch.dtype == torch.float32
    rows = {tuple(row) for row in array.transpose(0, 3, 1, 2).reshape(5, -1).astype(np.float32).tolist()}
    assert {tuple(row) for row in batch.reshape(5, -1).tolist()} == rows
    np.save(tmp_path / "wide.npy", array.astype(np.float64))
    with pytest.raises(ConfigError, match=r"or latents, floats \(N, 8, 8, C\), found float64"):
        load_images(str(tmp_path / "wide.npy"), size=8)
