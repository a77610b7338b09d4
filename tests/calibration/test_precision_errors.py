"""The measured cost of bfloat16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcodec.calibration.precision_errors import measure_precision
from diffcodec.config import ModelConfig, PlainUNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.model.precision import LARGEST_ERROR
from tests.conftest import smooth_pixels

CONFIG = ModelConfig(
    PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16), prediction="v", data_std=0.5
)


def images() -> torch.Tensor:
    pictures = np.stack([smooth_pixels(16, 16, seed) for seed in range(3)]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(pictures))


def denoiser(config: ModelConfig = CONFIG) -> Denoiser:
    torch.manual_seed(0)
    made = Denoiser(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.05)
    return made


def test_rounding_is_small_beside_the_error_of_an_untrained_network() -> None:
    table = measure_precision(denoiser(), images(), points=5)
    assert table.log_snrs[0] == pytest.approx(CONFIG.log_snr_min)
    assert table.log_snrs[-1] == pytest.approx(CONFIG.log_snr_max)
    assert all(0 < error < LARGEST_ERROR for error in table.bf16_errors)


def test_a_network_that_rounds_badly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network = denoiser()
    expected = measure_precision(network, images(), points=3).bf16_errors
    exact = network.predict_x_0

    def rounded(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        x_0 = exact(x_t, log_snr)
        return x_0 + 0.1 * torch.randn_like(x_0) if torch.is_autocast_enabled("cpu") else x_0

    monkeypatch.setattr(network, "predict_x_0", rounded)
    found = measure_precision(network, images(), points=3)
    assert all(after > 3 * before for before, after in zip(expected, found.bf16_errors, strict=True))
    assert not found.allows_bf16(0.0)


def test_the_levels_of_halved_pictures_are_measured_as_the_codec_evaluates_them() -> None:
    table = measure_precision(denoiser(replace(CONFIG, half_resolution_below=0.0)), images(), points=3)
    assert len(table.bf16_errors) == 3
