"""What models of gigabytes take, from their configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from diffcodec.diffusers_format.latent_folders import LatentFolder
from diffcodec.latent.stored_weights import main_type
from diffcodec.model.latent_cost import flops_per_second, latent_cost
from diffcodec.model.latent_folder import FolderParts
from tests.commands import run, succeeds
from tests.conftest import smooth_pixels
from tests.latent.pipelines import scheduler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configurations of Stable Diffusion 1.5, without weights."""
    folder = tmp_path_factory.mktemp("sd") / "stable-diffusion-v1-5"
    with torch.device("meta"):
        network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        autoencoder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
    network.save_config(folder / "unet")
    autoencoder.save_config(folder / "vae")
    scheduler().save_config(folder / "scheduler")
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    index = {"_class_name": "StableDiffusionPipeline", **classes}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_the_cost_of_stable_diffusion_is_known_without_its_weights(stable_diffusion: Path) -> None:
    parts = FolderParts(LatentFolder(stable_diffusion), "sd")
    cost = latent_cost(parts, 512, 512, precision="fp32", device=CPU)
    assert cost.parameters == 859_520_964
    assert cost.autoencoder_parameters == 83_653_863
    assert cost.weight_bytes == 4 * (cost.parameters + cost.autoencoder_parameters)
    assert 0.6e12 < cost.flops < 0.9e12  # 0.4 T multiply-adds, as published
    larger = latent_cost(parts, 1024, 512, precision="bf16", device=CPU)
    assert larger.weight_bytes == 2 * cost.parameters + 4 * cost.autoencoder_parameters
    assert larger.flops > 2 * cost.flops


def test_a_dry_run_loads_nothing(stable_diffusion: Path, tmp_path: Path) -> None:
    Image.fromarray(smooth_pixels(64, 96)).save(tmp_path / "photo.png")
    found = json.loads(
        succeeds(
            run("compress", tmp_path / "photo.png", "--model", stable_diffusion, "--dry-run", "--json", "-t", "200")
        ).stdout
    )
    assert found["parameters"] == 859_520_964
    assert found["evaluation_s"] > 0
    line = succeeds(run("compress", tmp_path / "photo.png", "--model", stable_diffusion, "--dry-run")).stdout
    assert "96 x 64, stable-diffusion-v1-5, t = 32" in line
    assert "860 million weights, 3.8 GB with the autoencoder" in line
    assert sorted(tmp_path.iterdir()) == [tmp_path / "photo.png"]


def test_every_kind_of_network_is_counted(pipeline: object, pipeline_folder: Path) -> None:
    parts = FolderParts(LatentFolder(pipeline_folder), "tiny")
    small, large = (latent_cost(parts, side, side, precision="auto", device=CPU) for side in (64, 128))
    assert 0 < small.flops < large.flops
    assert small.parameters == large.parameters


def test_the_speed_of_a_device_is_a_number() -> None:
    assert flops_per_second(CPU, torch.float32) > 1e8


def test_without_weights_their_type_is_float32() -> None:
    assert main_type([]) == torch.float32
