"""Experts: trained one by one on ranges of levels, joined by a command, and tuned on from there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from diffcodec.cli import main
from diffcodec.config import ModelConfig, PlainUNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.model.loading import load_checkpoint
from diffcodec.training.checks import check_settings
from diffcodec.training.config import TrainingConfig
from diffcodec.training.losses import bits_per_loss, draw_log_snr
from tests.training.places import write_place

NETWORK = PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16)
MODEL = ModelConfig(NETWORK, prediction="v", data_std=0.5)
SETTINGS = ("--set", "batch_size=16", "--set", "decay_share=0")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_place(tmp_path, MODEL)


def train(place: Path, out: str, *more: str) -> None:
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--model", str(place / "tiny.json")]
    run = CliRunner().invoke(main, [*arguments, *SETTINGS, "--out", str(place / out), *more])
    assert run.exit_code == 0, run.output


def test_experts_from_a_common_start(place: Path) -> None:
    train(place, "common", "--images", "32")
    for name, levels in (("noisy", "[-8.5,2]"), ("clean", "[2,9.6]")):
        (place / name).mkdir()
        (place / name / "state.pt").write_bytes((place / "common" / "state.pt").read_bytes())
        changed = ("--set", f"log_snr_range={levels}", "--set", "ema_decay=0.9")
        train(place, name, "--images", "64", "--resume", *changed)
    files = [str(place / name / "model.safetensors") for name in ("noisy", "clean")]
    joint = place / "joint.safetensors"
    run = CliRunner().invoke(main, ["join", *files, "--at", "2", "-o", str(joint)])
    assert run.exit_code == 0, run.output
    model, x = load_checkpoint(joint), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        for level, file in ((1.0, files[0]), (3.0, files[1])):
            expected = load_checkpoint(file).denoiser().predict_x_0(x, torch.tensor([level]))
            assert torch.equal(model.denoiser().predict_x_0(x, torch.tensor([level])), expected)

    start = ("--from", str(joint), "--images", "16", "--set", "learning_rate=1e-30")
    train(place, "tuned", *start, "--set", "log_snr_range=[2,9.6]")
    before, after = load_checkpoint(files[1]), load_checkpoint(place / "tuned" / "model.safetensors")
    assert all(torch.equal(before.weights[name], value) for name, value in after.weights.items())


def test_levels_of_a_range() -> None:
    config, denoiser = TrainingConfig(log_snr_range=(1.0, 3.0)), Denoiser(MODEL)
    levels, weights = draw_log_snr(config, 1000, denoiser)
    assert 1 <= levels.min() < 1.01
    assert 2.99 < levels.max() <= 3
    assert (weights == 1).all()
    assert bits_per_loss(MODEL, config) == pytest.approx(1 / np.log(2))


@pytest.mark.parametrize("levels", [(3.0, 1.0), (1.0,), (1.0, 1.0), (0.0, 1.0, 2.0)])
def test_what_is_no_range(levels: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="log_snr_range"):
        TrainingConfig(log_snr_range=levels)


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        (MODEL, TrainingConfig(log_snr_range=(1.0, 12.0)), r"from -8.5 to 9.6.*found 1 to 12"),
        (MODEL, TrainingConfig(log_snr_range=(1.0, 2.0), loss="simple"), "needs loss vlb in continuous time"),
        (
            replace(MODEL, network=replace(NETWORK, expert_edges=(1.0,))),
            TrainingConfig(),
            "experts are trained one by one",
        ),
    ],
)
def test_settings_that_do_not_fit(model: ModelConfig, training: TrainingConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(model, training, (3, 8, 8), "fp32", 1, 1)
