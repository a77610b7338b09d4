"""Commands with latent models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.model.tables_file import TABLES_FILE
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels

pytestmark = pytest.mark.parametrize("pipeline", ["sd1"], indirect=True)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    alpha = np.full((50, 70, 1), 200, np.uint8)
    Image.fromarray(np.concatenate([smooth_pixels(50, 70), alpha], axis=2)).save(path)
    return path


def test_there_and_back(folder: Path, picture: Path, tmp_path: Path) -> None:
    made = tmp_path / "photo.dfc"
    result = succeeds(run("compress", picture, "-o", made, "--model", folder, "-t", "200", "--measure"))
    assert "the autoencoder alone reaches" in result.stdout
    assert "not calibrated" in result.stderr
    line = succeeds(run("decompress", made, "-o", tmp_path / "back.png", "--model", folder)).stdout
    assert "flow decoder" in line
    with Image.open(tmp_path / "back.png") as back:
        assert (back.size, back.mode) == ((70, 50), "RGBA")
        assert np.array(back)[..., 3].min() == 200
    assert "200" in succeeds(run("info", made)).stdout
    fails(run("decompress", made, "-o", tmp_path / "other.png"), "load the model that made it (--model)")
    refused = run("compress", picture, "-o", tmp_path / "no.dfc", "--model", folder, "-t", "0")
    assert refused.exit_code == 1
    assert "Error: timestep: model is a latent model, which cannot be lossless: the finest is 1" in refused.stderr


def test_cut_view_and_compare(folder: Path, picture: Path, tmp_path: Path) -> None:
    made = tmp_path / "photo.dfc"
    succeeds(run("compress", picture, "-o", made, "--model", folder, "-t", "100"))
    size = made.stat().st_size
    succeeds(run("truncate", made, "-o", tmp_path / "cut.dfc", "--bytes", size - 1, "--model", folder))
    assert (tmp_path / "cut.dfc").stat().st_size < size
    succeeds(run("view", made, "-o", tmp_path / "page.html", "--model", folder))
    assert (tmp_path / "page.html").stat().st_size > 1000
    found = json.loads(succeeds(run("compare", picture, made, "--model", folder, "--json")).stdout)
    assert found["psnr_db"] > 5


def test_folders_and_targets(folder: Path, picture: Path, tmp_path: Path) -> None:
    Image.fromarray(smooth_pixels(40, 30)).save(picture.parent / "second.png")
    found = succeeds(
        run("compress", picture.parent, "-o", tmp_path / "out", "--model", folder, "--bpp", "2", "--json")
    ).stdout.splitlines()
    assert len([line for line in found if "input" in line]) == 2
    assert all(json.loads(line)["bpp"] <= 2 for line in found if '"bpp"' in line and '"input"' in line)
    values = json.loads(
        succeeds(run("compress", picture, "-o", tmp_path / "q.dfc", "--model", folder, "--psnr", "10", "--json")).stdout
    )
    assert values["psnr_db"] >= 10
    assert values["ceiling_psnr_db"] > 0


def test_calibrate_writes_into_the_folder(folder: Path, picture: Path, tmp_path: Path) -> None:
    Image.fromarray(smooth_pixels(64, 128)).save(tmp_path / "data.png")
    options = ["--data", tmp_path / "data.png", "--size", "64"]
    assert "lists of" in succeeds(run("calibrate", folder, *options)).stdout
    assert 1000 < (folder / TABLES_FILE).stat().st_size < 1 << 20
    fails(run("calibrate", folder, *options), "exists")
    result = succeeds(run("compress", picture, "-o", tmp_path / "a.dfc", "--model", folder, "-t", "300"))
    assert "not calibrated" not in result.stderr
    elsewhere = tmp_path / "elsewhere.safetensors"
    (folder / TABLES_FILE).rename(elsewhere)
    with_tables = ["--model", folder, "--tables", elsewhere]
    succeeds(run("decompress", tmp_path / "a.dfc", "-o", tmp_path / "a.png", *with_tables))
    fails(run("decompress", tmp_path / "a.dfc", "-o", tmp_path / "b.png", "--model", folder), "made with model")
    fails(run("calibrate", "cifar10-small-v3", *options), "the calibrated model needs a file: name it")


def test_a_missing_component_is_one_line(folder: Path, picture: Path, tmp_path: Path) -> None:
    (folder / "vae" / "config.json").unlink()
    fails(run("compress", picture, "-o", tmp_path / "a.dfc", "--model", folder), "vae/config.json is missing")
    assert not (tmp_path / "a.dfc").exists()


def test_the_pillow_plugin_takes_a_folder(folder: Path, picture: Path, tmp_path: Path) -> None:
    import diffcodec.pillow_plugin  # noqa: F401

    with Image.open(picture) as image:
        image.save(tmp_path / "a.dfc", model=str(folder), timestep=300)
    with Image.open(tmp_path / "a.dfc") as back:
        back.model = str(folder)  # type: ignore[attr-defined]
        back.load()
        assert back.size == (70, 50)
