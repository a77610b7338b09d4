"""Latent files on other machines, in other precisions, cut: what is parsed never changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import TruncatedStreamError
from diffcodec.images import Picture
from tests.conftest import smooth_pixels
from tests.other_machines import threads


@contextmanager
def perturbed(codec: DiffusionCodec, std: float) -> Iterator[None]:
    """Inside, the network's estimates are off by N(0, std^2) in x_0, as on another machine, only much more."""
    exact = codec.denoiser.predict_x_0

    def predict_x_0(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        x_0 = exact(x_t, log_snr)
        return x_0 + std * torch.randn_like(x_0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec.denoiser, "predict_x_0", predict_x_0)
        yield


@pytest.mark.parametrize("std", [1e-5, 0.1])
@pytest.mark.parametrize("timestep", [600, 100, 10])
def test_perturbed_decoders_read_every_symbol(std: float, timestep: int, latent: DiffusionCodec) -> None:
    torch.manual_seed(1)
    stream = latent.compress(Picture(smooth_pixels(36, 48)), timestep=timestep)
    exact = latent.decompress(stream, reconstruction="mean")
    with perturbed(latent, std):
        restored = latent.decompress(stream, reconstruction="mean")
        parts = list(latent.progressive(stream, reconstruction="mean"))
    assert restored.payload_bits == pytest.approx(stream.report.side_bits + stream.report.path_bits)
    assert [part.payload_bits for part in parts][-1] == exact.payload_bits
    if std < 1e-3:
        assert np.abs(restored.pixels.astype(int) - exact.pixels).max() <= 2


def test_batches_and_threads_read_the_same_symbols(latent: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(24, 28, seed)) for seed in range(3)]
    streams = latent.compress_batch(pictures, timestep=200)
    together = latent.decompress_batch(streams, reconstruction="mean")
    with threads(2):
        alone = [latent.decompress(stream, reconstruction="mean") for stream in streams]
    for one, all_, stream in zip(alone, together, streams, strict=True):
        assert one.payload_bits == all_.payload_bits
        assert one.payload_bits == pytest.approx(stream.report.side_bits + stream.report.path_bits)
        assert np.abs(one.pixels.astype(int) - all_.pixels).max() <= 2


def test_bf16_decoders_read_what_fp32_sent(pipeline: Any, latent: DiffusionCodec) -> None:
    half = DiffusionCodec.from_diffusers(pipeline, precision="bf16")
    stream = latent.compress(Picture(smooth_pixels(32, 32)), timestep=200)
    assert half.decompress(stream, reconstruction="mean").payload_bits == pytest.approx(
        stream.report.side_bits + stream.report.path_bits
    )


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_cut_files_restore_their_complete_steps(cut: float, latent: DiffusionCodec) -> None:
    stream = latent.compress(Picture(smooth_pixels(64, 64)), timestep=50)
    data = stream.data[: int(cut * len(stream.data))]
    with pytest.raises(TruncatedStreamError):
        latent.decompress(data)
    restored = latent.decompress(data, partial=True)
    assert 0 <= restored.step < restored.steps
