"""The fitted tables: valid, repeatable, and close to what the residuals really cost."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.calibration.lossless_fit import FIT_TIMESTEPS, SHAPE_REACH, best_spacing, fit_lossless, shape_table
from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.lossless.context import passes_for
from diffcodec.lossless.residuals import SHAPE_STEPS, ResidualModel
from diffcodec.lossless.rounding import GUARD, UNIT, round_alike, round_values
from diffcodec.lossless.tables import SHAPE_TOTAL, LosslessTables
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

Images = NDArray[np.uint8]


class NoisyOracle(Denoiser):
    """Knows the pictures, and is off by noise of a given law."""

    def __init__(self, images: Images, std: float, tails: bool = False) -> None:
        super().__init__(ModelConfig(network=UNetConfig(channels=8, multipliers=(1,), blocks=1, embedding_channels=8)))
        self.images, self.std, self.tails = torch.from_numpy(images), std, tails
        self.generator = torch.Generator().manual_seed(0)

    def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        clean = self.images[: len(x_t)].float()
        error = self.std * torch.randn(clean.shape, generator=self.generator)
        if self.tails:
            error *= torch.where(torch.rand(clean.shape, generator=self.generator) < 0.1, 3.0, 1.0)
        return (clean + error) / 127.5 - 1


def images_of(count: int, side: int, seed: int = 0) -> Images:
    """Pictures away from black and white, (N, 3, H, W)."""
    pictures = np.stack([smooth_pixels(side, side, seed + k) for k in range(count)]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(np.clip(pictures, 40, 215))


def cost_bits(tables: LosslessTables, pixels: Images, estimates: NDArray[np.float64]) -> float:
    """Bits per subpixel of one picture, (C, H, W), given an estimate in grey levels; checks that it comes back."""
    fit = (tables.grey if len(pixels) == 1 else tables.colour)[-1]
    model, out = ResidualModel(tables.shape, fit), SymbolWriter()
    values = estimates.reshape(-1) * UNIT
    means = round_values(values, fit.spacing, out).reshape(pixels.shape)
    model.encode(pixels, means, out)
    reader = SymbolReader(out.getvalue())
    assert np.array_equal(round_alike(values, fit.spacing, reader).reshape(pixels.shape), means)
    assert np.array_equal(model.decode(means, reader), pixels)
    return out.information_bits / pixels.size


def discretised_entropy_bits(std: float) -> float:
    """Entropy of a rounded normal variable whose mean lies anywhere between two integers."""
    total = 0.0
    for offset in np.linspace(-0.5, 0.5, 41)[:-1]:
        edges = np.arange(-200, 202) - 0.5
        mass = np.diff(norm.cdf((edges - offset) / std))
        mass = mass[mass > 0]
        total -= float((mass * np.log2(mass)).sum()) / 40
    return total


@lru_cache(maxsize=4)
def fitted(std: float, tails: bool = False) -> tuple[LosslessTables, Images]:
    images = images_of(4, 24)
    return fit_lossless(NoisyOracle(images, std, tails), torch.from_numpy(images), timesteps=(1,)), images


def assert_valid(tables: LosslessTables, timesteps: tuple[int, ...]) -> None:
    """What the constructors check, and what only the codec would notice."""
    assert LosslessTables.from_dict(tables.to_dict()) == tables
    for fits, channels in ((tables.colour, 3), (tables.grey, 1)):
        assert len(fits) == len(timesteps)
        for fit in fits:
            passes = passes_for(channels)
            assert len(fit.passes) == len(passes)
            for step, pass_fit in zip(passes, fit.passes, strict=True):
                assert len(pass_fit.prediction) == len(step.neighbours)
                assert len(pass_fit.spread) == step.spread_features
                assert all(type(value) is int for value in (*pass_fit.prediction, *pass_fit.spread))
            assert all(type(value) is int for value in (*fit.thresholds, *fit.inverse_scales))


@pytest.mark.parametrize("std", [0.7, 6.0])
def test_normal_residuals_cost_their_entropy(std: float) -> None:
    """Within 3 %: rounding of the estimate, the guard, the tables and classes are all in it."""
    tables, _ = fitted(std)
    fresh = images_of(1, 32, seed=90)[0]
    estimate = fresh + np.random.default_rng(1).normal(0, std, fresh.shape)
    ideal_bits = discretised_entropy_bits(std)
    assert 0.97 * ideal_bits < cost_bits(tables, fresh, estimate) < 1.03 * ideal_bits + 0.04
    grey = fresh[:1]
    # The fit for grey pictures saw means of three estimates.
    assert cost_bits(tables, grey, grey + (estimate - fresh)[:1] / math.sqrt(3)) < ideal_bits


def test_heavy_tails_change_the_shape_and_cost_less_with_it() -> None:
    narrow, _ = fitted(1.5)
    tailed, _ = fitted(1.5, True)
    assert narrow.shape != tailed.shape
    rng = np.random.default_rng(2)
    fresh = images_of(1, 32, seed=91)[0]
    estimate = fresh + rng.normal(0, 1.5, fresh.shape) * np.where(rng.random(fresh.shape) < 0.1, 3, 1)
    assert cost_bits(tailed, fresh, estimate) < 0.99 * cost_bits(narrow, fresh, estimate)


def test_correlated_errors_are_predicted() -> None:
    """What an estimate gets wrong over a whole area is paid for once, not in every pixel."""
    images = images_of(4, 24)
    rng = np.random.default_rng(3)

    class Blurred(NoisyOracle):
        def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
            coarse = torch.randn((len(x_t), 3, 6, 6), generator=self.generator) * 4
            fine = torch.randn((len(x_t), 3, 24, 24), generator=self.generator)
            error = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear") + fine
            return (self.images[: len(x_t)].float() + error) / 127.5 - 1

    tables = fit_lossless(Blurred(images, 0), torch.from_numpy(images), timesteps=(1,))
    fresh = images_of(1, 24, seed=92)[0]
    coarse = torch.from_numpy(rng.normal(0, 4, (1, 3, 6, 6)))
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")[0].numpy()
    estimate = fresh + smooth + rng.normal(0, 1, fresh.shape)
    total_std = math.sqrt(float(smooth.var()) + 1)
    assert cost_bits(tables, fresh, estimate) < discretised_entropy_bits(total_std) - 0.25


def test_errors_that_grow_with_the_gradient_are_known() -> None:
    """Half of the picture is flat, half is striped, and there the estimates are bad."""
    images = np.full((3, 3, 24, 24), 100, np.uint8)
    images[:, :, :, 12::2] = 160
    weights = np.where(np.arange(24) < 12, 0.4, 12.0)

    class Edgy(NoisyOracle):
        def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
            error = torch.randn(self.images.shape, generator=self.generator) * torch.from_numpy(weights).float()
            return (self.images.float() + error) / 127.5 - 1

    tables = fit_lossless(Edgy(images, 0), torch.from_numpy(images), timesteps=(1,))
    estimate = images[0] + np.random.default_rng(5).normal(0, 1, (3, 24, 24)) * weights
    ideal_bits = float(np.mean([discretised_entropy_bits(std) for std in weights]))
    flat_bits = discretised_entropy_bits(math.sqrt(float((weights**2).mean())))
    assert cost_bits(tables, images[0], estimate) < ideal_bits + 0.4 * (flat_bits - ideal_bits)


def test_tables_of_the_tiny_model_are_valid_and_repeatable(tiny_checkpoint: Checkpoint) -> None:
    assert tiny_checkpoint.tables is not None
    assert tiny_checkpoint.tables.lossless is not None
    assert_valid(tiny_checkpoint.tables.lossless, FIT_TIMESTEPS)
    images = torch.from_numpy(images_of(2, 8))
    fits = [fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(1, 10)) for _ in range(2)]
    assert fits[0] == fits[1]
    assert_valid(fits[0], (1, 10))
    assert fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(10, 1)) == fits[0]
    assert fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(1, 10), seed=1) != fits[0]


@pytest.mark.parametrize("value", [0, 128])
def test_flat_images_make_valid_tables(tiny_checkpoint: Checkpoint, value: int) -> None:
    images = torch.full((2, 3, 8, 8), value, dtype=torch.uint8)
    assert_valid(fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(1,)), (1,))


def test_one_tiny_image_makes_valid_tables(tiny_checkpoint: Checkpoint) -> None:
    side = tiny_checkpoint.config.network.stride
    images = torch.from_numpy(images_of(1, side))
    tables = fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(1,))
    assert_valid(tables, (1,))


def test_noise_makes_valid_tables(tiny_checkpoint: Checkpoint) -> None:
    noise = np.random.default_rng(1).choice([0, 255], (3, 3, 12, 12)).astype(np.uint8)
    assert_valid(fit_lossless(tiny_checkpoint.denoiser(), torch.from_numpy(noise), timesteps=(1, 40)), (1, 40))


def test_a_network_that_is_never_wrong_makes_valid_tables() -> None:
    """Black pictures, and estimates that are clipped to black."""
    images = np.zeros((2, 3, 8, 8), np.uint8)
    assert_valid(fit_lossless(NoisyOracle(images, 0.0), torch.from_numpy(images), timesteps=(1,)), (1,))


def test_progress_is_reported_after_each_fit(tiny_checkpoint: Checkpoint) -> None:
    calls: list[None] = []
    images = torch.from_numpy(images_of(2, 8))
    fit_lossless(tiny_checkpoint.denoiser(), images, timesteps=(1,), progress=lambda: calls.append(None))
    assert len(calls) == 2


@pytest.mark.parametrize("std", [0.05, 0.3, 0.9, 1.0, 2.5, 7.0, 40.0])
def test_spacing_is_the_cheapest_power_of_two(std: float) -> None:
    chosen = best_spacing(std)
    assert chosen in {1 << power for power in range(6, 13)}
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 255 * UNIT, 40 * 128)

    def measured_bits(spacing: int) -> float:
        """Patterns, and what a rounding error adds to the cost of a normal residual."""
        out = SymbolWriter()
        errors = (round_values(values, spacing, out) - values) / UNIT
        return out.information_bits / len(values) + float((errors**2).mean()) / (2 * std**2 * math.log(2))

    costs = {spacing: measured_bits(spacing) for spacing in (chosen // 2, chosen, chosen * 2) if spacing >= 64}
    assert costs[chosen] <= 1.02 * min(costs.values()) + 0.001
    assert best_spacing(std) <= best_spacing(2 * std)
    assert chosen > 2 * GUARD


@pytest.mark.parametrize("tail", [(0.0, 1.0), (0.1, 2.0), (0.5, 3.0)])
def test_shape_is_the_cumulative_distribution(tail: tuple[float, float]) -> None:
    shape = np.array(shape_table(tail))
    assert len(shape) == 2 * SHAPE_REACH * SHAPE_STEPS + 1
    assert (shape[0], shape[-1]) == (0, SHAPE_TOTAL)
    assert (np.diff(shape) >= 0).all()
    # Symmetrical, with the middle at the middle.
    assert np.abs(shape + shape[::-1] - SHAPE_TOTAL).max() <= 1 + 2 * tail[0] * 2**24 * norm.sf(SHAPE_REACH / tail[1])
    points = np.arange(len(shape)) / SHAPE_STEPS - SHAPE_REACH
    expected = (1 - tail[0]) * norm.cdf(points) + tail[0] * norm.cdf(points / tail[1])
    assert np.abs(shape[1:-1] / SHAPE_TOTAL - expected[1:-1]).max() < 1e-6
