"""`diffcodec train` from a grid of tiles to a model file, and on from there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from diffcodec.cli import main
from diffcodec.cli.commands.train import parse_duration, parse_setting
from diffcodec.cli.run_folder import RunFolder
from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.errors import ConfigError
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import PHOTO_MODEL
from diffcodec.training.config import TrainingConfig
from diffcodec.training.log import Progress
from diffcodec.training.loop import Trainer
from diffcodec.training.parallel import Processes
from diffcodec.training.recipes import named_recipe
from tests.commands import fails
from tests.training.places import write_place

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig(
    network=UNetConfig(
        channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
    ),
    prediction="v",
    data_std=0.5,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_place(tmp_path, MODEL)


def train(place: Path, *more: str, model: str | None = None) -> Result:
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--out", str(place / "out")]
    return CliRunner().invoke(main, [*arguments, "--model", model or str(place / "tiny.json"), *more])


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
    fails(train(place, "--images", "64"), "state.pt exists: pass --resume")
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
    monkeypatch.setattr(Processes, "joined", lambda self, module: module)
    monkeypatch.setattr(Processes, "__exit__", lambda *error: None)
    given: list[Processes | None] = []

    def run(trainer: Trainer, **options: object) -> bool:
        given.append(trainer.processes)
        options["save"]()  # type: ignore[operator]
        return True

    monkeypatch.setattr(Trainer, "run", run)
    assert train(place, "--images", "8").exit_code == 0
    assert given == [second]
    assert not (place / "out").exists()  # only the first process writes


def test_a_time_limit_ends_the_command(place: Path) -> None:
    result = train(place, "--time-limit", "0.2s", "--set", "batch_size=4", "--precision", "bf16")
    assert result.exit_code == 0, result.output
    assert torch.load(place / "out" / "state.pt")["seconds"] >= 0.2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--images", "8", "--resume"), "state.pt does not exist: there is no run to resume (--resume)"),
        (("--images", "8", "--set", "momentum=0.9"), "Error: unknown key 'momentum': expected one of loss, "),
        (("--images", "8", "--set", "batch_size=many"), "Error: batch_size: expected int, found 'many'"),
        (("--images", "8", "--set", "batch_size"), "--set batch_size: expected KEY=VALUE"),
        (("--images", "8", "--size", "10"), "expected sides that are multiples of 4, found 10 x 10 (--size)"),
        (("--images", "8", "--size", "64"), "no picture of at least 64 x 64 pixels found"),
        (("--images", "8", "--data", "missing.webp"), "missing.webp: no such file or folder"),
        (("--images", "8", "--resize", "16"), "resize: tiles are cut from unscaled pictures"),
        (
            ("--images", "8", "--accumulate", "5"),
            "accumulate: 64 images per process cannot be divided into 5 equal parts",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(place: Path, more: tuple[str, ...], message: str) -> None:
    fails(train(place, *more), message)
    assert not (place / "out" / "model.safetensors").exists()


def test_what_is_missing_from_the_command_is_a_usage_error(place: Path) -> None:
    fails(train(place), "Training needs an end: pass --images, --time-limit or both.", code=2)
    fails(CliRunner().invoke(main, ["train", "--images", "8"]), "Missing option '--out'.", code=2)
    assert not (place / "out").exists()


def test_help_names_every_recipe_and_its_size() -> None:
    shown = "".join(CliRunner().invoke(main, ["train", "--help"]).stdout.split())  # lines break at hyphens
    assert "[default:96forphoto-small,256forlsun256-ddpm,else32]" in shown
    assert "(cifar10-small,photo-small,cifar10-ddpm,lsun256-ddpm)oraJSONfile." in shown


def test_configurations_are_named_or_files(place: Path) -> None:
    known = "model: expected one of cifar10-small, photo-small, cifar10-ddpm, lsun256-ddpm, or a JSON file, found"
    fails(train(place, "--images", "8", model="cifar10-huge"), f"{known} 'cifar10-huge'")
    missing = str(place / "missing.json")
    fails(train(place, "--images", "8", model=missing), "missing.json does not exist\n")
    (place / "tiny.json").write_text("{")
    fails(train(place, "--images", "8"), "tiny.json: cannot be read as JSON")
    (place / "tiny.json").write_text('{"network": {"depth": 3}}')
    fails(train(place, "--images", "8"), "tiny.json: network: unknown key 'depth'")


def test_a_named_configuration_brings_its_settings_and_its_size(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers: list[Trainer] = []
    monkeypatch.setattr(Trainer, "check_memory", lambda trainer: None)

    def run(trainer: Trainer, **options: object) -> bool:
        trainers.append(trainer)
        return True

    monkeypatch.setattr(Trainer, "run", run)
    Image.fromarray(np.zeros((256, 512, 3), np.uint8)).save(place / "grid.png")
    arguments = ["train", "--data", str(place / "grid.png"), "--images", "64", "--out", str(place / "out")]
    more = ["--model", "cifar10-ddpm", "--set", "learning_rate=1e-3", "--set", "batch_size=32"]
    result = CliRunner().invoke(main, arguments + more)
    assert result.exit_code == 0, result.output
    (trainer,) = trainers
    assert trainer.image_shape == (3, 32, 32)
    expected = replace(named_recipe("cifar10-ddpm").training, learning_rate=1e-3, batch_size=32)
    assert trainer.training == expected != TrainingConfig(learning_rate=1e-3, batch_size=32)
    sizes: list[int] = []

    def opened(source: str, *, size: int, **options: object) -> None:
        sizes.append(size)
        raise ConfigError("stop here")

    monkeypatch.setattr("diffcodec.training.data.open_images", opened)
    for more in (
        ["--model", "lsun256-ddpm"],
        ["--model", "lsun256-ddpm", "--size", "64"],
        ["--model", "cifar10-small"],
    ):
        fails(CliRunner().invoke(main, arguments + more), "stop here")
    assert sizes == [256, 64, 32]


def test_photographs_are_cropped(place: Path) -> None:
    (place / "photographs").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "photographs" / f"{number}.jpg")
    for crop in ("random", "centre"):
        options = ["--crop", crop, "--resize", "10", "--workers", "1", "--images", "16", "--set", "batch_size=8"]
        options += ["--gradient-checkpointing", "--accumulate", "2", "--out", str(place / crop)]
        result = train(place, "--data", str(place / "photographs"), *options)
        assert result.exit_code == 0, result.output
        assert torch.load(place / crop / "state.pt")["drawn"] == 16


def test_a_dry_run_writes_nothing_and_needs_no_folder(place: Path) -> None:
    before = {path.name for path in place.iterdir()}
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--model", str(place / "tiny.json")]
    result = CliRunner().invoke(main, [*arguments, "--dry-run", "--set", "batch_size=4"])
    assert result.exit_code == 0, result.output
    for start in ("parameters  ", "memory, estimated  ", "memory, measured  ", "time  "):
        assert f"\n{start}" in "\n" + result.output
    assert "per step of 4 images" in result.output
    assert {path.name for path in place.iterdir()} == before
    for more in (["--images", "8"], ["--dry-run", "--resume"]):
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exit_code == 2
        assert "Missing option '--out'" in result.output


def test_a_dry_run_fails_where_the_run_would(place: Path) -> None:
    options = ["--dry-run", "--set", "batch_size=4"]
    fails(train(place, *options, "--from", "missing"), "missing: expected a model file")
    fails(train(place, *options, "--resume"), "state.pt does not exist")
    assert not (place / "out").exists()


@pytest.mark.parametrize(("loss", "shows_rate"), [("vlb", True), ("simple", False)])
def test_a_loss_that_is_no_rate_is_not_shown_as_one(place: Path, loss: str, shows_rate: bool) -> None:
    result = train(place, "--images", "8", "--set", "batch_size=8", "--set", f"loss={loss}")
    assert result.exit_code == 0, result.output
    assert ("bpd=" in result.output) == shows_rate


def test_the_time_left_of_a_resumed_run_counts_its_earlier_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = TrainingConfig()
    processes = SimpleNamespace(is_first=True)
    batches = SimpleNamespace(drawn=0)
    trainer = cast(Trainer, SimpleNamespace(processes=processes, training=training, batches=batches))
    folder = RunFolder(tmp_path, trainer, name="toy", data="own pictures", precision="fp32", start=None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with folder.progress_bar() as report:
        report(Progress(1000, 3000.0, 0.75, loss=0.5, rate_bpd=0.5, learning_rate=1.0))
    assert re.search(r" 75%.* 50:0\d<16:4\d", capsys.readouterr().err)


def test_memory_is_checked_before_training(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcodec.training.memory.free_bytes", lambda device: 1000)
    fails(train(place, "--images", "8"), "GB are free on cpu: accumulate gradients over parts of a batch")
    assert not (place / "out").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="the system ends programs otherwise")
def test_a_run_that_is_asked_to_end_saves_its_state(place: Path) -> None:
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--model", str(place / "tiny.json")]
    arguments += ["--images", "10000000", "--save-every", "0.5s", "--out", str(place / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffcodec", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    state = place / "out" / "state.pt"
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    drawn = torch.load(state)["drawn"]
    assert drawn > 0
    assert f"Stopped after {drawn} images: repeat the command with --resume" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system kills otherwise")
def test_a_killed_process_is_resumed_to_the_same_weights(place: Path) -> None:
    """Killed without a warning, in the middle, somewhere between or while saving."""
    options = ["--images", "160", "--set", "batch_size=8", "--set", "learning_rate=1e-3"]
    assert train(place, *options, "--out", str(place / "unbroken")).exit_code == 0
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--model", str(place / "tiny.json")]
    state, log = place / "out" / "state.pt", place / "out" / "log.jsonl"
    # The number of threads decides the order of sums.
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "diffcodec", *arguments, *options, "--out", str(place / "out"), "--save-every", "0.01s"],
        env=os.environ | environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    saved = torch.load(state)["drawn"]
    assert 0 < saved < 160
    log.write_text(f'{{"images": {saved}}}\n{{"images": {saved + 1}}}\n{{"imag')
    (place / "out" / ".diffcodec-0123456789abcdef.tmp").write_bytes(b"half a state")

    fails(train(place, *options), "state.pt exists: pass --resume")
    result = train(place, *options, "--resume")
    assert result.exit_code == 0, result.output
    for name in ("model.safetensors", "state.pt", "log.jsonl"):
        assert (place / "out" / name).exists()
    assert len(list((place / "out").iterdir())) == 3
    logged = [json.loads(line)["images"] for line in log.read_text().splitlines()]
    assert logged == sorted(set(logged))
    assert (logged[0], logged[-1]) == (saved, 160)
    assert saved + 1 not in logged
    found, expected = (load_checkpoint(place / folder / "model.safetensors") for folder in ("out", "unbroken"))
    assert found.weights.keys() == expected.weights.keys()
    first, second = (torch.load(place / folder / "state.pt")["weights"] for folder in ("out", "unbroken"))
    # Kernels may be chosen by the alignment of memory, so the last bits may differ between processes; another order of
    # images, or an optimiser that starts anew, moves weights by about the learning rate, 1e-3.
    for name, value in second.items():
        assert torch.allclose(first[name], value, rtol=0, atol=2e-5), name


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
    result = train(place, "--images", "16", "--from", PHOTO_MODEL)
    fails(result, "do not fit the configuration of the model")
    assert not (place / "out").exists()
