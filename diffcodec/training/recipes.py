"""Named model configurations with their training settings."""

from __future__ import annotations

import dataclasses

from diffcodec.config import ModelConfig, PlainUNetConfig, UNetConfig
from diffcodec.errors import ConfigError
from diffcodec.training.config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model configuration with its training settings.

    Args:
        model: configuration.
        training: settings, which may be overridden.
        size: height and width of a training image, in pixels.
    """

    model: ModelConfig
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    size: int = 32


# Ho et al. (2020), appendix B; warm-up, betas and clipping are those of their code.
_PAPER = UNetConfig(norm="group", modulation="add", conditioning="timestep", embedding_channels=512)
_PAPER_TRAINING = TrainingConfig(
    loss="simple", final_learning_rate=1.0, adam_beta2=0.999, gradient_clip=1.0, ema_decay=0.9999
)
RECIPES: dict[str, Recipe] = {
    # The released network: half-resolution trunk, shallow full-resolution branch, no global operations, so
    # that pictures of any size can be evaluated in windows.
    "cifar10-small": Recipe(
        ModelConfig(
            network=UNetConfig(channels=80, multipliers=(1, 2), patch=2, full_resolution_channels=48),
            prediction="v",
            data_std=0.5,
        )
    ),
    # Photographs: plain convolutions. Noisy levels are evaluated at lower resolutions.
    "photo-small": Recipe(
        ModelConfig(
            network=PlainUNetConfig(widths=(48, 80, 128, 160), blocks=(1, 1, 1, 3)),
            prediction="v",
            data_std=0.5,
            log_snr_min=-11.0,
            half_resolution_below=0.0,
        ),
        TrainingConfig(
            batch_size=16,
            optimizer="muon",
            muon_weight_decay=0.3,
            warmup_images=4_000,
            weighting="balanced",
            coarse_share=0.75,
            coarse_below=6.5,
            rotations=True,
        ),
        size=96,
    ),
    # 35.7 M parameters, attention at 16 x 16.
    "cifar10-ddpm": Recipe(
        ModelConfig(network=dataclasses.replace(_PAPER, attention_scales=(1,), dropout=0.1), variance="fixedlarge"),
        dataclasses.replace(_PAPER_TRAINING, batch_size=128, learning_rate=2e-4, warmup_images=5_000 * 128),
    ),
    # Bedrooms, churches, cats and faces of 256 x 256: 113.7 M parameters, attention at 16 x 16.
    "lsun256-ddpm": Recipe(
        ModelConfig(network=dataclasses.replace(_PAPER, multipliers=(1, 1, 2, 2, 4, 4), attention_scales=(4,))),
        dataclasses.replace(_PAPER_TRAINING, batch_size=64, learning_rate=2e-5, warmup_images=5_000 * 64),
        size=256,
    ),
}
"""The named configurations."""


def named_recipe(name: str) -> Recipe:
    """The recipe of a named model.

    Raises:
        ConfigError: if there is no such name.
    """
    if name not in RECIPES:
        raise ConfigError(f"model: expected one of {', '.join(RECIPES)}, or a JSON file, found {name!r}")
    return RECIPES[name]


def named_model(name: str) -> ModelConfig:
    """The configuration of a named model.

    Raises:
        ConfigError: if there is no such name.
    """
    return named_recipe(name).model
