"""Crops for training on photographs."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from photo_crops import main
from PIL import Image

from diffcodec.training.data import load_images
from tests.conftest import smooth_pixels


def test_crops_of_two_folders(tmp_path: Path) -> None:
    for name, suffix in (("png", "png"), ("jpg", "jpg")):
        (tmp_path / name).mkdir()
        for index in range(17):
            Image.fromarray(smooth_pixels(150, 170, index)).save(tmp_path / name / f"{index}.{suffix}")
    options = ["--lossless", tmp_path / "png", "--jpeg", tmp_path / "jpg", "--out", tmp_path / "out", "--side", 24]
    result = CliRunner().invoke(main, [*map(str, options), "--held-side", "32", "--every", "2"])
    assert result.exit_code == 0, result.output
    crops = load_images(str(tmp_path / "out" / "crops-0.bmp"), size=24)
    assert len(crops) == 100
    assert "held out" in result.output
    assert len(load_images(str(tmp_path / "out" / "held.png"), size=32)) == 16
    spread = crops.float().std(dim=(1, 2, 3))
    assert float(spread.min()) > 1
    greys = (crops.float().std(dim=1).amax(dim=(1, 2)) == 0).float().mean()
    assert 0 < float(greys) < 0.1


def test_too_few_photographs(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    result = CliRunner().invoke(main, ["--lossless", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "not enough photographs" in result.output
    assert np.all([not path.suffix for path in tmp_path.rglob("*")])
