"""Converts names of our network's layers to those of `UNet2DModel` and back. Weights are unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcodec.config import UNetConfig
from diffcodec.errors import CheckpointError

OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in checkpoints from before diffusers 0.15, and their replacements."""


@dataclass(frozen=True)
class Layer:
    """A layer with a weight and a bias, by both names.

    Args:
        ours: name in `diffusion.unet.UNet`.
        theirs: name in `UNet2DModel`; several names if our layer stacks several of theirs.
        pointwise: whether ours is a 1 x 1 convolution and theirs a linear layer.
        optional: whether some networks lack it.
    """

    ours: str
    theirs: tuple[str, ...]
    pointwise: bool = False
    optional: bool = False


def layers(config: UNetConfig) -> Iterator[Layer]:
    """All layers of a network that `UNet2DModel` can express."""
    last = len(config.multipliers) - 1
    yield Layer("stem", ("conv_in",))
    yield Layer("embedding.layers.0", ("time_embedding.linear_1",))
    yield Layer("embedding.layers.2", ("time_embedding.linear_2",))
    place = 0
    for scale in range(last + 1):
        theirs = f"down_blocks.{scale}"
        for block in range(config.blocks):
            yield from _stage(f"trunk.down.{place}", theirs, block, scale in config.attention_scales)
            place += 1
        if scale < last:
            yield Layer(f"trunk.down.{place}.conv", (f"{theirs}.downsamplers.0.conv",))
            place += 1
    yield from _residual_block("trunk.middle_in", "mid_block.resnets.0")
    if config.has_middle_attention:
        yield from _attention("trunk.middle_attention", "mid_block.attentions.0")
    yield from _residual_block("trunk.middle_out", "mid_block.resnets.1")
    place = 0
    for scale in range(last, -1, -1):
        theirs = f"up_blocks.{last - scale}"
        for block in range(config.blocks + 1):
            yield from _stage(f"trunk.up.{place}", theirs, block, scale in config.attention_scales)
            place += 1
        if scale > 0:
            yield Layer(f"trunk.up.{place}.conv", (f"{theirs}.upsamplers.0.conv",))
            place += 1
    yield Layer("norm", ("conv_norm_out",))
    yield Layer("out", ("conv_out",))


def _stage(ours: str, theirs: str, block: int, has_attention: bool) -> Iterator[Layer]:
    yield from _residual_block(f"{ours}.block", f"{theirs}.resnets.{block}")
    if has_attention:
        yield from _attention(f"{ours}.attention", f"{theirs}.attentions.{block}")


def _residual_block(ours: str, theirs: str) -> Iterator[Layer]:
    yield Layer(f"{ours}.norm_in", (f"{theirs}.norm1",))
    yield Layer(f"{ours}.conv_in", (f"{theirs}.conv1",))
    yield Layer(f"{ours}.embedding", (f"{theirs}.time_emb_proj",))
    yield Layer(f"{ours}.norm_out", (f"{theirs}.norm2",))
    yield Layer(f"{ours}.conv_out", (f"{theirs}.conv2",))
    yield Layer(f"{ours}.skip", (f"{theirs}.conv_shortcut",), optional=True)


def _attention(ours: str, theirs: str) -> Iterator[Layer]:
    yield Layer(f"{ours}.norm", (f"{theirs}.group_norm",))
    yield Layer(f"{ours}.qkv", tuple(f"{theirs}.{name}" for name in ("to_q", "to_k", "to_v")), pointwise=True)
    yield Layer(f"{ours}.out", (f"{theirs}.to_out.0",), pointwise=True)


def to_ours(theirs: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Weights of our network from those of `UNet2DModel`.

    Raises:
        CheckpointError: if a weight is missing or unexpected.
    """
    left = {_renamed(name): value for name, value in theirs.items()}
    found = {}
    for layer in layers(config):
        for kind in ("weight", "bias"):
            names = [f"{name}.{kind}" for name in layer.theirs]
            missing = [name for name in names if name not in left]
            if missing and layer.optional:
                continue
            if missing:
                raise CheckpointError(f"the weights lack {missing[0]!r}, which the configuration needs")
            parts = [left.pop(name) for name in names]
            if len({part.shape for part in parts}) > 1 or not parts[0].ndim:
                shapes = ", ".join(str(list(part.shape)) for part in parts)
                raise CheckpointError(f"{', '.join(names)}: expected weights of one shape, found {shapes}")
            value = parts[0] if len(parts) == 1 else torch.cat(parts)
            found[f"{layer.ours}.{kind}"] = value[:, :, None, None] if layer.pointwise and value.ndim == 2 else value
    if left:
        raise CheckpointError(f"the weights hold {min(left)!r}, which the configuration does not have")
    return found


def to_theirs(ours: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Weights of `UNet2DModel` from those of our network: the inverse of `to_ours`, with current names."""
    found = {}
    for layer in layers(config):
        for kind in ("weight", "bias"):
            value = ours.get(f"{layer.ours}.{kind}")
            if value is None and layer.optional:
                continue
            if value is None:
                raise CheckpointError(f"the weights lack {layer.ours}.{kind}, which the configuration needs")
            value = value.flatten(1) if layer.pointwise and kind == "weight" else value
            for name, part in zip(layer.theirs, value.chunk(len(layer.theirs)), strict=True):
                found[f"{name}.{kind}"] = part.contiguous()
    return found


def _renamed(name: str) -> str:
    """A weight's current name."""
    return re.sub(
        r"(?<=attentions\.)(\d+)\.(query|key|value|proj_attn)\.",
        lambda match: f"{match[1]}.{OLD_ATTENTION_NAMES[match[2]]}.",
        name,
    )
