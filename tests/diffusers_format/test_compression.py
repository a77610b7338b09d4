"""Imported networks compress: pictures of any size, with tables of their own or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from diffcodec.calibration.calibrate import calibrate
from diffcodec.calibration.error_curve import measure_error_curve
from diffcodec.calibration.samples import Samples
from diffcodec.cli import main
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.loading import load_checkpoint
from tests.conftest import smooth_pixels
from tests.diffusers_format.pipelines import NETWORKS, TINY, randomised, save_pipeline

IMAGES = torch.from_numpy(np.stack([smooth_pixels(16, 16, seed) for seed in range(4)]).transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, tiny_network: object) -> Checkpoint:
    return load_checkpoint(save_pipeline(tmp_path_factory.mktemp("imported") / "tiny", tiny_network))


@pytest.fixture(scope="module")
def calibrated(imported: Checkpoint) -> Checkpoint:
    return calibrate(imported, IMAGES, points=12, length_pictures=1, effort=8)


def grey(pixels: NDArray[np.uint8]) -> Picture:
    return Picture(np.ascontiguousarray(pixels[:, :, 0]), None)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (13, 6), (16, 16)])
def test_pictures_of_any_size_return(height: int, width: int, imported: Checkpoint) -> None:
    codec = DiffusionCodec(imported)
    assert not codec.is_calibrated
    pixels = smooth_pixels(height, width)
    for picture in (Picture(pixels, None), grey(pixels)):
        for timestep, worst in ((400, 255), (1, 5)):
            stream = codec.compress(picture, timestep=timestep, steps=16, effort=8)
            restored = codec.decompress(stream)
            rmse = np.sqrt(np.mean((restored.pixels.astype(float) - picture.pixels) ** 2))
            assert rmse == pytest.approx(stream.report.rmse)
            assert rmse < worst


@pytest.mark.parametrize(
    ("network", "schedule"),
    [
        ({}, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}),
        ({"out_channels": 6}, {"variance_type": "learned_range"}),
        ({}, {"trained_betas": [0.01, 0.05, 0.1, 0.3, 0.6], "num_train_timesteps": 5}),
    ],
)
def test_other_schedules_and_parametrisations_compress(
    network: dict[str, int], schedule: dict[str, Any], save: Callable[..., Path]
) -> None:
    codec = DiffusionCodec(load_checkpoint(save(randomised(**{**TINY, **network}), **schedule)))
    picture = Picture(smooth_pixels(8, 8), None)
    stream = codec.compress(picture, timestep=1, effort=8)
    assert codec.decompress(stream).pixels.shape == (8, 8, 3)
    assert len(stream.report.steps) == min(32, len(codec.tables.timesteps))
    assert stream.report.rmse < 40


def test_networks_of_many_scales_see_small_pictures_on_a_large_canvas(save: Callable[..., Path]) -> None:
    codec = DiffusionCodec(load_checkpoint(save(randomised(**NETWORKS["ddpm-church-256"]))))
    picture = Picture(smooth_pixels(5, 33), None)
    assert codec.canvas_for(picture).shape == (3, 32, 64)
    stream = codec.compress(picture, timestep=1, steps=16, effort=8)
    assert codec.decompress(stream).pixels.shape == (5, 33, 3)
    assert stream.report.psnr_db > 30


def test_calibrated_imports_are_lossless_too(calibrated: Checkpoint) -> None:
    codec = DiffusionCodec(calibrated)
    assert codec.is_calibrated
    pixels = smooth_pixels(11, 8, seed=7)
    for picture in (Picture(pixels, None), grey(pixels)):
        stream = codec.compress(picture, timestep=0, effort=8)
        assert np.array_equal(codec.decompress(stream).pixels, picture.pixels)


def test_levels_of_imports_are_timesteps(calibrated: Checkpoint) -> None:
    """The only ones that the network was trained on."""
    assert calibrated.tables is not None
    timesteps = {level.log_snr for level in calibrated.tables.timesteps}
    for levels in calibrated.tables.lists:
        assert {level.log_snr for level in levels.levels} <= timesteps
    denoiser = calibrated.denoiser()
    curve = measure_error_curve(denoiser, Samples.of_pixels(IMAGES[:1]), points=30)
    assert len(curve.log_snr) == 30
    assert set(curve.log_snr) <= set(denoiser.schedule.log_snr)
    asked = []
    denoiser.network.register_forward_hook(lambda _, inputs, __: asked.append(float(inputs[1][0])))
    for level in calibrated.tables.lists[0].levels:
        denoiser.predict_x_0(torch.zeros(1, 3, 16, 16), torch.tensor([level.log_snr / 65536]))
    assert asked == [round(t) for t in asked]


def test_calibration_pictures_have_to_fit_the_network(imported: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="size: expected a multiple of 2, found 15 x 15"):
        calibrate(imported, IMAGES[:, :, :15, :15])


def test_folders_are_calibrated_from_the_command_line(tiny_pipeline: Path, tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES[:2]):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "pictures" / f"{index}.png")
    out = tmp_path / "model.safetensors"
    arguments = [
        str(tiny_pipeline),
        "--data",
        str(tmp_path / "pictures"),
        "--size",
        "8",
        "--limit",
        "1",
        "-o",
        str(out),
    ]
    run = CliRunner().invoke(main, ["calibrate", *arguments])
    assert run.exit_code == 0, run.output
    found, source = load_checkpoint(out), load_checkpoint(tiny_pipeline)
    assert found.tables is not None
    assert all(torch.equal(found.weights[name], value) for name, value in source.weights.items())
    assert f"model {found.fingerprint.hex()}" in run.stdout


def test_folders_become_files(tiny_pipeline: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    run = CliRunner().invoke(main, ["import", str(tiny_pipeline), "-o", str(out)])
    fingerprint = load_checkpoint(tiny_pipeline).ready().fingerprint.hex()
    assert run.stdout == f"wrote {out}: model {fingerprint}, pipeline, 45259 parameters, not calibrated\n"
    assert load_checkpoint(out).ready().fingerprint.hex() == fingerprint
    run = CliRunner().invoke(main, ["import", str(tiny_pipeline), "-o", str(out)])
    assert run.exit_code == 1
    assert "exists: pass --force" in run.stderr
