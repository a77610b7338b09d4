"""Photographs of any size: which pixels a crop has, and messages about pictures that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.training.data import Batches, open_images
from diffcodec.training.photographs import Photographs


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def slope(height: int, width: int) -> NDArray[np.uint8]:
    """Red rises to the right from 0 to 240, green downwards: a pixel's colour is its place."""
    rows, columns = np.mgrid[:height, :width]
    red, green = 240 * columns / max(1, width - 1), 240 * rows / max(1, height - 1)
    return np.stack([red, green, 0 * red], axis=2).round().astype(np.uint8)


@settings(max_examples=40)
@given(
    st.integers(8, 30),
    st.integers(8, 30),
    st.floats(0, 1, exclude_max=True, width=32),
    st.floats(0, 1, exclude_max=True, width=32),
)
def test_a_random_crop_is_a_part_of_the_picture(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, down: float, right: float
) -> None:
    path = tmp_path_factory.mktemp("crops") / "a.png"
    pixels = noise(height, width)
    save(path, pixels)
    crop = Photographs([path], size=8, crop="random").take(torch.tensor([0]), torch.tensor([[down, right]]))
    assert crop.shape == (1, 3, 8, 8)
    assert crop.dtype == torch.uint8
    top, left = int(down * (height - 7)), int(right * (width - 7))
    assert np.array_equal(crop[0].permute(1, 2, 0), pixels[top : top + 8, left : left + 8])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (300, 100), (70, 512), (33, 32)])
def test_a_centre_crop_is_the_largest_square_made_smaller(height: int, width: int, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a.{suffix}", slope(height, width))
    crop = Photographs([path], size=32, crop="centre").take(torch.tensor([0]), torch.rand(1, 2))[0]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(slope(height, width)[top : top + side, left : left + side])
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    found = crop.permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected)[1:-1, 1:-1].max() <= (2 if suffix == "png" else 12)


@pytest.mark.parametrize(("place", "red", "green"), [((0.0, 0.0), 0, 0), ((0.0, 1.0), 240, 0), ((1.0, 0.5), 120, 240)])
def test_a_resized_crop_is_where_it_should_be(place: tuple[float, float], red: int, green: int, tmp_path: Path) -> None:
    """Of a picture whose shorter side is resized from 400 to 100, the crop is a fifth."""
    path = save(tmp_path / "a.png", slope(400, 600))
    pictures = Photographs([path], size=20, crop="random", resize=100)
    crop = pictures.take(torch.tensor([0]), torch.tensor([place]))[0].float()
    columns, rows = (0, -1, 10)[[0, 240, 120].index(red)], (0, -1)[[0, 240].index(green)]
    assert crop[0, 10, columns] == pytest.approx(red, abs=2)
    assert crop[1, rows, 10] == pytest.approx(green, abs=2)
    assert crop[0, 10, -1] - crop[0, 10, 0] == pytest.approx(240 * 19 / 149, abs=2)
    assert crop[1, -1, 10] - crop[1, 0, 10] == pytest.approx(240 * 19 / 99, abs=2)


def test_a_camera_s_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(slope(16, 16)[::-1, ::-1]).save(tmp_path / "a.png", exif=exif)
    crop = Photographs([tmp_path / "a.png"], size=16, crop="centre").take(torch.tensor([0]), torch.zeros(1, 2))
    assert np.array_equal(crop[0].permute(1, 2, 0), slope(16, 16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        save(tmp_path / f"{number}.png", noise(20 + number, 24, seed=number))
    return tmp_path


def test_every_epoch_has_every_picture_at_another_place(folder: Path) -> None:
    pictures = open_images(str(folder), size=8, crop="random")
    batches = Batches(pictures, 5, flips=False, seed=0)
    epochs = [next(batches) for _ in range(3)]
    whole = [np.asarray(Image.open(folder / f"{number}.png")) for number in range(5)]
    for epoch in epochs:
        windows = [np.lib.stride_tricks.sliding_window_view(pixels, (8, 8, 3)) for pixels in whole]
        crops = ((epoch.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert {number for crop in crops for number, w in enumerate(windows) if (w == crop).all((3, 4, 5)).any()} == {
            *range(5)
        }
    assert len({epoch.sum().item() for epoch in epochs}) == 3


@pytest.mark.parametrize("crop", ["random", "centre"])
def test_workers_change_nothing_and_resuming_is_exact(crop: str, folder: Path) -> None:
    pictures = open_images(str(folder), size=8, crop=crop)  # type: ignore[arg-type]
    plain = Batches(pictures, 4, flips=True, seed=7)
    expected = [next(plain) for _ in range(6)]
    prepared = Batches(pictures, 4, flips=True, seed=7, workers=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert all(torch.equal(next(prepared), batch) for batch in expected[:4])
    assert torch.equal(torch.get_rng_state(), state)  # what the training draws is its own business
    prepared.resume_at(8)
    assert all(torch.equal(next(prepared), batch) for batch in expected[2:])
    assert prepared.drawn == plain.drawn == 24


def test_shares_are_the_whole_batch(folder: Path) -> None:
    pictures = open_images(str(folder), size=8, crop="random")
    whole = next(Batches(pictures, 6, flips=True, seed=0))
    shares = [next(Batches(pictures, 6, flips=True, seed=0, share=slice(rank, None, 3))) for rank in range(3)]
    assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), whole)


def test_pictures_that_are_too_small_or_damaged_are_named_before_training(folder: Path) -> None:
    save(folder / "small.png", noise(30, 7))
    with pytest.raises(
        ImageError, match=r"small\.png: expected at least 8 x 8 pixels, found 7 x 30: .*or resize pictures"
    ):
        open_images(str(folder), size=8, crop="random")
    assert len(open_images(str(folder), size=8, crop="random", resize=8)) == 6
    (folder / "small.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"small\.png: cannot be read as a picture"):
        open_images(str(folder), size=8, crop="centre")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_cut_off_is_named_when_it_is_used(workers: int, tmp_path: Path) -> None:
    path = save(tmp_path / "cut.png", noise(64, 64))
    path.write_bytes(path.read_bytes()[:4000])
    batches = Batches(open_images(str(tmp_path), size=8, crop="random"), 2, flips=True, seed=0, workers=workers)
    with pytest.raises(
        ImageError, match=r"cut\.png: cannot be read as a picture \(.*\): repair or remove it$"
    ) as found:
        next(batches)
    assert str(found.value).startswith(str(tmp_path))


def test_options_that_do_not_fit_together_are_errors(folder: Path) -> None:
    with pytest.raises(ConfigError, match="resize: expected at least the size of a crop, 8, found 7"):
        open_images(str(folder), size=8, crop="random", resize=7)
    with pytest.raises(ConfigError, match="resize: tiles are cut from unscaled pictures"):
        open_images(str(folder), size=8, resize=16)
    with pytest.raises(ConfigError, match="crop: cifar10 cannot be cropped"):
        open_images("cifar10", crop="centre")
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: no picture found"):
        open_images(str(folder / "empty"), crop="random")
    with pytest.raises(ConfigError, match="missing: no such file or folder"):
        open_images(str(folder / "missing"), crop="random")
    assert torch.is_tensor(open_images(str(folder), size=8))


def test_a_picture_with_more_than_8_bits_is_refused_before_training(tmp_path: Path) -> None:
    """Pillow would turn all of it white."""
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "deep.png")
    for crop in ("tiles", "random"):
        with pytest.raises(ImageError, match=r"deep\.png: cannot be read .*more than 8 bits per sample"):
            open_images(str(tmp_path), size=8, crop=crop)


def test_whatever_pillow_raises_names_the_file(tmp_path: Path) -> None:
    """A chunk of a PNG without a name is a SyntaxError."""
    path = save(tmp_path / "a.png", noise(200, 200))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"IDAT")
    data[place : place + 4] = b"\0\1\2\3"
    path.write_bytes(data)
    with pytest.raises(
        ImageError, match=r"a\.png: cannot be read as a picture \(broken PNG file.*repair or remove it$"
    ):
        Photographs([path], size=8, crop="random").take(torch.tensor([0]), torch.zeros(1, 2))
    with pytest.raises(
        ImageError, match=r"a\.png: cannot be read as a picture \(broken PNG file.*repair or remove it$"
    ):
        open_images(str(path), size=8)
