"""Checks that the settings of a training are compatible."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diffcodec.config import ModelConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.experts import edges_of, weights_of_expert
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training.config import TrainingConfig
from diffcodec.training.growth import can_grow, grown_weights
from diffcodec.training.losses import check_objective, trained_range


def check_settings(
    model: ModelConfig,
    training: TrainingConfig,
    image_shape: tuple[int, ...],
    precision: str,
    processes: int,
    accumulate: int,
) -> None:
    """Refuse incompatible settings.

    Args:
        model, training: configurations of the run.
        image_shape: (C, H, W) of a training image.
        precision, accumulate: as for `Trainer`.
        processes: number of processes that share a batch.

    Raises:
        ConfigError: if settings are incompatible.
    """
    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"precision: expected fp32 or bf16, found {precision!r}")
    stride, (channels, *sides) = model.network.stride, image_shape
    if model.network.image_channels != channels:
        raise ConfigError(
            f"image_channels: expected {channels}, as in the training images, found {model.network.image_channels}"
        )
    if any(side % stride for side in sides):
        raise ConfigError(
            f"training images: expected sides that are multiples of {stride}, found {sides[0]} x {sides[1]}",
            parameters=["size"],
        )
    if edges_of(model.network):
        raise ConfigError(
            "expert_edges: experts are trained one by one, each on its own log_snr_range, and joined afterwards; "
            "train a configuration without them",
            parameters=["model"],
        )
    check_objective(model, training)
    if training.batch_size % processes:
        raise ConfigError(
            f"batch_size: expected a multiple of {processes}, the number of processes, found {training.batch_size}"
        )
    if training.batch_size % (processes * accumulate):
        share = training.batch_size // processes
        raise ConfigError(f"accumulate: {share} images per process cannot be divided into {accumulate} equal parts")


def load_initial_weights(
    denoiser: Denoiser, training: TrainingConfig, trained: ModelConfig, weights: Mapping[str, Tensor]
) -> None:
    """Put the weights of a trained model, or of one of its experts, into a denoiser, which may be larger.

    Args:
        denoiser: to be trained, as initialised. A larger plain network starts as the same function
            (`growth.grown_weights`).
        training: of experts, the one for the middle of its range of log SNRs is taken.
        trained: configuration that the weights were trained with; schedule and fixed variances may differ.
        weights: by parameter name.

    Raises:
        CheckpointError: if they do not fit the model, or predict another quantity.
    """
    if edges := edges_of(trained.network):
        weights = weights_of_expert(weights, edges, sum(trained_range(denoiser.config, training)) / 2)
    if can_grow(trained.network, denoiser.config.network):
        weights = grown_weights(denoiser.state_dict(), weights)
    try:
        denoiser.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(
            "the initial weights do not fit the configuration of the model: train the model that they are from, or, if "
            "it is a plain network, a wider or deeper one",
            parameters=["model"],
        ) from error
    if trained.prediction != denoiser.config.prediction:
        raise CheckpointError(
            f"the initial weights predict {trained.prediction}, but the model to train predicts "
            f"{denoiser.config.prediction}: train the model that they are from",
            parameters=["model"],
        )
