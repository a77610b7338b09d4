"""`diffcodec sample`, `interpolate`, and the decoders of `decompress`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.images.grids import GAP
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.model_file import ModelCard
from tests.commands import fails, run, succeeds
from tests.conftest import make_tiny_checkpoint, smooth_pixels


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that has not been calibrated."""
    path = tmp_path / "raw.safetensors"
    path.write_bytes(make_tiny_checkpoint().to_bytes())
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(smooth_pixels(8, 12)).save(path)
    return path


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def cells(sheet: NDArray[np.uint8], height: int, width: int) -> list[list[NDArray[np.uint8]]]:
    """The pictures of a grid, row by row."""
    rows, columns = (sheet.shape[0] + GAP) // (height + GAP), (sheet.shape[1] + GAP) // (width + GAP)
    assert sheet.shape == (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    return [
        [sheet[y : y + height, x : x + width] for x in range(0, sheet.shape[1], width + GAP)]
        for y in range(0, sheet.shape[0], height + GAP)
    ]


# sample ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ancestral", "flow", "langevin"])
def test_a_grid_of_samples(model: Path, tmp_path: Path, sampler: str) -> None:
    out = tmp_path / "grid.png"
    options = ("--model", model, "--sampler", sampler, "--steps", 3, "--size", 8, "-n", 5)
    succeeds(run("sample", "-o", out, *options))
    found = cells(pixels(out), 8, 8)
    assert [len(row) for row in found] == [3, 3]
    assert (found[1][2] == 255).all()
    assert len({cell.tobytes() for row in found for cell in row}) == 6
    fails(run("sample", "-o", out, *options), "grid.png exists", "--force")
    first = out.read_bytes()
    succeeds(run("sample", "-o", out, *options, "--force"))
    assert out.read_bytes() == first
    succeeds(run("sample", "-o", out, *options, "--force", "--seed", 1))
    assert out.read_bytes() != first


def test_the_bundled_model_samples_32_by_32_by_default(tmp_path: Path) -> None:
    succeeds(run("sample", "-o", tmp_path / "a.png", "--steps", 1))
    assert pixels(tmp_path / "a.png").shape == (4 * 32 + 3 * GAP, 4 * 32 + 3 * GAP, 3)


def test_options_change_what_they_say(model: Path, tmp_path: Path) -> None:
    sheets = []
    for number, options in enumerate(
        (
            [],
            ["--variance", "fixedlarge"],
            ["--spacing", "log-snr"],
            ["--sampler", "flow"],
            ["--sampler", "flow", "--eta", "0.5"],
            ["--sampler", "langevin"],
            ["--sampler", "langevin", "--updates", "2"],
        )
    ):
        out = tmp_path / f"{number}.png"
        succeeds(run("sample", "-o", out, "--model", model, "--steps", 4, "--size", 8, "-n", 2, *options))
        sheets.append(out.read_bytes())
    assert len(set(sheets)) == len(sheets)


def test_grids_have_the_columns_and_the_zoom_asked_for(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--steps", 2, "--size", 4, "-n", 6, "--columns", 6)
    succeeds(run("sample", "-o", tmp_path / "a.bmp", *options))
    (row,) = cells(pixels(tmp_path / "a.bmp"), 4, 4)
    succeeds(run("sample", "-o", tmp_path / "b.png", *options, "--zoom", 3))
    (enlarged,) = cells(pixels(tmp_path / "b.png"), 12, 12)
    assert all(np.array_equal(a, b[::3, 1::3]) for a, b in zip(row, enlarged, strict=True))


def test_a_folder_gets_a_file_for_every_sample(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--steps", 2, "--size", 4, "-n", 3)
    succeeds(run("sample", "-o", f"{tmp_path / 'made'}/", *options))
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == [f"sample-000{i}.png" for i in range(3)]
    succeeds(run("sample", "-o", tmp_path / "grid.png", *options))
    for place, cell in enumerate([cell for row in cells(pixels(tmp_path / "grid.png"), 4, 4) for cell in row][:3]):
        assert np.array_equal(pixels(tmp_path / "made" / f"sample-000{place}.png"), cell)
    fails(run("sample", "-o", tmp_path / "made", *options), "sample-0000.png exists", "--force")


def test_standard_output_takes_a_grid(model: Path) -> None:
    result = succeeds(run("sample", "-o", "-", "--model", model, "--steps", 2, "--size", 4, "-n", 1))
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (4, 4))


def test_progressive_strips_end_with_the_samples(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--steps", 12, "--size", 8, "-n", 2)
    succeeds(run("sample", "-o", tmp_path / "strip.png", "--progressive", *options))
    rows = cells(pixels(tmp_path / "strip.png"), 8, 8)
    assert [len(row) for row in rows] == [10, 10]
    succeeds(run("sample", "-o", tmp_path / "grid.png", "--columns", 1, *options))
    for row, (sample,) in zip(rows, cells(pixels(tmp_path / "grid.png"), 8, 8), strict=True):
        assert np.array_equal(row[-1], sample)
        assert not np.array_equal(row[0], sample)
    succeeds(run("sample", "-o", tmp_path / "four.png", "--progressive", *options, "--columns", 4))
    assert len(cells(pixels(tmp_path / "four.png"), 8, 8)[0]) == 4


@pytest.mark.parametrize("suffix", [".apng", ".webp"])
def test_progressive_animations_end_with_the_grid(model: Path, tmp_path: Path, suffix: str) -> None:
    options = ("--model", model, "--steps", 12, "--size", 8, "-n", 3)
    out = tmp_path / f"a{suffix}"
    succeeds(run("sample", "-o", out, "--progressive", *options))
    succeeds(run("sample", "-o", tmp_path / "grid.png", *options))
    with Image.open(out) as image:
        frames = ImageSequence.all_frames(image, lambda frame: frame.convert("RGB"))
    assert 10 <= len(frames) <= 48
    assert np.array_equal(np.asarray(frames[-1]), pixels(tmp_path / "grid.png"))
    fails(run("sample", "-o", out, "--progressive", *options), "exists", "--force")


def test_samples_that_share_the_state_of_an_image(model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.png"
    options = ("--model", model, "--steps", 10, "--share-from", image, "-n", 3, "-o", out)
    succeeds(run("sample", *options, "-t", 100, "-t", 900))
    rows = cells(pixels(out), 8, 12)
    assert [len(row) for row in rows] == [5, 5]
    for row in rows:
        assert np.array_equal(row[0], smooth_pixels(8, 12))
        assert len({cell.tobytes() for cell in row}) == 5
    spread = [np.stack(row[2:]).astype(float).std(axis=0).mean() for row in rows]
    assert spread[0] < spread[1]
    succeeds(run("sample", *options, "-t", 100, "--size", 16, "--force"))
    assert len(cells(pixels(out), 16, 16)[0]) == 5


def test_what_does_not_go_together_is_refused(model: Path, image: Path, tmp_path: Path) -> None:
    out, share = tmp_path / "a.png", ("--share-from", image)
    fails(run("sample", "-o", out, *share), "--share-from and -t need each other", code=2)
    fails(run("sample", "-o", out, "-t", 100), "--share-from and -t need each other", code=2)
    fails(run("sample", "-o", out, *share, "-t", 9, "--progressive"), "cannot be combined", code=2)
    fails(run("sample", "-o", f"{tmp_path}/x/", "--progressive"), "folder", code=2)
    fails(run("sample"), "--out", code=2)
    fails(run("sample", "-o", out, "--model", model, "--size", 10), "multiples of the network's 4 pixels")
    fails(run("sample", "-o", out, "--model", model, *share, "-t", 9, "--size", 10), "multiples of", "found 10 x 10")
    fails(run("sample", "-o", out, "--model", model, *share, "-t", 2000), "timestep: expected 1 to the model's 1000")
    fails(run("sample", "-o", out, "--model", model, "--steps", 2000), "1 to the model's 1000, found 2000 (--steps)")
    fails(run("sample", "-o", out, "--model", model, "--eta", 0.5), "only for the sampler flow")
    fails(run("sample", "-o", out, "--model", model, "--variance", "learned"), "has no learned variances")
    fails(run("sample", "-o", tmp_path / "a.xyz"), ".xyz", ".png")
    fails(run("sample", "-o", tmp_path / "a.apng", "--steps", 1), ".apng")
    fails(run("sample", "-o", out, "--model", "none"), "none", "bundled")
    fails(run("sample", "-o", out, "--device", "nowhere"), "nowhere", "use the CPU (--device)")
    # Told before the work, and even before the model is looked for.
    fails(run("sample", "-o", tmp_path / "no" / "a.png", "--model", "none"), "folder", "does not exist", "create it")
    fails(run("interpolate", image, image, "-o", tmp_path / "no" / "a.png", "--model", "none"), "does not exist")
    assert not out.exists()


# interpolate -------------------------------------------------------------------------------------------------


def test_a_strip_runs_from_one_picture_to_the_other(model: Path, image: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.png", tmp_path / "strip.png"
    Image.fromarray(smooth_pixels(8, 12, seed=3)).save(other)
    options = ("--model", model, "--steps", 20, "-o", out)
    succeeds(run("interpolate", image, other, "-t", 60, "-t", 600, "-n", 5, *options))
    rows = cells(pixels(out), 8, 12)
    assert [len(row) for row in rows] == [7, 7]
    for row in rows:
        assert np.array_equal(row[0], smooth_pixels(8, 12))
        assert np.array_equal(row[-1], smooth_pixels(8, 12, seed=3))
    errors = [float(np.mean((cell.astype(float) - rows[0][0]) ** 2)) for cell in rows[0]]
    assert errors == sorted(errors)
    # Coarse at large t: what is left of the original differs more from it.
    far = float(np.mean((rows[1][1].astype(float) - rows[1][0]) ** 2))
    assert far > 2 * errors[1]
    fails(run("interpolate", image, other, *options), "strip.png exists", "--force")
    first = out.read_bytes()
    succeeds(run("interpolate", image, other, "-t", 60, "-t", 600, "-n", 5, *options, "--force", "--seed", 1))
    assert out.read_bytes() != first
    succeeds(run("interpolate", image, other, *options, "--force", "--sampler", "flow"))
    assert len(cells(pixels(out), 8, 12)[0]) == 11


def test_pictures_of_two_sizes_need_one(model: Path, image: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.png", tmp_path / "strip.png"
    Image.fromarray(smooth_pixels(16, 16)).save(other)
    options = ("--model", model, "--steps", 5, "-n", 2, "-o", out)
    fails(run("interpolate", image, other, *options), "image.png has 12 x 8", "other.png 16 x 16", "--size")
    Image.fromarray(smooth_pixels(9, 13)[..., 0]).save(other)  # grey
    fails(run("interpolate", image, other, *options), "other.png", "network's 4 pixels, found 13 x 9", "--size")
    assert not out.exists()
    succeeds(run("interpolate", image, other, *options, "--size", 8))
    assert len(cells(pixels(out), 8, 8)[0]) == 4


def checkpoint_of(channels: int) -> Checkpoint:
    """Untrained, for pictures of so many channels."""
    config = ModelConfig(
        UNetConfig(image_channels=channels, channels=8, multipliers=(1,), blocks=1, embedding_channels=8)
    )
    return Checkpoint(config, ModelCard("untrained"), dict(Denoiser(config).named_parameters()))


def test_models_of_grey_pictures_make_grey_pictures(image: Path, tmp_path: Path) -> None:
    model = tmp_path / "grey.safetensors"
    model.write_bytes(checkpoint_of(1).to_bytes())
    options = ("--model", model, "--sampler", "flow", "--steps", 2)
    made = []
    for name, arguments in {
        "sample": ("sample", "-n", 2, "--size", 8),
        "shared": ("sample", "-n", 2, "--share-from", image, "-t", 5),
        "between": ("interpolate", image, image, "-n", 2, "-t", 5),
    }.items():
        out = tmp_path / f"{name}.png"
        succeeds(run(*arguments, "-o", out, *options))
        made.append(pixels(out))
        assert (np.ptp(made[-1], axis=2) == 0).all()
    with Image.open(image) as original:
        grey = np.asarray(original.convert("L"))
    for sheet in made[1:]:
        assert np.array_equal(cells(sheet, *grey.shape)[0][0][..., 0], grey)


def test_models_of_what_is_no_picture_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "four.safetensors"
    model.write_bytes(checkpoint_of(4).to_bytes())
    fails(run("sample", "--model", model, "-o", tmp_path / "a.png"), "untrained: expected a model with 1 or 3 channels")


def test_pictures_too_large_for_their_format_are_named(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--steps", 1, "--size", 4, "--zoom", 64, "-n", 64, "--columns", 64)
    fails(run("sample", "-o", tmp_path / "wide.webp", *options), "wide.webp cannot be written")
    assert not (tmp_path / "wide.webp").exists()


def test_what_is_not_a_picture_is_named(model: Path, image: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("hello")
    options = ("--model", model, "-o", tmp_path / "a.png")
    fails(run("interpolate", image, bad, *options), "bad.png")
    fails(run("interpolate", image, tmp_path / "none.png", *options), "none.png does not exist")
    fails(run("sample", "--share-from", bad, "-t", 5, *options), "bad.png")
    fails(run("interpolate", image, *options), "B", code=2)
    fails(run("interpolate", image, image, "-t", 0, *options), "-t", code=2)


# decompress --decoder ----------------------------------------------------------------------------------------


def test_decoders_are_chosen_and_shown(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    made = {}
    for decoder in ("mean", "flow", "ancestral"):
        out = tmp_path / f"{decoder}.png"
        result = succeeds(run("decompress", stream, "--model", tiny_model, "--decoder", decoder, "-o", out))
        made[decoder] = pixels(out).tobytes()
        assert (f"t = 200, {decoder} decoder" in result.stdout) == (decoder != "mean")
    assert len(set(made.values())) == 3
    out = tmp_path / "again.png"
    options = ("decompress", stream, "--model", tiny_model, "--decoder", "ancestral", "-o", out, "--force")
    succeeds(run(*options))
    assert pixels(out).tobytes() == made["ancestral"]
    succeeds(run(*options, "--decoder-seed", 1))
    assert pixels(out).tobytes() != made["ancestral"]
    succeeds(run(*options, "--decoder-steps", 7))
    assert pixels(out).tobytes() != made["ancestral"]


def test_decoders_go_with_coarser_versions_and_cut_files(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_model, "--decoder", "ancestral", "-o", tmp_path / "a.png", "--force")
    succeeds(run("decompress", stream, "-t", 500, *options))
    whole = pixels(tmp_path / "a.png")
    stream.write_bytes(stream.read_bytes()[:-9])
    fails(run("decompress", stream, *options), "photo.dfc is cut", "--partial")
    result = succeeds(run("decompress", stream, "--partial", *options))
    assert "unverified" in result.stderr
    assert pixels(tmp_path / "a.png").shape == whole.shape


def test_lossless_files_are_exact_whatever_the_decoder(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    made, out = tmp_path / "exact.dfc", tmp_path / "exact.png"
    succeeds(run("compress", photo, "-t", 0, "--model", tiny_model, "-o", made))
    result = succeeds(run("decompress", made, "--model", tiny_model, "--decoder", "ancestral", "-o", out))
    assert np.array_equal(pixels(out), pixels(photo))
    assert "t = 0" in result.stdout
    assert "ancestral" not in result.stdout


def test_decoder_options_that_make_no_sense_are_refused(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("decompress", stream, "--model", tiny_model, "-o", tmp_path / "a.png")
    fails(run(*options, "--decoder", "median"), "median", "ancestral", code=2)
    fails(run(*options, "--decoder-steps", 10), "`auto` takes no steps", "(--decoder, --decoder-steps)")
    steps = run(*options, "--decoder", "flow", "--decoder-steps", 2000)
    fails(steps, "reconstruction steps: expected 1 to the model's 1000, found 2000 (--decoder-steps)")
    fails(run(*options, "--decoder-seed", -1), code=2)
    seed = run(*options, "--decoder", "flow", "--decoder-seed", 2)
    fails(seed, "`flow` draws no random numbers", "(--decoder, --decoder-seed)")
    assert not (tmp_path / "a.png").exists()
