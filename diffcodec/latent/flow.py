"""Flow transformers (Stable Diffusion 3, Flux) with the embedding of the empty prompt, as x_0 estimates.

A flow model interpolates x = (1 - s) x_0 + s eps and predicts the velocity eps - x_0. Divided by alpha + sigma, a state
alpha x_0 + sigma eps of our process is such an x, with s = sigma / (alpha + sigma): the log SNR is 2 ln((1 - s) / s).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffcodec.latent.prompt import Embedding

GUIDANCE = 1.0
"""What transformers with an embedding of the guidance (Flux dev) are told: none, as for a sample of the data."""


class FlowNetwork(nn.Module):
    """A flow transformer: from a state of our process and its log SNR to the estimate of x_0.

    Args:
        transformer: of diffusers.
        embedding: of the text, with `pooled`.
    """

    text: Tensor
    pooled: Tensor

    def __init__(self, transformer: nn.Module, embedding: Embedding) -> None:
        super().__init__()
        self.transformer = transformer
        self.register_buffer("text", embedding["text"])
        self.register_buffer("pooled", embedding["pooled"])

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """(B, C, h, w) and (B,) -> (B, C, h, w)."""
        level = log_snr.float()[:, None, None, None]
        alpha, sigma = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        x, s = x_t.float() / (alpha + sigma), sigma / (alpha + sigma)
        velocity = self.velocity(x.to(x_t.dtype), s.flatten())
        return x - s * velocity.float()

    def velocity(self, x: Tensor, s: Tensor) -> Tensor:
        """The transformer's prediction at states x, (B, C, h, w), and s, (B,)."""
        raise NotImplementedError

    def _condition(self, like: Tensor) -> dict[str, Tensor]:
        return {
            "encoder_hidden_states": self.text.to(like).expand(len(like), -1, -1),
            "pooled_projections": self.pooled.to(like).expand(len(like), -1),
        }


class StableDiffusion3(FlowNetwork):
    """An `SD3Transformer2DModel`."""

    def velocity(self, x: Tensor, s: Tensor) -> Tensor:
        """The transformer takes s in thousandths."""
        answer: Tensor = self.transformer(
            hidden_states=x, timestep=(1000 * s).to(x.dtype), return_dict=False, **self._condition(x)
        )[0]
        return answer


class Flux(FlowNetwork):
    """A `FluxTransformer2DModel`, which works on tokens of 2 x 2 latents."""

    def velocity(self, x: Tensor, s: Tensor) -> Tensor:
        """Packs the latents, and unpacks the answer."""
        count, channels, height, width = x.shape
        rows, columns = height // 2, width // 2
        tokens = (
            x.reshape(count, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5).reshape(count, -1, 4 * channels)
        )
        places = torch.zeros(rows, columns, 3, dtype=x.dtype, device=x.device)
        places[..., 1] = torch.arange(rows, device=x.device)[:, None]
        places[..., 2] = torch.arange(columns, device=x.device)
        condition = self._condition(x)
        text_tokens = condition["encoder_hidden_states"].shape[1]
        guided = self.transformer.config["guidance_embeds"]  # type: ignore[index]
        answer: Tensor = self.transformer(
            hidden_states=tokens,
            timestep=s.to(x.dtype),
            img_ids=places.reshape(-1, 3),
            txt_ids=torch.zeros(text_tokens, 3, dtype=x.dtype, device=x.device),
            guidance=torch.full((count,), GUIDANCE, dtype=x.dtype, device=x.device) if guided else None,
            return_dict=False,
            **condition,
        )[0]
        unpacked = answer.reshape(count, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return unpacked.reshape(x.shape)
