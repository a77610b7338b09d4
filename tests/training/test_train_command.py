"""`diffcodec train` from a grid of tiles to a model file, and on from there."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from diffcodec.checkpoint import load_checkpoint
from diffcodec.cli import main
from diffcodec.cli.train import parse_duration, parse_setting
from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.errors import ConfigError
from diffcodec.training.loop import Trainer
from diffcodec.training.parallel import Processes

MODEL = ModelConfig(
    network=UNetConfig(
        channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
    ),
    prediction="v",
    data_std=0.5,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a grid of 16 tiles of 8 x 8 pixels and the configuration of a tiny network."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "grid.png")
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL.to_dict()))
    return tmp_path


def train(place: Path, *more: str, model: str | None = None) -> Result:
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--out", str(place / "out")]
    return CliRunner().invoke(main, [*arguments, "--model", model or str(place / "tiny.json"), *more])


def assert_one_line_error(result: Result, message: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)  # not a traceback
    assert message in result.output


def test_trains_writes_refuses_to_overwrite_and_resumes(place: Path) -> None:
    out = place / "out"
    result = train(place, "--images", "64", "--set", "batch_size=16", "--set", "optimizer=muon", "--name", "toy-v1")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "log.jsonl", "state.pt"}
    assert "diffcodec calibrate" in result.output

    model = load_checkpoint(out / "model.safetensors")
    assert model.config == MODEL
    assert model.tables is None
    assert model.card.name == "toy-v1"
    assert model.card.data == "own pictures"
    assert json.loads(model.card.recipe)["training"]["optimizer"] == "muon"
    assert "64 images" in model.card.time
    average = torch.load(out / "state.pt")["ema"]["average"]
    assert average.keys() == model.weights.keys()
    assert all(torch.equal(average[name].half(), value) for name, value in model.weights.items())
    x_0 = model.denoiser().predict_x_0(torch.randn(1, 3, 8, 8), torch.zeros(1))
    assert torch.isfinite(x_0).all()

    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["images"] == 64
    assert lines[-1]["fraction"] == 1

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_one_line_error(train(place, "--images", "64"), "state.pt exists: pass --resume")
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}

    result = train(place, "--images", "128", "--set", "batch_size=16", "--set", "optimizer=muon", "--resume")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [lines[0]["images"], lines[-1]["images"]] == [64, 128]
    assert torch.load(out / "state.pt")["drawn"] == 128
    later = load_checkpoint(out / "model.safetensors")
    assert later.card.name == "tiny"  # of the configuration, where no other is given
    assert later.fingerprint != model.fingerprint


def test_the_trainer_knows_the_processes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that, torchrun would start so many equal runs; see test_parallel.py for two real processes."""
    second = Processes(1, 2)
    monkeypatch.setattr(Processes, "from_environment", lambda: second)
    given: list[Processes | None] = []

    def run(trainer: Trainer, **options: object) -> None:
        given.append(trainer.processes)
        options["save"]()  # type: ignore[operator]

    monkeypatch.setattr(Trainer, "run", run)
    assert train(place, "--images", "8").exit_code == 0
    assert given == [second]
    assert not list((place / "out").iterdir())  # only the first process writes


def test_a_time_limit_ends_the_command(place: Path) -> None:
    result = train(place, "--time-limit", "0.2s", "--set", "batch_size=4", "--precision", "bf16")
    assert result.exit_code == 0, result.output
    assert torch.load(place / "out" / "state.pt")["seconds"] >= 0.2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "training needs an end"),
        (("--images", "8", "--resume"), "state.pt: cannot be resumed from"),
        (("--images", "8", "--set", "momentum=0.9"), "TrainingConfig: unknown key 'momentum'"),
        (("--images", "8", "--set", "batch_size=many"), "TrainingConfig.batch_size: expected int, found 'many'"),
        (("--images", "8", "--set", "batch_size"), "--set batch_size: expected KEY=VALUE"),
        (("--images", "8", "--size", "10"), "sides must be multiples of 4, found (10, 10)"),
        (("--images", "8", "--size", "64"), "no picture of at least 64 x 64 pixels found"),
        (("--images", "8", "--data", "missing.webp"), "missing.webp: no such file or folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(place: Path, more: tuple[str, ...], message: str) -> None:
    assert_one_line_error(train(place, *more), message)
    assert not (place / "out" / "model.safetensors").exists()


def test_configurations_are_named_or_files(place: Path) -> None:
    assert_one_line_error(train(place, "--images", "8", model="cifar10-huge"), "there are cifar10-small, cifar10-ddpm")
    missing = str(place / "missing.json")
    assert_one_line_error(train(place, "--images", "8", model=missing), "missing.json: cannot be read as JSON")
    (place / "tiny.json").write_text("{")
    assert_one_line_error(train(place, "--images", "8"), "tiny.json: cannot be read as JSON")
    (place / "tiny.json").write_text('{"network": {"depth": 3}}')
    assert_one_line_error(train(place, "--images", "8"), "UNetConfig: unknown key 'depth'")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("45m", 2700), ("1.5h", 5400), ("0.2s", 0.2), ("2h", 7200), (None, None)],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    command = click.Command("train")
    assert parse_duration(click.Context(command), click.Option(["--time-limit"]), text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "0.0h", "-5", "5d", "1h30m", "h", ".5h", "1e3", "inf", "nan", "5 m"])
def test_what_is_no_duration_is_rejected(place: Path, text: str) -> None:
    result = train(place, "--time-limit", text)
    assert result.exit_code == 2
    assert "is not a time such as 90s, 45m or 1.5h" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch_size=128", ("batch_size", 128)),
        ("learning_rate=1e-3", ("learning_rate", 0.001)),
        ("flips=false", ("flips", False)),
        ("optimizer=muon", ("optimizer", "muon")),
        ("name=a=b", ("name", "a=b")),
    ],
)
def test_settings_are_json_where_they_can_be(text: str, expected: tuple[str, object]) -> None:
    assert parse_setting(text) == expected


def test_a_setting_has_a_value() -> None:
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_setting("batch_size")


def test_starts_from_the_weights_of_another_model(place: Path) -> None:
    assert train(place, "--images", "32", "--set", "batch_size=16").exit_code == 0
    first = place / "out" / "model.safetensors"
    nothing = ["--images", "16", "--set", "batch_size=16", "--set", "learning_rate=1e-30"]
    result = train(place, *nothing, "--from", str(first), "--out", str(place / "next"))
    assert result.exit_code == 0, result.output
    before, after = load_checkpoint(first), load_checkpoint(place / "next" / "model.safetensors")
    assert all(torch.equal(before.weights[name], value) for name, value in after.weights.items())
    assert json.loads(after.card.recipe)["from"] == str(first)


def test_does_not_start_from_a_model_of_another_shape(place: Path) -> None:
    result = train(place, "--images", "16", "--from", "cifar10-small-v1")
    assert_one_line_error(result, "do not fit the model that is trained")
    assert not (place / "out").exists()
