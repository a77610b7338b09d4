"""Calibration as a whole: its tables are those of the pictures, and what cannot be calibrated is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffcodec.calibration.calibrate import calibrate
from diffcodec.calibration.level_lists import STEPS, make_level
from diffcodec.calibration.samples import mean_colour
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.model_file import ModelCard
from tests.calibration.measured import images_of
from tests.conftest import make_tiny_checkpoint, smooth_pixels

SCHEDULE = NoiseSchedule(ScheduleConfig())


def test_calibrated_tables_are_those_of_the_pictures(tiny_checkpoint: Checkpoint) -> None:
    tables = tiny_checkpoint.tables
    assert tables is not None
    assert tables.variances is not None
    assert tables.start == mean_colour(images_of(16, 8))
    octaves = np.array(tables.variances.octaves)
    assert np.all(np.diff(octaves, axis=0) <= 0)
    assert [level.log_snr for level in tables.timesteps] == [
        make_level(float(value)).log_snr for value in SCHEDULE.log_snr[1:]
    ]


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [(0, {}, "needs pictures"), (1, {"default_steps": 5}, "steps: expected one of 4, 8, 12, 16, 24, 32, 64, found 5")],
)
def test_calibration_checks_what_it_is_given(count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calibrate(make_tiny_checkpoint(), images_of(8, 1)[:count], **options)


def checkpoint_of(schedule: ScheduleConfig, **network: Any) -> Checkpoint:
    """Untrained, with the timestep as input, like imported models."""
    config = ModelConfig(
        UNetConfig(channels=8, multipliers=(1,), blocks=1, conditioning="timestep", embedding_channels=8, **network),
        schedule,
    )
    return Checkpoint(config, ModelCard("untrained"), dict(Denoiser(config).named_parameters()))


@pytest.mark.parametrize(
    ("steps", "default_steps", "lengths"),
    [pytest.param(100, 16, STEPS, marks=pytest.mark.slow), (20, 8, (4, 8, 12, 16, 19))],
)
def test_short_schedules_are_calibrated_too(steps: int, default_steps: int, lengths: tuple[int, ...]) -> None:
    checkpoint = checkpoint_of(ScheduleConfig(steps, 0.1 / steps, 20 / steps if steps > 20 else 0.5))
    calibrated = calibrate(
        checkpoint, images_of(8, 2), default_steps=default_steps, points=8, length_pictures=1, effort=8
    )
    assert calibrated.tables is not None
    assert tuple(len(each.levels) for each in calibrated.tables.lists) == 2 * lengths
    picture = Picture(smooth_pixels(8, 8), None)
    codec = DiffusionCodec(calibrated)
    for timestep in (0, 1, steps):
        restored = codec.decompress(codec.compress(picture, timestep=timestep, effort=8))
        assert restored.pixels.shape == picture.pixels.shape
        assert timestep or np.array_equal(restored.pixels, picture.pixels)


def test_schedules_that_are_too_short_for_a_list_say_how_long_theirs_are() -> None:
    with pytest.raises(ConfigError, match="steps: the model's schedule allows lists of 4, 8, 9 levels, found 16"):
        calibrate(checkpoint_of(ScheduleConfig(10, 0.01, 0.5)), images_of(8, 1), points=4)


def test_only_models_of_colour_or_grey_pictures_are_calibrated() -> None:
    with pytest.raises(CheckpointError, match=r"untrained: expected a model with 3 .* or 1 .*, found 2"):
        calibrate(checkpoint_of(ScheduleConfig(), image_channels=2), images_of(8, 1))


def test_images_for_calibration_have_the_channels_of_the_network_and_the_type_of_pixels() -> None:
    checkpoint, images = checkpoint_of(ScheduleConfig()), images_of(8, 2)
    for wrong, found in ((images[:, :1], r"uint8 \(2, 1, 8, 8\)"), (images / 255, "float32"), (images[0], "3, 8, 8")):
        with pytest.raises(ConfigError, match=rf"^images: expected torch.uint8 \(N, 3, H, W\), found .*{found}"):
            calibrate(checkpoint, wrong)
