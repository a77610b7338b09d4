"""UNets of diffusers with a fixed condition: from (x_t, timestep) to their prediction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffcodec.errors import CheckpointError
from diffcodec.latent.prompt import Embedding


class UnconditionalUNet(nn.Module):
    """A `UNet2DModel`, or one of our own networks as a component of diffusers.

    Args:
        unet: the network.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """(B, C, h, w) and (B,), timesteps from 0 -> (B, C, h, w)."""
        answer: Tensor = self.unet(x_t, timestep, return_dict=False)[0]
        return answer


class ConditionedUNet(nn.Module):
    """A `UNet2DConditionModel` (Stable Diffusion 1, 2, XL) with the embedding of a text.

    Args:
        unet: the network.
        embedding: of the text; with `pooled` for networks with `text_time` embeddings (SDXL).
        downscale: pixels per latent, for the size that such networks are told.

    Raises:
        CheckpointError: if the network needs another condition.
    """

    text: Tensor
    pooled: Tensor | None

    def __init__(self, unet: nn.Module, embedding: Embedding, downscale: int = 8) -> None:
        super().__init__()
        self.unet, self.downscale = unet, downscale
        settings: Any = unet.config
        takes_size = settings.get("addition_embed_type") == "text_time"
        self.register_buffer("text", embedding["text"])
        self.register_buffer("pooled", embedding.get("pooled") if takes_size else None)
        if takes_size:
            if self.pooled is None:
                raise CheckpointError(f"{type(unet).__name__}: its text encoders give no pooled embedding")
            inputs = self.pooled.shape[-1] + len(SIZES) * settings["addition_time_embed_dim"]
            if settings["projection_class_embeddings_input_dim"] != inputs:
                raise CheckpointError(
                    f"{type(unet).__name__}: projection_class_embeddings_input_dim: expected {inputs}, for a pooled "
                    f"embedding and {len(SIZES)} sizes, found {settings['projection_class_embeddings_input_dim']}"
                )

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """(B, C, h, w) and (B,), timesteps from 0 -> (B, C, h, w)."""
        condition: dict[str, Any] = {"encoder_hidden_states": self.text.to(x_t).expand(len(x_t), -1, -1)}
        if self.pooled is not None:
            sides = {"height": self.downscale * x_t.shape[2], "width": self.downscale * x_t.shape[3]}
            sizes = torch.tensor([sides.get(each, 0) for each in SIZES], dtype=x_t.dtype, device=x_t.device)
            condition["added_cond_kwargs"] = {
                "text_embeds": self.pooled.to(x_t).expand(len(x_t), -1),
                "time_ids": sizes.expand(len(x_t), -1),
            }
        answer: Tensor = self.unet(x_t, timestep, return_dict=False, **condition)[0]
        return answer


SIZES = ("height", "width", "top", "left", "height", "width")
"""SDXL's size conditions: the original size, the crop's corner (0, 0), and the target size, in pixels."""
