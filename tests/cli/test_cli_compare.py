"""`diffcodec compare`: any two pictures or .dfc files."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffcodec.evaluation.metrics import measure_ms_ssim
from diffcodec.images.visibility import measure_ssimulacra2
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels
from tests.images.profiles import LINEAR


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def noisy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).normal(0, 9, pixels.shape)
    return np.asarray(np.clip(pixels + noise, 0, 255), np.uint8)


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, Path]:
    """A picture that is large enough for all figures, and a noisy copy."""
    pixels = smooth_pixels(120, 130)
    return save(tmp_path / "a.png", pixels), save(tmp_path / "b.png", noisy(pixels))


def compared(*arguments: object) -> dict[str, object]:
    """The JSON output."""
    values: dict[str, object] = json.loads(succeeds(run("compare", *arguments, "--json")).stdout)
    return values


def test_figures_are_those_of_the_metrics(large: tuple[Path, Path]) -> None:
    one, two = (np.asarray(Image.open(path)) for path in large)
    found = compared(*large)
    rmse = math.sqrt(np.mean((one.astype(float) - two) ** 2))
    assert found["rmse"] == pytest.approx(rmse)
    assert found["psnr_db"] == pytest.approx(20 * math.log10(255 / rmse))
    assert found["ms_ssim"] == measure_ms_ssim(one, two)
    assert found["ssimulacra2"] == measure_ssimulacra2(one, two)
    assert (found["missing"], found["notes"], found["difference"]) == ({}, [], None)
    for name, path in zip("ab", large, strict=True):
        size = path.stat().st_size
        facts = {"file": str(path), "width": 130, "height": 120, "mode": "RGB", "timestep": None}
        assert found[name] == facts | {"bytes": size, "bpp": 8 * size / (130 * 120)}


def test_the_table_shows_the_same_figures(large: tuple[Path, Path]) -> None:
    found, shown = compared(*large), succeeds(run("compare", *large)).stdout
    for title, value in (
        ("PSNR", f"{found['psnr_db']:.2f} dB"),
        ("RMSE", f"{found['rmse']:.3f} grey levels"),
        ("MS-SSIM", f"{found['ms_ssim']:.4f}"),
        ("SSIMULACRA 2", f"{found['ssimulacra2']:.2f}"),
    ):
        assert re.search(rf"^{title} +{re.escape(value)}$", shown, re.MULTILINE), shown
    size = large[1].stat().st_size
    assert f"{large[1]}: 130 x 120 RGB, {size:,} bytes, {8 * size / 15600:.3f} bpp\n" in shown


def test_the_first_picture_is_the_original(large: tuple[Path, Path]) -> None:
    one, two = (np.asarray(Image.open(path)) for path in large)
    found = compared(*reversed(large))
    assert found["ssimulacra2"] == measure_ssimulacra2(two, one) != measure_ssimulacra2(one, two)


def test_equal_pictures_have_no_psnr(photo: Path) -> None:
    found = compared(photo, photo)
    assert (found["psnr_db"], found["rmse"]) == (None, 0)
    assert re.search(r"^PSNR +infinite: the pictures are equal$", run("compare", photo, photo).stdout, re.MULTILINE)


def test_a_dfc_file_is_restored(photo: Path, stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored.png"
    succeeds(run("decompress", stream, "--model", tiny_model, "-o", restored))
    found, plain = compared(photo, stream, "--model", tiny_model), compared(photo, restored)
    assert found["rmse"] == plain["rmse"] != 0
    assert found["b"] == {
        "file": str(stream),
        "width": 14,
        "height": 11,
        "mode": "RGB",
        "timestep": 200,
        "bytes": stream.stat().st_size,
        "bpp": 8 * stream.stat().st_size / 154,
    }
    assert compared(stream, photo, "--model", tiny_model)["rmse"] == plain["rmse"]
    assert ", t = 200\n" in run("compare", photo, stream, "--model", tiny_model).stdout
    fails(run("compare", photo, stream), "was made with model", "(--model)")


def test_lossless_files_equal_their_pictures_whatever_the_profile(tiny_model: Path, tmp_path: Path) -> None:
    picture, made = tmp_path / "linear.png", tmp_path / "linear.dfc"
    Image.fromarray(smooth_pixels(12, 12)).save(picture, icc_profile=LINEAR)
    succeeds(run("compress", picture, "-t", 0, "--model", tiny_model, "-o", made))
    result = succeeds(run("compare", picture, made, "--model", tiny_model))
    assert "the pictures are equal" in result.stdout
    assert len(re.findall("Note: .*linear.*converted.*sRGB", result.stderr)) == 2, result.stderr


def test_one_may_be_standard_input(photo: Path, stream: Path, tiny_model: Path) -> None:
    for source in (photo, stream):
        arguments = ("compare", photo, "-", "--model", tiny_model, "--json")
        found = json.loads(succeeds(run(*arguments, stdin=source.read_bytes())).stdout)
        assert found["b"]["file"] == "standard input"
        assert found["rmse"] == compared(photo, source, "--model", tiny_model)["rmse"]
    fails(run("compare", "-", "-", stdin=b""), "Only one of A and B", code=2)


def test_sizes_must_be_equal(photo: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other.png", smooth_pixels(14, 11))
    result = run("compare", photo, other, "--difference", tmp_path / "d.png")
    fails(result, "expected two pictures of the same size", "photo.png with 14 x 11", "other.png with 11 x 14 pixels")
    assert not (tmp_path / "d.png").exists()


def test_grey_and_colour_are_compared_in_colour(tmp_path: Path) -> None:
    pixels = smooth_pixels(20, 20)
    grey, colour = save(tmp_path / "g.png", pixels[..., 1]), save(tmp_path / "c.png", pixels)
    found = compared(grey, colour)
    assert found["rmse"] == pytest.approx(math.sqrt(np.mean((pixels[..., 1:2].astype(float) - pixels) ** 2)))
    assert found["notes"] == ["one is grey and the other in colour: both are compared in colour"]
    assert compared(grey, grey)["notes"] == []


def test_transparency_counts_as_it_is_seen(tmp_path: Path) -> None:
    pixels = smooth_pixels(12, 12)
    hidden, half = (np.full((12, 12), alpha, np.uint8) for alpha in (0, 128))
    one = save(tmp_path / "1.png", np.dstack([pixels, hidden]))
    two = save(tmp_path / "2.png", np.dstack([255 - pixels, hidden]))
    found = compared(one, two)
    assert found["rmse"] == 0  # both are invisible
    assert "over a dark and over a light background" in str(found["notes"])
    black = save(tmp_path / "3.png", np.dstack([np.zeros_like(pixels), half]))
    opaque = save(tmp_path / "4.png", np.zeros_like(pixels))
    # The lighter background shows more of it.
    assert compared(black, opaque)["rmse"] == pytest.approx(230 * 127 / 255, abs=0.6)


def test_the_difference_is_amplified(large: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = (np.asarray(Image.open(path)).astype(int) for path in large)
    drawn = tmp_path / "difference.png"
    result = succeeds(run("compare", *large, "--difference", drawn))
    assert "|A - B| x 8, clipped at 255 (from 32 grey levels on)" in result.stdout
    assert np.array_equal(np.asarray(Image.open(drawn)), np.minimum(np.abs(one - two) * 8, 255))
    fails(run("compare", *large, "--difference", drawn), "exists", "--force")
    found = compared(*large, "--difference", drawn, "--gain", 3, "--force")
    assert found["difference"] == {"file": str(drawn), "gain": 3}
    assert np.array_equal(np.asarray(Image.open(drawn)), np.minimum(np.abs(one - two) * 3, 255))


def test_the_difference_never_replaces_an_input(large: tuple[Path, Path], tmp_path: Path) -> None:
    before = large[1].read_bytes()
    fails(run("compare", *large, "--difference", large[1], "--force"), "is the input itself")
    assert large[1].read_bytes() == before
    fails(run("compare", *large, "--difference", "-"), "needs the name of a file", code=2)
    fails(run("compare", *large, "--difference", tmp_path / "no" / "d.png"), "create it first")


@pytest.mark.parametrize(("module", "name", "title", "package"), [("piq", "ms_ssim", "MS-SSIM", "piq")])
def test_figures_of_missing_libraries_are_reported_as_missing(
    module: str, name: str, title: str, package: str, large: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compared(*large)
    monkeypatch.setitem(sys.modules, module, None)
    why = f"{title} needs {package}: pip install 'diffcodec[bench]'"
    shown = run("compare", *large).stdout
    assert re.search(rf"^{title} +missing: needs {package}: pip install 'diffcodec\[bench\]'$", shown, re.MULTILINE)
    assert compared(*large) == whole | {name: None, "missing": {name: why}}


def test_figures_for_which_a_picture_is_too_small_say_so(tmp_path: Path) -> None:
    small = save(tmp_path / "small.png", smooth_pixels(10, 200))
    shown = succeeds(run("compare", small, small)).stdout
    assert "MS-SSIM       missing: needs sides of at least 11 pixels" in shown
    assert "SSIMULACRA 2  missing: needs sides of at least 113 pixels" in shown


def test_files_that_cannot_be_read_are_named(photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dfc"
    bad.write_bytes(b"hello")
    fails(run("compare", photo, bad), "bad.dfc is not a .dfc file")
    fails(run("compare", photo, tmp_path / "none.png"), "none.png: cannot be read")
    fails(run("compare", photo.parent, photo), "cannot be read")
    text = tmp_path / "text.png"
    text.write_text("hello")
    fails(run("compare", text, photo), "text.png is not a picture")


def test_animations_need_first_frame(photo: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth_pixels(11, 14, seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    fails(run("compare", photo, tmp_path / "a.webp"), "2 frames", "(--first-frame)")
    assert compared(photo, tmp_path / "a.webp", "--first-frame")["rmse"] == 0
