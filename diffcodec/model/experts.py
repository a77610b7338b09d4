"""Joins networks that were trained on ranges of noise levels into one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from diffcodec.config import ModelConfig, PlainUNetConfig
from diffcodec.diffusion.experts import weights_as_expert
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.model_file import ModelCard


def join_experts(parts: Sequence[Checkpoint], edges: Sequence[float], name: str) -> Checkpoint:
    """A model that evaluates one of several networks at each noise level.

    Args:
        parts: models of plain networks with the same configuration, from the noisiest levels to the cleanest.
        edges: log SNRs, in nats and ascending, at which the next one takes over.
        name: of the joint model.

    Returns:
        The model, not calibrated.

    Raises:
        ConfigError: if the edges are not increasing, or not one fewer than the models.
        CheckpointError: if configurations differ, or networks are not plain or already have experts.
    """
    config = parts[0].config
    if len(edges) != len(parts) - 1:
        raise ConfigError(f"edges: expected {len(parts) - 1} between {len(parts)} models, found {len(edges)}")
    for part in parts:
        if not isinstance(part.config.network, PlainUNetConfig) or part.config.network.expert_edges:
            raise CheckpointError(f"{part.card.name}: only single plain networks can become experts")
        if part.config != config:
            raise CheckpointError(f"{part.card.name} and {parts[0].card.name} have different configurations")
    assert isinstance(config.network, PlainUNetConfig)
    if not all(config.network_log_snr_min < edge < config.log_snr_max for edge in edges):
        raise ConfigError(
            f"edges: expected log SNRs between {config.network_log_snr_min:g} and {config.log_snr_max:g}, found "
            + ", ".join(f"{edge:g}" for edge in edges)
        )
    weights = {
        name: value
        for number, part in enumerate(parts)
        for name, value in weights_as_expert(part.weights, number).items()
    }
    network = replace(config.network, expert_edges=tuple(edges))
    return Checkpoint(replace(config, network=network), _joint_card(parts, config, edges, name), weights)


def _joint_card(parts: Sequence[Checkpoint], config: ModelConfig, edges: Sequence[float], name: str) -> ModelCard:
    ranges = list(pairwise((config.network_log_snr_min, *edges, config.log_snr_max)))
    cards = [part.card for part in parts]

    def by_range(texts: Iterable[str]) -> str:
        return "; ".join(
            f"log SNR {low:g} to {high:g}: {text}" for (low, high), text in zip(ranges, texts, strict=True)
        )

    return ModelCard(
        name,
        data="; ".join(dict.fromkeys(card.data for card in cards)),
        recipe=by_range(card.recipe for card in cards),
        time=by_range(card.time for card in cards),
        licence="; ".join(dict.fromkeys(card.licence for card in cards)),
    )
