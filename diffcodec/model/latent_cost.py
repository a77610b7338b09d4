"""What evaluating a latent model would take, from its configuration alone: no weight is read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from diffcodec.config import Precision
from diffcodec.latent.networks import predictor_of
from diffcodec.latent.prompt import Embedding
from diffcodec.model.latent_folder import FolderParts

TOKENS = {"UNet2DConditionModel": 77, "SD3Transformer2DModel": 333, "FluxTransformer2DModel": 512}
"""Tokens of the empty prompt in the pipelines of diffusers, by the network's class."""

MATRIX_SIDE = 1024
"""Side of the matrices whose product measures a device."""


@dataclass(frozen=True)
class LatentCost:
    """What a model takes.

    Args:
        parameters: of the network.
        autoencoder_parameters: of the autoencoder.
        weight_bytes: of both, in the precision in which they would be loaded.
        flops: floating-point operations of one evaluation of the network for one picture.
    """

    parameters: int
    autoencoder_parameters: int
    weight_bytes: int
    flops: int


def latent_cost(
    parts: FolderParts, width: int, height: int, *, precision: Precision, device: torch.device
) -> LatentCost:
    """What a model in a folder takes for a picture.

    Args:
        parts: of the model; its weights need not be there.
        width, height: of the picture, in pixels.
        precision, device: as for `FolderParts.network`.

    Raises:
        CheckpointError: if the model is not supported.
    """
    config = parts.config
    assert config.latent is not None
    network, autoencoder = parts.empty_network(), parts.empty_autoencoder()
    stride = config.network.stride
    rows, columns = (-(-side // (config.latent.downscale * stride)) * stride for side in (height, width))
    x_t = torch.zeros(1, config.network.image_channels, rows, columns, device="meta")
    level = torch.zeros(1, device="meta")
    predictor = predictor_of(network, _embedding_like(network), config.latent.downscale)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        predictor(x_t, level)
    own, others = (sum(value.numel() for value in module.parameters()) for module in (network, autoencoder))
    weight_bytes = own * parts.weight_type(precision, device).itemsize + others * torch.float32.itemsize
    return LatentCost(own, others, weight_bytes, counter.get_total_flops())


def flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The speed of a device at matrix products: more than any network reaches, but of its order."""
    a, b = (torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ b)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX_SIDE**3 / best


def _embedding_like(network: nn.Module) -> Embedding:
    """An embedding without data, of the shapes that a network takes."""
    kind, settings = type(network).__name__, _settings(network)
    if kind not in TOKENS:
        return {}
    width: int = settings.get("cross_attention_dim") or settings["joint_attention_dim"]
    pooled = settings.get("pooled_projection_dim")
    if settings.get("addition_embed_type") == "text_time":
        pooled = settings["projection_class_embeddings_input_dim"] - 6 * settings["addition_time_embed_dim"]
    found = {"text": torch.zeros(1, TOKENS[kind], width, device="meta")}
    return found | ({"pooled": torch.zeros(1, pooled, device="meta")} if pooled else {})


def _settings(network: Any) -> dict[str, Any]:
    return dict(network.config)
