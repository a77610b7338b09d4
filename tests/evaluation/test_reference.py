"""The reference rate and the channel without a code."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.channel import Groups, StreamKey
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder, last
from diffcodec.coding.report import Stopwatch
from diffcodec.evaluation.reference import measure_reference
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.levels import LOG_SNR_SCALE, MSE_SCALE, LevelList
from tests.conftest import smooth_pixels


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    pixels = np.stack([smooth_pixels(12, 12, seed) for seed in range(6)]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def test_rate_is_the_integral_of_the_error_and_falls_with_more_levels(
    tiny_checkpoint: Checkpoint, images: torch.Tensor
) -> None:
    denoiser = tiny_checkpoint.denoiser()
    coarse, fine = (
        measure_reference(denoiser, images, [0.0, 5.0], levels=levels).bits.mean(axis=1) for levels in (40, 200)
    )
    # A left Riemann sum of a falling curve lies above the integral.
    assert np.all(coarse > fine)
    assert np.all(fine > 0.8 * coarse)
    assert fine[1] > fine[0]


def test_distortion_falls_with_the_noise(tiny_checkpoint: Checkpoint, images: torch.Tensor) -> None:
    reference = measure_reference(tiny_checkpoint.denoiser(), images, [-2.0, 2.0, 6.0, 9.0], levels=20, batch_size=4)
    assert reference.bits.shape == reference.mse.shape == (4, 6)
    assert np.all(np.diff(reference.mse.mean(axis=1)) < 0)


def test_codec_at_its_own_levels_pays_no_less_than_the_reference(
    tiny_checkpoint: Checkpoint, images: torch.Tensor
) -> None:
    """With equal variances, those of the reference; with bands, so poor a model may pay less."""
    tables = tiny_checkpoint.tables
    assert tables is not None
    levels = tables.lists[tables.list_for(1)].levels
    equal = LevelList(0, levels, (MSE_SCALE // 100,) * len(levels))
    tables = replace(tables, variances=None, lists=(equal,), default_steps=0)
    codec = DiffusionCodec(tiny_checkpoint.with_tables(tables))
    pictures = [Picture(image.permute(1, 2, 0).numpy(), None) for image in images]
    end = codec.tables.level(30)
    reference = measure_reference(codec.denoiser, images, [end.log_snr / LOG_SNR_SCALE], levels=200).bits.mean()
    encoder = Encoder(codec.context_for(pictures[0], TrueSampling()), Stopwatch())
    payloads = last(encoder.send(pictures, end)).payloads
    ideal = np.mean([payload.ideal_bits for payload in payloads])
    delivered = np.mean([payload.delivered_bits for payload in payloads])
    assert reference < ideal < 2 * reference
    assert delivered == pytest.approx(ideal, rel=0.05)
    assert all(payload.path_bits == 0 for payload in payloads)


def test_true_samples_have_the_target_mean_and_std() -> None:
    mean = np.full((4, 5000), 0.7, np.float32)
    groups = Groups(np.zeros(5000, np.int64), np.full((4, 1), 0.5), np.ones((4, 1), np.int64))
    y = TrueSampling(seed=3).encode(mean, groups, [0] * 4, [StreamKey(0, 0)] * 4, [SymbolWriter()] * 4)
    assert y.mean() == pytest.approx(0.7, abs=5 * 0.5 / math.sqrt(20_000))
    assert y.std() == pytest.approx(0.5, rel=0.03)
    with pytest.raises(NotImplementedError):
        TrueSampling().decode(3, None, [0], [StreamKey(0, 0)], [SymbolReader(b"")])
