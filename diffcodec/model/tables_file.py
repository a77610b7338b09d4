"""Tables of latent models, whose weights lie elsewhere: a small file of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.latent.prompt import Embedding
from diffcodec.model.evaluation_profile import EvaluationProfile
from diffcodec.model.latent import LatentModel
from diffcodec.model.model_file import ModelCard
from diffcodec.model.tables import CodecTables

TABLES_FILE = "diffcodec_tables.safetensors"
"""Name under which the tables of a pipeline folder are found in it."""

METADATA_KEY = "diffcodec_tables"


def tables_to_bytes(model: LatentModel) -> bytes:
    """The file of a calibrated model: its tables, its card, and the embedding of the empty prompt.

    The embedding is stored so that all machines have the same, and need no text encoders.
    """
    assert model.tables is not None
    content = {
        "config": model.config.essence(),
        "tables": model.tables.to_dict(),
        "evaluation": model.profile.to_dict(),
        "card": model.card.to_dict(),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.parts.embedding().items()}
    return save(tensors, {METADATA_KEY: json.dumps(content)})


def with_stored_tables(model: LatentModel, path: Path) -> LatentModel:
    """A model with the tables of a file, and so another fingerprint.

    Raises:
        CheckpointError: if it is no such file, or it is another model's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            embedding: Embedding = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a file of tables ({error})", parameters=["tables"]) from error
    if metadata is None:
        raise CheckpointError(f"{path}: not a file of tables", parameters=["tables"])
    try:
        content = json.loads(metadata)
        tables = CodecTables.from_dict(content["tables"])
        profile = EvaluationProfile.from_dict(content["evaluation"])
        card = ModelCard.from_dict(content["card"])
        config = content["config"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its tables are invalid ({error})", parameters=["tables"]) from error
    latent = model.config.latent
    assert latent is not None
    bands = tables.variances.bands if tables.variances else 0
    if bands % latent.channels or len(tables.latent_start) not in (0, latent.channels):
        raise CheckpointError(f"{path}: the tables are not for {latent.channels} channels", parameters=["tables"])
    if config != json.loads(json.dumps(model.config.essence())) or (embedding != {}) != model.parts.needs_text:
        raise CheckpointError(f"{path}: the tables are not those of {model.card.name}", parameters=["tables"])
    parts = model.parts.with_embedding(embedding) if embedding else model.parts
    return replace(model, tables=tables, profile=profile, card=replace(card, name=model.card.name), parts=parts)
