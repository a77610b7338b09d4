"""The suite's own models: tiny networks of random weights that do nearly what the best linear denoiser does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from diffcodec import read_picture
from diffcodec.calibration.calibrate import calibrate
from diffcodec.config import ModelConfig, NetworkConfig, PlainUNetConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.model.checkpoint import Checkpoint, half_weights
from diffcodec.model.levels import LevelList
from diffcodec.model.model_file import ModelCard

DATA = Path(__file__).parents[1] / "benchmarks" / "data"
CROP = 48

LONG = (900, 700, 500, 350, 250, 150, 80, 40, 20, 10, 5, 2, 1)
SHORT = (600, 100, 10, 1)
"""Timesteps of the level lists: those planned for so simple a model would be too short to test anything."""

PLAIN = PlainUNetConfig(widths=(8, 16), blocks=(1, 1), embedding_channels=16)
GREY = UNetConfig(
    image_channels=1, channels=8, multipliers=(1,), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=16
)


def make_models() -> dict[str, Checkpoint]:
    """The models by name. The same machine and release of torch always make the same."""
    photographs = made("tiny-photo", PLAIN, half_resolution_below=-1.0)
    assert photographs.tables is not None
    assert photographs.tables.variances is not None
    variances = replace(photographs.tables.variances, unsent_share=26)
    return {
        "tiny-small": made("tiny-small", PLAIN),
        "tiny-photo": photographs.with_tables(replace(photographs.tables, tile_side=32, variances=variances)),
        "tiny-grey": uncalibrated("tiny-grey", GREY),
    }


def made(name: str, network: NetworkConfig, half_resolution_below: float | None = None) -> Checkpoint:
    """A model, calibrated on crops of a photograph."""
    pixels = read_picture(DATA / "chelsea-192.png").pixels
    crops = [pixels[y : y + CROP, x : x + CROP] for y in range(0, 144, CROP) for x in range(0, 192, CROP)]
    images = torch.from_numpy(np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)))
    random = uncalibrated(name, network, half_resolution_below)
    calibrated = calibrate(random, images, points=16, length_pictures=2)
    assert calibrated.tables is not None
    lists = tuple(LevelList(0, tuple(calibrated.tables.level(t) for t in timesteps), ()) for timesteps in (LONG, SHORT))
    return calibrated.with_tables(replace(calibrated.tables, lists=lists, default_steps=len(LONG)))


def uncalibrated(name: str, network: NetworkConfig, half_resolution_below: float | None = None) -> Checkpoint:
    """A model without tables of its own."""
    config = ModelConfig(
        network=network,
        schedule=ScheduleConfig(),
        prediction="v",
        data_std=0.5,
        half_resolution_below=half_resolution_below,
    )
    torch.manual_seed(0)
    denoiser = Denoiser(config)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    card = ModelCard(name, data="none: random weights", recipe="conformance/models.py")
    return Checkpoint(config, card, half_weights(dict(denoiser.named_parameters())))
