"""The speed benchmark as it is run, on tiny pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import speed
import torch
from click.testing import CliRunner

from diffcodec.codec import DiffusionCodec
from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL


@pytest.fixture(scope="module")
def codec() -> DiffusionCodec:
    return DiffusionCodec.from_pretrained()


def run(out: Path, *options: str) -> tuple[dict[str, Any], str]:
    done = CliRunner().invoke(speed.main, [*options, "--threads", "1", "--rounds", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result, done.output


@pytest.mark.slow
def test_a_run_measures_batches_and_sizes(tmp_path: Path) -> None:
    result, output = run(tmp_path / "speed.json", "--sizes", "20x12", "--timesteps", "400", "--batches", "1,2")
    assert [row["images"] for row in result["batches"]] == [1, 2]
    (size,) = result["sizes"]
    assert (size["width"], size["height"], size["model"], size["timestep"]) == (20, 12, "cifar10-small-v3", 400)
    for row in [*result["batches"], size]:
        for part in (row["encode"], row["decode"]):
            assert part["network_s"] > 0 < part["coding_s"]
            assert part["network_s"] + part["coding_s"] <= 1.01 * part["total_s"]
    assert all(row["network_alone"]["evaluations"] == row["encode"]["steps"] for row in result["batches"])
    # A process that holds torch and the model, and not the parent's memory.
    assert 50 << 20 < size["start_bytes"] <= size["encode_peak_bytes"] <= size["peak_bytes"] < 8 << 30
    assert all(title in output for title in ("network alone", "coding/network", "images/s", "MiB in all"))


def test_models_are_compared_in_turns(tmp_path: Path) -> None:
    result, output = run(tmp_path / "speed.json", "--sizes", "12x8", "--timesteps", "400,300", "--compare", PHOTO_MODEL)
    found = [(row["model"], row["timestep"]) for row in result["comparison"]]
    assert found == [(name, t) for t in (400, 300) for name in (DEFAULT_MODEL, PHOTO_MODEL)]
    assert all(name in output for name, _ in found)
    assert not result["batches"]
    assert not result["sizes"]


@pytest.mark.parametrize("model", [DEFAULT_MODEL, PHOTO_MODEL])
def test_the_network_alone_is_evaluated_as_often_as_by_the_codec(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, calls = DiffusionCodec.from_pretrained(model), list[float]()
    original = codec.denoiser.predict_x_0

    def counted(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        calls.append(float(log_snr[0]))
        return original(x_t, log_snr)

    monkeypatch.setattr(codec.denoiser, "predict_x_0", counted)
    pictures = speed.small_pictures(1)
    codec.compress_batch(pictures, timestep=250)
    by_codec = calls.copy()
    calls.clear()
    assert speed.network_alone(codec, pictures, 250)["evaluations"] == len(by_codec)
    assert calls == pytest.approx(by_codec)


def test_large_pictures_take_fewer_steps(codec: DiffusionCodec) -> None:
    assert speed.affordable_timestep(codec, (32, 32), 1, 1 << 20) == 1
    levels = codec.tables.lists[codec.tables.list_for(1 << 20)]
    timestep = speed.affordable_timestep(codec, (1024, 1024), 1, 5 << 20)
    assert len(levels.steps_to(codec.tables.level(timestep))) <= 5
    assert len(levels.steps_to(codec.tables.level(timestep - 1))) > 5
    assert speed.affordable_timestep(codec, (1024, 1024), 1, 1) == len(codec.tables.timesteps)


def test_pictures_have_the_size_asked_for() -> None:
    for width, height in ((8, 5), (192, 192), (500, 7), (300, 450)):
        assert speed.picture_of(width, height).pixels.shape == (height, width, 3)
    assert (speed.picture_of(8, 5).pixels == speed.picture_of(300, 450).pixels[:5, :8]).all()
    assert len(speed.small_pictures(103)) == 103


@pytest.mark.parametrize("sizes", ["7", "axb", "0x8"])
def test_a_size_that_is_none_is_refused(sizes: str) -> None:
    refused = CliRunner().invoke(speed.main, ["--sizes", sizes])
    assert refused.exit_code == 2
    assert repr(sizes) in refused.output
