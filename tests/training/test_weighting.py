"""Losses that are balanced over the noise levels."""

import torch

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.training.config import TrainingConfig
from diffcodec.training.losses import draw_log_snr
from diffcodec.training.weighting import LevelBalance


def test_after_a_while_every_level_counts_alike() -> None:
    balance = LevelBalance(-3.0, 9.0)
    log_snr = torch.linspace(-2.9, 8.9, 240)
    losses = torch.exp(-0.5 * log_snr)
    for _ in range(200):
        weights = balance.weights(losses, log_snr)
    weighted = weights * losses
    inside = weighted[30:-30]  # the outermost means are smoothed with fewer neighbours
    assert inside.min() > 0.7
    assert inside.max() < 1.4


def test_the_first_losses_have_weights_without_any_past() -> None:
    weights = LevelBalance(-3.0, 9.0).weights(torch.full((4,), 0.25), torch.tensor([-3.0, 0.0, 3.0, 9.0]))
    assert torch.allclose(weights, torch.full((4,), 4.0), rtol=0.01)


def test_one_failed_image_counts_sixteen_times_and_leaves_the_level_its_weight() -> None:
    balance = LevelBalance(-3.0, 9.0)
    level, usual = torch.zeros(1), torch.full((1,), 0.2)
    for _ in range(50):
        before = balance.weights(usual, level)
    failed = torch.full((1,), 1e5)
    assert 8 < balance.weights(failed, level) * failed < 16.01
    assert balance.weights(usual, level) > 0.5 * before


def test_a_share_of_the_images_is_drawn_below_an_edge() -> None:
    denoiser = Denoiser(ModelConfig(UNetConfig(channels=8, multipliers=(1,), blocks=1)))
    config = TrainingConfig(coarse_share=0.75, coarse_below=6.5)
    log_snr, weight = draw_log_snr(config, 400, denoiser)
    low, high = denoiser.config.network_log_snr_min, denoiser.config.log_snr_max
    assert low <= log_snr.min() <= log_snr.max() <= high
    assert int((log_snr < 6.5).sum()) in (299, 300, 301)
    assert torch.all(weight == 1)
    # Evenly within either part.
    below = log_snr[log_snr < 6.5].sort().values
    assert torch.allclose(below.diff(), torch.full((len(below) - 1,), (6.5 - low) / 300), atol=1e-3)
