"""Models without tables: the same integers everywhere, and a codec that runs with them."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcodec.calibration.level_lists import make_level
from diffcodec.cli import main
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import CheckpointError, ModelMismatchError
from diffcodec.images import Picture
from diffcodec.model.default_tables import GeneralTables, choose_levels, default_tables, exact_levels
from diffcodec.model.levels import LOG_SNR_SCALE, MSE_SCALE, Level
from diffcodec.model.loading import load_checkpoint
from tests.conftest import make_tiny_checkpoint, smooth_pixels

PAPER = ScheduleConfig()
SCHEDULES = [PAPER, ScheduleConfig(kind="scaled_linear"), ScheduleConfig(kind="cosine"), ScheduleConfig(50, 1e-3, 0.2)]


@pytest.fixture(scope="module")
def bare() -> DiffusionCodec:
    return DiffusionCodec(make_tiny_checkpoint())


# --------------------------------------------------------------------------------------------- tables


def test_the_tables_are_what_they_have_always_been() -> None:
    """Files of models without calibration are decoded with them: they must not change, nor differ by machine."""
    found = {}
    for schedule in SCHEDULES:
        tables = default_tables(schedule).to_dict()
        # These came later, and are in no fingerprint while they are empty.
        assert tables.pop("tile_side") == 0
        assert not tables.pop("latent_start")
        text = json.dumps(tables, sort_keys=True)
        found[schedule.kind, schedule.steps] = hashlib.sha256(text.encode()).hexdigest()[:8]
    assert found == {
        ("linear", 1000): "d08d0720",
        ("scaled_linear", 1000): "3a9afd5c",
        ("cosine", 1000): "de6be06a",
        ("linear", 50): "6b63df90",
    }


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_levels_are_the_timesteps(schedule: ScheduleConfig) -> None:
    levels = exact_levels(schedule)
    assert len(levels) == schedule.steps
    for level, log_snr in zip(levels, NoiseSchedule(schedule).log_snr[1:], strict=True):
        expected = make_level(float(log_snr))
        assert abs(level.log_snr - expected.log_snr) <= 1
        assert level.snr == pytest.approx(expected.snr, rel=2 / LOG_SNR_SCALE, abs=1)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_lists_follow_the_plan_as_far_as_the_timesteps_allow(schedule: ScheduleConfig) -> None:
    tables, general = default_tables(schedule), GeneralTables.shipped()
    planned = [plan for plan in general.lists if len(plan.log_snr) <= schedule.steps]
    assert len(tables.lists) == len(planned)
    for found, plan in zip(tables.lists, planned, strict=True):
        assert len(found.levels) == len(plan.log_snr)
        assert found.levels[-1] == tables.level(1)
        assert set(found.levels) <= set(tables.timesteps)
        if schedule is PAPER:
            assert [level.log_snr for level in found.levels] == list(plan.log_snr)
    assert tables.default_steps == 32
    assert tables.variances is None
    assert tables.lossless is None


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 16, 31])
def test_short_schedules_have_shorter_lists(steps: int) -> None:
    tables = default_tables(ScheduleConfig(steps, 0.01, 0.3))
    longest = max(len(levels.levels) for levels in tables.lists)
    assert longest == tables.default_steps == max((k for k in (8, 16) if k <= steps), default=steps)
    assert tables.lists[tables.list_for(1)].levels[-1] == tables.level(1)


@settings(max_examples=200)
@given(st.data())
def test_levels_are_chosen_once_each_and_near(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-700_000, 700_000), min_size=1, max_size=40, unique=True))
    timesteps = tuple(Level(value, value + 1_000_000) for value in sorted(values, reverse=True))
    count = data.draw(st.integers(1, len(timesteps)))
    wanted = sorted(data.draw(st.lists(st.integers(-800_000, 800_000), min_size=count, max_size=count, unique=True)))
    chosen = choose_levels(tuple(wanted), timesteps)
    assert len(chosen) == count
    assert chosen[-1] == timesteps[0]
    assert all(a.log_snr < b.log_snr for a, b in pairwise(chosen))
    nearest = [min(timesteps, key=lambda level: abs(level.log_snr - value)) for value in wanted[:-1]]
    if len({*nearest, timesteps[0]}) == count:
        for found, best, value in zip(chosen, nearest, wanted, strict=False):
            assert abs(found.log_snr - value) == abs(best.log_snr - value)


def test_errors_are_interpolated() -> None:
    general = GeneralTables.shipped()
    for low, high in pairwise(range(0, len(general.log_snr), 19)):
        for place in (low, high):
            assert general.mse_at(Level(general.log_snr[place], 1)) == general.mse[place]
        between = general.mse_at(Level((general.log_snr[low] + general.log_snr[low + 1]) // 2, 1))
        assert general.mse[low + 1] <= between <= general.mse[low]
    assert general.mse_at(Level(-(1 << 21), 1)) == general.mse[0]
    assert general.mse_at(Level(1 << 21, 1)) == general.mse[-1]
    assert MSE_SCALE / 10 < general.start_mse < MSE_SCALE / 2
    assert general.mse[0] == pytest.approx(general.start_mse, rel=0.1)


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ((0.1, *(0.999999,) * 6), "timestep 6 of the model's schedule is pure noise"),
        ((0.5, 1e-9), "the noise levels of the model's schedule are too close together"),
    ],
)
def test_schedules_without_levels_of_their_own_are_refused(betas: tuple[float, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        default_tables(ScheduleConfig(len(betas), kind="betas", betas=betas))


# ---------------------------------------------------------------------------------------------- codec


@pytest.mark.parametrize("shape", [(12, 10, 3), (1, 1, 3), (7, 9)])
def test_files_return(shape: tuple[int, ...], bare: DiffusionCodec) -> None:
    pixels = smooth_pixels(*shape[:2])
    picture = Picture(pixels if len(shape) == 3 else pixels[:, :, 0], None)
    assert not bare.is_calibrated
    for timestep in (300, 1):
        stream = bare.compress(picture, timestep=timestep)
        restored = bare.decompress(stream)
        assert restored.pixels.shape == shape
        assert 10 * np.log10(255**2 / np.mean((restored.pixels - picture.pixels.astype(float)) ** 2)) == pytest.approx(
            stream.report.psnr_db
        )
    assert stream.report.rmse < 4


def test_a_calibrated_model_is_another_one(bare: DiffusionCodec, codec: DiffusionCodec, picture: Picture) -> None:
    assert codec.is_calibrated
    assert bare.fingerprint != codec.fingerprint
    stream = bare.compress(picture, timestep=300)
    with pytest.raises(ModelMismatchError, match="load the model that made it") as caught:
        DiffusionCodec.for_stream(stream.data)
    assert caught.value.needed == bare.fingerprint.hex()
    assert caught.value.parameters == ("model",)
    with pytest.raises(ModelMismatchError, match=bare.fingerprint.hex()):
        codec.decompress(stream)


def test_there_are_no_lossless_files_without_calibration(bare: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(CheckpointError, match=r"no tables for lossless files .*: calibrate it, or use another model"):
        bare.compress(picture, timestep=0)


def test_the_command_line_says_so_in_one_line(photo: Path, tmp_path: Path) -> None:
    model, back = tmp_path / "bare.safetensors", tmp_path / "back.png"
    model.write_bytes(make_tiny_checkpoint().to_bytes())
    run = CliRunner().invoke(main, ["compress", str(photo), "-t", "300", "--model", str(model)])
    assert run.exit_code == 0
    assert run.stderr == (
        "Warning: tiny-v0 is not calibrated: it runs with equal variances, and files are larger than "
        "necessary; run `diffcodec calibrate` on it\n"
    )
    run = CliRunner().invoke(
        main, ["decompress", str(photo.with_suffix(".dfc")), "-o", str(back), "--model", str(model)]
    )
    assert (run.exit_code, run.stderr) == (0, "")
    with Image.open(back) as image:
        assert image.size == (14, 11)
    run = CliRunner().invoke(main, ["models", str(model), "--json"])
    assert json.loads(run.stdout)["fingerprint"] == load_checkpoint(model).ready().fingerprint.hex()
