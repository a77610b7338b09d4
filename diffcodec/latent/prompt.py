"""The embedding of the empty prompt, which stands for every picture: a codec knows nothing but the picture."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from diffcodec.errors import CheckpointError

NO_TEXT = ""

Embedding = dict[str, Tensor]
"""`text`: (1, tokens, width); and, for networks that take it, `pooled`: of the whole prompt, (1, width)."""


def embedding_of(pipeline: Any, network_class: str) -> Embedding:
    """The embedding of the empty prompt, as a pipeline's own text encoders compute it.

    Args:
        pipeline: of diffusers.
        network_class: of its network, which decides what it takes.

    Raises:
        CheckpointError: if the pipeline cannot compute it.
    """
    encode = getattr(pipeline, "encode_prompt", None)
    if encode is None:
        raise CheckpointError(f"{type(pipeline).__name__}: {network_class} needs a text, but it cannot encode one")
    first = next((each for each in _encoders(pipeline)), None)
    device = torch.device("cpu") if first is None else next(first.parameters()).device
    with torch.no_grad():
        if network_class == "SD3Transformer2DModel":
            found = encode(NO_TEXT, NO_TEXT, NO_TEXT, device=device, do_classifier_free_guidance=False)
            return {"text": found[0], "pooled": found[2]}
        if network_class == "FluxTransformer2DModel":
            found = encode(NO_TEXT, NO_TEXT, device=device)
            return {"text": found[0], "pooled": found[1]}
        found = encode(NO_TEXT, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        pooled = {} if len(found) < 3 else {"pooled": found[2]}
        return {"text": found[0], **pooled}


def text_weights(pipeline: Any) -> dict[str, Tensor]:
    """The weights of a pipeline's text encoders, by name; they determine the embedding.

    Its own floats differ from machine to machine in their last bits, which no fingerprint may depend on.
    """
    return {
        f"text_encoder.{number}.{name}": value
        for number, encoder in enumerate(_encoders(pipeline))
        for name, value in encoder.state_dict(keep_vars=True).items()
    }


def _encoders(pipeline: Any) -> list[Any]:
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return [encoder for name in names if (encoder := getattr(pipeline, name, None)) is not None]


def digest_of_embedding(embedding: Embedding) -> str:
    """The SHA-256 of an embedding, as a hexadecimal number."""
    digest = hashlib.sha256()
    for name, value in sorted(embedding.items()):
        values = value.detach().cpu().float().contiguous()
        digest.update(json.dumps([name, list(values.shape)]).encode())
        digest.update(values.numpy().astype("<f4").tobytes())
    return digest.hexdigest()
