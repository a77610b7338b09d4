"""Objects of diffusers in memory: the same models as in folders, and networks that only diffusers has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import CheckpointError, ConfigError, ModelMismatchError, WrongTypeError
from diffcodec.model.external import ExternalModel
from tests.conftest import make_tiny_checkpoint, smooth_pixels
from tests.diffusers_format.pipelines import TINY, diffusers, randomised, save_pipeline

PIXELS = smooth_pixels(7, 6)
SCHEDULER = diffusers.DDPMScheduler()
FOREIGN = {
    **TINY,
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
"""A network with blocks that ours does not have."""


@pytest.mark.parametrize(
    ("network", "schedule"),
    [
        ({}, {}),
        ({"out_channels": 6}, {"variance_type": "learned_range"}),
        ({}, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}),
        ({}, {"trained_betas": [0.01, 0.05, 0.1, 0.3, 0.6], "num_train_timesteps": 5}),
    ],
)
def test_a_pipeline_in_memory_is_that_of_its_folder(
    network: dict[str, Any], schedule: dict[str, Any], tmp_path: Path
) -> None:
    unet, scheduler = randomised(**TINY, **network), diffusers.DDPMScheduler(**schedule)
    folder = save_pipeline(tmp_path / "pipeline", unet, scheduler=scheduler)
    stored = DiffusionCodec.from_pretrained(folder)
    stream = stored.compress(PIXELS, timestep=3, effort=8)
    for codec in (
        DiffusionCodec.from_diffusers(diffusers.DDPMPipeline(unet, scheduler)),
        DiffusionCodec.from_diffusers(unet, scheduler),
    ):
        assert codec.fingerprint == stored.fingerprint
        assert np.array_equal(codec.decompress(stream).pixels, stored.decompress(stream).pixels)


def test_supported_networks_are_copied(tiny_network: Any) -> None:
    codec = DiffusionCodec.from_diffusers(tiny_network, SCHEDULER)
    stream = codec.compress(PIXELS, timestep=300)
    with torch.no_grad():
        tiny_network.conv_in.bias.add_(1)
    try:
        assert codec.decompress(stream).step == len(stream.report.steps)
        with pytest.raises(ModelMismatchError):
            DiffusionCodec.from_diffusers(tiny_network, SCHEDULER).decompress(stream)
    finally:
        with torch.no_grad():
            tiny_network.conv_in.bias.sub_(1)


@pytest.mark.parametrize(
    ("network", "schedule"),
    [
        ({}, {}),
        ({"in_channels": 1, "out_channels": 1}, {"prediction_type": "v_prediction"}),
        ({"out_channels": 6}, {"variance_type": "learned_range"}),
    ],
)
def test_other_networks_run_themselves(network: dict[str, int], schedule: dict[str, str]) -> None:
    unet, scheduler = randomised(**{**FOREIGN, **network}).train(), diffusers.DDPMScheduler(**schedule)
    codec = DiffusionCodec.from_diffusers(unet, scheduler)
    assert isinstance(codec.checkpoint, ExternalModel)
    pixels = PIXELS[..., : network.get("in_channels", 3)]
    stream = codec.compress(pixels, timestep=1, effort=8)
    assert stream.report.psnr_db > 20
    assert np.array_equal(
        codec.decompress(stream).pixels, DiffusionCodec.from_diffusers(unet, scheduler).decompress(stream).pixels
    )
    with torch.no_grad():
        unet.conv_in.bias.add_(1)
    with pytest.raises(ModelMismatchError):
        DiffusionCodec.from_diffusers(unet, scheduler).decompress(stream)


@pytest.mark.parametrize("t", [1, 300, 1000])
def test_their_noise_is_that_of_diffusers(t: int) -> None:
    unet = randomised(**FOREIGN)
    denoiser = DiffusionCodec.from_diffusers(unet, SCHEDULER).denoiser
    x_t = torch.randn(2, 3, 8, 6)
    with torch.no_grad():
        ours = denoiser(x_t, torch.full((2,), denoiser.schedule.level(t).log_snr))
    assert torch.allclose(ours, unet(x_t, t - 1).sample, atol=1e-5)


def test_strides_are_those_of_the_configurations() -> None:
    found = []
    for network in (
        randomised(**TINY),
        randomised(**FOREIGN),
        randomised(
            **{
                **FOREIGN,
                "block_out_channels": (8, 8, 8),
                "down_block_types": ("SkipDownBlock2D", "DownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "UpBlock2D", "SkipUpBlock2D"),
            }
        ),
    ):
        found.append(DiffusionCodec.from_diffusers(network, SCHEDULER).model.config.network.stride)
    assert found == [2, 2, 4]


def test_our_own_networks_come_back_from_diffusers() -> None:
    from diffcodec.diffusers_model import DiffcodecModel

    checkpoint = make_tiny_checkpoint()
    module = DiffcodecModel(checkpoint.config.to_dict())
    module.denoiser.load_state_dict(checkpoint.denoiser().state_dict())
    codec = DiffusionCodec.from_diffusers(module, SCHEDULER)
    assert codec.model.config == checkpoint.config
    assert torch.equal(codec.denoiser.state_dict()["network.stem.weight"], module.denoiser.network.stem.weight)


class Unlabelled(torch.nn.Module):
    """Is not of diffusers."""


def test_what_is_not_of_diffusers_is_refused(tiny_network: Any) -> None:
    uses: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: DiffusionCodec.from_diffusers(tiny_network), ConfigError, "scheduler: expected one"),
        (lambda: DiffusionCodec.from_diffusers("pipeline"), WrongTypeError, "of diffusers, found a str"),
        (lambda: DiffusionCodec.from_diffusers(Unlabelled(), SCHEDULER), WrongTypeError, "found an? Unlabelled"),
        (lambda: DiffusionCodec.from_diffusers(tiny_network, 5), WrongTypeError, "scheduler: .*, found an int"),
    ]
    for use, error, message in uses:
        with pytest.raises(error, match=message):
            use()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_class_embeds": 10}, "UNet2DModel: num_class_embeds = 10 is not supported"),
        ({"class_embed_type": "timestep"}, 'UNet2DModel: class_embed_type = "timestep" is not supported'),
    ],
)
def test_conditions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        DiffusionCodec.from_diffusers(randomised(**TINY, **changes), SCHEDULER)


def test_networks_that_need_a_text_are_refused() -> None:
    network = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        in_channels=3,
        out_channels=3,
    )
    with pytest.raises(CheckpointError, match="UNet2DConditionModel needs encoder_hidden_states"):
        DiffusionCodec.from_diffusers(network, SCHEDULER)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler: _class_name"),
        (diffusers.DDPMScheduler(rescale_betas_zero_snr=True), 'DDPMScheduler: prediction_type = "epsilon"'),
        (diffusers.DDPMScheduler(num_train_timesteps=1), "DDPMScheduler: log_snr: expected min < max"),
    ],
    ids=["flow", "zero SNR", "one step"],
)
@pytest.mark.parametrize("network", [TINY, FOREIGN], ids=["ours", "foreign"])
def test_other_processes_are_refused(network: dict[str, Any], scheduler: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        DiffusionCodec.from_diffusers(randomised(**network), scheduler)


def test_further_components_are_refused(tiny_network: Any) -> None:
    class Latent:
        def __init__(self) -> None:
            self.components = {"unet": tiny_network, "scheduler": SCHEDULER, "vae": object()}

    with pytest.raises(CheckpointError, match="Latent: vae is not supported; expected a pipeline of only unet"):
        DiffusionCodec.from_diffusers(Latent())


def test_damaged_weights_are_named() -> None:
    network = randomised(**TINY)
    network.conv_in.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"UNet2DModel: conv_in.bias: found infinite or NaN weights"):
        DiffusionCodec.from_diffusers(network, SCHEDULER)
