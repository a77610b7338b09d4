"""Networks that need a text, with the embedding of the empty one: from (x_t, t) to their prediction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffcodec.errors import CheckpointError

NO_TEXT = ""
"""The prompt of every picture: a codec knows nothing but the picture."""


class ConditionedUNet(nn.Module):
    """A `UNet2DConditionModel` of diffusers (Stable Diffusion 1, 2, XL) with a fixed condition.

    The condition is part of the module's state, and so of the model's fingerprint.

    Args:
        unet: the network.
        text: embedding of the prompt, (1, tokens, width).
        pooled: embedding of the whole prompt, (1, width), for networks with `text_time` embeddings (SDXL); else None.
        downscale: pixels per latent, for the size that such networks are told.
    """

    text: Tensor
    pooled: Tensor | None

    def __init__(self, unet: nn.Module, text: Tensor, pooled: Tensor | None = None, downscale: int = 8) -> None:
        super().__init__()
        self.unet, self.downscale = unet, downscale
        self.register_buffer("text", text)
        self.register_buffer("pooled", pooled)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """(B, C, h, w) and (B,), timesteps from 0 -> (B, C, h, w)."""
        condition: dict[str, Any] = {"encoder_hidden_states": self.text.to(x_t.dtype).expand(len(x_t), -1, -1)}
        if self.pooled is not None:
            condition["added_cond_kwargs"] = {
                "text_embeds": self.pooled.to(x_t.dtype).expand(len(x_t), -1),
                "time_ids": self._time_ids(x_t),
            }
        answer: Tensor = self.unet(x_t, timestep, return_dict=False, **condition)[0]
        return answer

    def _time_ids(self, x_t: Tensor) -> Tensor:
        """SDXL's size conditions: the original size, the crop's corner, and the target size, in pixels, (B, 6)."""
        height, width = (self.downscale * side for side in x_t.shape[2:])
        ids = torch.tensor([height, width, 0, 0, height, width], dtype=x_t.dtype, device=x_t.device)
        return ids.expand(len(x_t), -1)


def conditioned(pipeline: Any, downscale: int) -> ConditionedUNet:
    """The network of a pipeline with the embedding of the empty prompt, which its own text encoders compute.

    Args:
        pipeline: of diffusers.
        downscale: pixels per latent.

    Raises:
        CheckpointError: if the pipeline is not supported.
    """
    unet = pipeline.unet
    kind = unet.config.get("addition_embed_type")
    if kind not in (None, "text_time"):
        raise CheckpointError(f"{type(unet).__name__}: addition_embed_type: expected None or text_time, found {kind!r}")
    with torch.no_grad():
        found = pipeline.encode_prompt(
            NO_TEXT, device=next(unet.parameters()).device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return ConditionedUNet(unet, found[0], found[2] if kind == "text_time" else None, downscale)
