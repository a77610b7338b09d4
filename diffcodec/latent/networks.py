"""Networks of latent diffusion models, as predictors of one noise level's process."""

from __future__ import annotations

from torch import nn

from diffcodec.latent.conditioned import ConditionedUNet, UnconditionalUNet
from diffcodec.latent.flow import Flux, StableDiffusion3
from diffcodec.latent.prompt import Embedding


def predictor_of(network: nn.Module, embedding: Embedding, downscale: int) -> nn.Module:
    """A network of diffusers with the embedding of the empty prompt; its class decides how it is called.

    Args:
        network: of a class in `diffusers_format.latents`.
        embedding: empty for networks that take none.
        downscale: pixels per latent.
    """
    match type(network).__name__:
        case "SD3Transformer2DModel":
            return StableDiffusion3(network, embedding)
        case "FluxTransformer2DModel":
            return Flux(network, embedding)
        case "UNet2DConditionModel":
            return ConditionedUNet(network, embedding, downscale)
    return UnconditionalUNet(network)
