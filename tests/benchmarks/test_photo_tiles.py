"""Tiles for training on photographs."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from photo_tiles import LEAST_KEPT, main, tiles, tiles_at_scales
from PIL import Image

from diffcodec.training.data import load_images
from tests.conftest import smooth_pixels


def test_tiles_of_two_folders(tmp_path: Path) -> None:
    for name, suffix in (("png", "png"), ("jpg", "jpg")):
        (tmp_path / name).mkdir()
        for index in range(9):
            Image.fromarray(smooth_pixels(150, 170, index)).save(tmp_path / name / f"{index}.{suffix}")
    options = ["--lossless", tmp_path / "png", "--jpeg", tmp_path / "jpg", "--out", tmp_path / "out", "--side", 24]
    result = CliRunner().invoke(main, [*map(str, options), "--every", "3"])
    assert result.exit_code == 0, result.output
    training = load_images(str(tmp_path / "out" / "tiles.npy"), size=24)
    assert f"{len(training)} tiles of 24 x 24 and 12 held out" in result.output
    assert len(load_images(str(tmp_path / "out" / "held.npy"), size=24)) == 12
    greys = (training.float().std(dim=1).amax(dim=(1, 2)) == 0).float().mean()
    assert 0 < float(greys) < 0.1


def test_tiles_cover_a_picture() -> None:
    pixels = np.arange(50 * 70 * 3, dtype=np.uint32).reshape(50, 70, 3)
    picture = Image.fromarray((pixels % 251).astype(np.uint8))
    found = tiles(picture, 24)
    assert len(found) == 3 * 3
    assert np.array_equal(found[0], np.asarray(picture)[:24, :24])
    assert np.array_equal(found[-1], np.asarray(picture)[-24:, -24:])
    assert tiles(picture, 51) == []


def test_detail_is_kept_more_often() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    flat = np.full((240, 240, 3), 128, dtype=np.uint8)
    counts = [
        len(tiles_at_scales(Image.fromarray(pixels), 1.0, 12, np.random.default_rng(1))) for pixels in (noisy, flat)
    ]
    assert counts[1] / counts[0] < 1.3 * LEAST_KEPT


def test_too_few_photographs(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    result = CliRunner().invoke(main, ["--lossless", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "not enough photographs" in result.output
    assert np.all([not path.suffix for path in tmp_path.rglob("*")])
