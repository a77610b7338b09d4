"""The measured cost of bfloat16, and of narrow margins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcodec.calibration.evaluation_profile import LARGEST_SEAM, measure_margin, measure_profile
from diffcodec.config import ModelConfig, PlainUNetConfig, UNetConfig
from diffcodec.diffusion import windows
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.units import to_unit
from diffcodec.errors import ConfigError
from diffcodec.model.evaluation_profile import LARGEST_ERROR, LEAST_MIRROR_GAIN, EvaluationProfile
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
    table = measure_profile(denoiser(), to_unit(images()), points=5)
    assert table.log_snrs[0] == pytest.approx(CONFIG.log_snr_min)
    assert table.log_snrs[-1] == pytest.approx(CONFIG.log_snr_max)
    assert all(0 < error < LARGEST_ERROR for error in table.bf16_errors)


def test_a_network_that_rounds_badly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network = denoiser()
    expected = measure_profile(network, to_unit(images()), points=3).bf16_errors
    exact = network.predict_x_0

    def rounded(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        x_0 = exact(x_t, log_snr)
        return x_0 + 0.1 * torch.randn_like(x_0) if torch.is_autocast_enabled("cpu") else x_0

    monkeypatch.setattr(network, "predict_x_0", rounded)
    found = measure_profile(network, to_unit(images()), points=3)
    assert all(after > 3 * before for before, after in zip(expected, found.bf16_errors, strict=True))
    assert not found.allows_bf16(0.0)


def test_the_levels_of_halved_pictures_are_measured_as_the_codec_evaluates_them() -> None:
    table = measure_profile(denoiser(replace(CONFIG, half_resolution_below=0.0)), to_unit(images()), points=3)
    assert len(table.bf16_errors) == 3


def wide_images() -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(smooth_pixels(16, 96).transpose(2, 0, 1)[None]))


def test_the_margin_is_as_far_as_the_network_sees() -> None:
    """Weights that see no neighbours need no margin; those that see far ones need more."""
    network = denoiser()
    radius = CONFIG.network.receptive_radius
    found = measure_margin(network, to_unit(wide_images()))
    assert found is not None
    assert 0 < found <= radius
    for weights in network.parameters():
        if weights.ndim == 4 and weights.shape[2] == 3:
            only_centre = torch.zeros(3, 3)
            only_centre[1, 1] = 1
            weights.mul_(only_centre)
    assert measure_margin(network, to_unit(wide_images())) == 0
    assert LARGEST_SEAM < 0.02


def test_small_pictures_do_not_show_a_margin() -> None:
    assert measure_margin(denoiser(), to_unit(images())) is None
    blind = replace(CONFIG, network=UNetConfig(channels=32, multipliers=(1,), blocks=1, norm="group", norm_groups=8))
    assert measure_margin(denoiser(blind), to_unit(wide_images())) is None


def test_windows_are_read_with_the_measured_margin() -> None:
    network = denoiser()
    assert windows.margin_of(network) == CONFIG.network.receptive_radius
    network.window_margin = 3
    assert windows.margin_of(network) == 4
    network.window_margin = 1000
    assert windows.margin_of(network) == CONFIG.network.receptive_radius


def test_the_gain_from_mirrored_inputs_is_measured() -> None:
    """Errors that have nothing to do with each other in mirror images average out: to a quarter."""
    network, x_0 = denoiser(), to_unit(images())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "predict_x_0", lambda x_t, log_snr: 0.1 * torch.randn_like(x_t))
        random = measure_profile(network, torch.zeros_like(x_0), points=3)
    assert all(gain == pytest.approx(10 * math.log10(4), abs=0.5) for gain in random.mirror_gains)
    assert random.gains_from_mirroring(0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "predict_x_0", lambda x_t, log_snr: torch.zeros_like(x_t))
        symmetric = measure_profile(network, x_0, points=3)
    assert symmetric.mirror_gains == pytest.approx((0, 0, 0), abs=1e-6)
    assert not symmetric.gains_from_mirroring(0.0)


def test_a_gain_counts_between_levels_that_both_have_it() -> None:
    profile = EvaluationProfile((0.0, 2.0, 4.0), (0.0, 0.0, 0.0), mirror_gains=(0.1, 0.1, LEAST_MIRROR_GAIN / 2))
    assert profile.gains_from_mirroring(1.0)
    assert not profile.gains_from_mirroring(3.0)
    assert not profile.gains_from_mirroring(5.0)
    assert not replace(profile, mirror_gains=()).gains_from_mirroring(1.0)
    with pytest.raises(ConfigError, match="expected as many gains as levels, found 3 and 2"):
        replace(profile, mirror_gains=(0.1, 0.1))
