"""Pipelines that diffusers itself makes and saves: the published configurations, with narrower layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""Name of the file of weights."""

OF_HO_ET_AL = {
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
SMALL = {
    **OF_HO_ET_AL,
    "sample_size": 32,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
LARGE = {
    **OF_HO_ET_AL,
    "sample_size": 256,
    "down_block_types": (*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
}

NETWORKS: dict[str, dict[str, Any]] = {
    "ddpm-cifar10-32": {**SMALL, "block_out_channels": (32, 64, 64, 64)},
    "ddpm-church-256": {**LARGE, "block_out_channels": (32, 32, 64, 64, 128, 128)},
    "ddpm-bedroom-256": {**LARGE, "block_out_channels": (64, 64, 64, 64, 64, 64)},
    "ddpm-celebahq-256": {**LARGE, "block_out_channels": (32, 32, 32, 32, 96, 96)},
    # What people get who train with the library's own defaults.
    "defaults": {
        "sample_size": 32,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "scale-shift": {
        **SMALL,
        "block_out_channels": (32, 32, 64, 64),
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 16,
        "norm_num_groups": 16,
        "attention_head_dim": 16,
        "time_embedding_dim": 48,
    },
    "no-attention": {
        **SMALL,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "add_attention": False,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "layers_per_block": 1,
    },
}

TINY: dict[str, Any] = {
    **OF_HO_ET_AL,
    "sample_size": 16,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


def randomised(**configuration: Any) -> Any:
    """A UNet2DModel none of whose weights is zero or one."""
    torch.manual_seed(1)
    network = diffusers.UNet2DModel(**configuration).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter += torch.randn_like(parameter) * (0.5 * parameter.std().nan_to_num(0).item() + 0.05)
    return network


def save_pipeline(folder: Path, network: Any, **schedule: Any) -> Path:
    """Saves a network as diffusers does, with a DDPMScheduler of these settings or the scheduler that is passed."""
    scheduler = schedule.pop("scheduler", None) or diffusers.DDPMScheduler(**schedule)
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change values of a JSON file; None removes a key."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def pickled(folder: Path, content: Any = None) -> Path:
    """Replace a folder's weights by a pickle of them, or of anything."""
    safe = folder / "unet" / WEIGHTS
    path = safe.with_name("diffusion_pytorch_model.bin")
    torch.save(load_file(safe) if content is None else content, path)
    safe.unlink()
    return path
