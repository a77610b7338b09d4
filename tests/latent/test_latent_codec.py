"""Latent diffusion models of diffusers as codecs: tiny pipelines with random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import FluxPipeline

from diffcodec.codec import DiffusionCodec
from diffcodec.diffusion.denoiser import alpha_sigma
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.images import Picture
from tests.conftest import smooth_pixels
from tests.latent import pipelines
from tests.latent.pipelines import MAKERS

FLOWS = ["sd3", "flux"]
UNETS = [name for name in MAKERS if name not in FLOWS]


@pytest.mark.parametrize("pipeline", UNETS, indirect=True)
@pytest.mark.parametrize("timestep", [1, 2, 10, 50, 100, 200, 400, 600, 900, 999])
def test_the_estimate_is_that_of_the_scheduler(timestep: int, pipeline: Any, latent: DiffusionCodec) -> None:
    torch.manual_seed(timestep)
    x_t, log_snr = torch.randn(1, 4, 16, 16), torch.tensor([latent.denoiser.schedule.level(timestep).log_snr])
    with torch.no_grad():
        prediction = latent.denoiser.network(x_t, torch.tensor([timestep - 1.0]))
        ours = latent.denoiser.predict_x_0(x_t, log_snr)
    pipeline.scheduler.set_timesteps(1000)
    theirs = pipeline.scheduler.step(prediction, timestep - 1, x_t).pred_original_sample
    scale = float(theirs.abs().max())  # 1 / alpha amplifies rounding at the noisiest levels
    assert torch.allclose(ours, theirs, atol=1e-4 * max(1.0, scale))


@pytest.mark.parametrize("pipeline", UNETS, indirect=True)
def test_the_network_is_asked_with_the_empty_prompt(pipeline: Any, latent: DiffusionCodec) -> None:
    x_t, timestep = torch.randn(2, 4, 8, 8), torch.tensor([77])
    with torch.no_grad():
        text, _, *pooled = pipeline.encode_prompt(
            "", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        more: dict[str, Any] = {}
        if pooled:
            sizes = torch.tensor([[32, 32, 0, 0, 32, 32.0]]).expand(2, -1)
            more = {"added_cond_kwargs": {"text_embeds": pooled[0].expand(2, -1), "time_ids": sizes}}
        theirs = pipeline.unet(x_t, timestep, encoder_hidden_states=text.expand(2, -1, -1), **more).sample
        ours = latent.denoiser.network(x_t, timestep.float())
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("pipeline", FLOWS, indirect=True)
@pytest.mark.parametrize("timestep", [1, 2, 10, 50, 100, 200, 400, 600, 900, 999])
def test_the_estimate_of_a_flow_is_x_minus_s_v(timestep: int, pipeline: Any, latent: DiffusionCodec) -> None:
    torch.manual_seed(timestep)
    log_snr = torch.tensor([latent.denoiser.schedule.level(timestep).log_snr])
    shift = pipeline.scheduler.config.shift
    s = shift * timestep / (1000 + (shift - 1) * timestep)
    assert log_snr.item() == pytest.approx(2 * np.log((1 - s) / s), abs=1e-4)
    x, (alpha, sigma) = torch.randn(1, 4, 8, 12), alpha_sigma(log_snr)
    with torch.no_grad():
        if isinstance(pipeline, FluxPipeline):
            text, pooled, _ = pipeline.encode_prompt("", "", device="cpu")
        else:
            text, _, pooled, _ = pipeline.encode_prompt("", "", "", device="cpu", do_classifier_free_guidance=False)
        ours = latent.denoiser.predict_x_0((alpha + sigma) * x, log_snr)
        if isinstance(pipeline, FluxPipeline):
            tokens = FluxPipeline._pack_latents(x, 1, 4, 8, 12)
            places = FluxPipeline._prepare_latent_image_ids(1, 4, 6, torch.device("cpu"), torch.float32)
            answer = pipeline.transformer(
                hidden_states=tokens,
                timestep=torch.tensor([s]),
                guidance=torch.ones(1),
                pooled_projections=pooled,
                encoder_hidden_states=text,
                txt_ids=torch.zeros(text.shape[1], 3),
                img_ids=places,
            ).sample
            velocity = FluxPipeline._unpack_latents(answer, 64, 96, 8)
        else:
            velocity = pipeline.transformer(
                hidden_states=x,
                timestep=torch.tensor([1000 * s]),
                encoder_hidden_states=text,
                pooled_projections=pooled,
            ).sample
    assert velocity.shape == x.shape
    assert torch.allclose(ours, x - s * velocity, atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64, 3), (52, 100, 3), (1, 1, 3), (20, 30)])
def test_pictures_of_any_size_go_there_and_back(shape: tuple[int, ...], latent: DiffusionCodec) -> None:
    pixels = smooth_pixels(*shape[:2])[:, :, 0] if len(shape) == 2 else smooth_pixels(*shape[:2])
    picture = Picture(np.ascontiguousarray(pixels))
    stream = latent.compress(picture, timestep=300)
    restored = latent.decompress(stream, reconstruction="mean")
    assert restored.pixels.shape == pixels.shape
    error = np.mean((restored.pixels.astype(float) - pixels) ** 2)
    assert stream.report.psnr_db == pytest.approx(10 * np.log10(255**2 / error))
    every = list(latent.progressive(stream, reconstruction="mean"))
    assert len(every) == len(stream.report.steps)
    assert np.array_equal(every[-1].pixels, restored.pixels)
    if shape == (1, 1, 3):
        return  # a single step may hold all there is
    shorter = latent.truncate(stream, len(stream.data) - 1)
    coarse = latent.decompress(shorter, reconstruction="mean")
    assert np.array_equal(
        coarse.pixels, latent.decompress(stream, timestep=int(coarse.timestep), reconstruction="mean").pixels
    )


def test_the_signal_is_the_scaled_mode_of_the_encoder(pipeline: Any, latent: DiffusionCodec) -> None:
    picture = Picture(smooth_pixels(16, 24))
    context = latent.context_for(picture, None)  # type: ignore[arg-type]
    x_0 = context.signal.from_pixels(picture.pixels, context.canvas)
    unit = torch.from_numpy(picture.pixels).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        settings = pipeline.vae.config
        shift = settings.shift_factor or 0.0
        expected = (pipeline.vae.encode(unit).latent_dist.mode()[0] - shift) * settings.scaling_factor
    assert x_0.shape == (4, 4, 6)
    assert torch.allclose(x_0, expected, atol=1e-5)
    back = context.signal.to_pixels(x_0, context.canvas)
    with torch.no_grad():
        decoded = pipeline.vae.decode(expected[None] / settings.scaling_factor + shift).sample[0].clamp(-1, 1)
    assert np.abs(back - (decoded.permute(1, 2, 0).numpy() + 1) * 127.5).max() < 0.51


def test_delivered_bits_approach_the_ideal(latent: DiffusionCodec) -> None:
    report = latent.compress(Picture(smooth_pixels(128, 128)), timestep=20).report
    assert report.delivered_bits == pytest.approx(report.ideal_bits, rel=0.1)


def test_files_belong_to_network_autoencoder_and_prompt(pipeline: Any, latent: DiffusionCodec) -> None:
    for module in (pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer, pipeline.vae):
        weight = next(module.parameters())
        with torch.no_grad():
            weight.add_(0.01)
            changed = DiffusionCodec.from_diffusers(pipeline).fingerprint
            weight.sub_(0.01)
        assert changed != latent.fingerprint


def test_a_latent_model_is_never_lossless(latent: DiffusionCodec) -> None:
    with pytest.raises(ConfigError, match="is a latent model, which cannot be lossless: the finest is 1"):
        latent.compress(Picture(smooth_pixels(8, 8)), timestep=0)


def test_a_network_for_other_latents_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        found = pipelines.stable_diffusion(tmp_path)
    found.vae = pipelines.autoencoder(latent_channels=16)
    with pytest.raises(CheckpointError, match="the network has 4 channels, the autoencoder 16"):
        DiffusionCodec.from_diffusers(found)
