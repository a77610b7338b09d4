"""One training and what comes of it: the bound of test images, and samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from diffcodec.config import ModelConfig, VarianceKind
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.evaluation.bound import measure_bound
from diffcodec.evaluation.records import Row
from diffcodec.training.config import TrainingConfig
from diffcodec.training.log import Progress
from diffcodec.training.loop import Trainer
from objectives.quality import InceptionTest, Moments, frechet_random

RAW_BPD = 8.0
"""Bits/dim of the pixels as they are: a bound above this is of a model that is worse than none."""

Status = Literal["stable", "unstable", "above 8"]


@dataclass(frozen=True)
class Budget:
    """The same for every training: of images, repetitions counted, or of seconds."""

    images: int | None
    seconds: float | None


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Args:
        weights: averaged ones; None if the loss was not finite.
        losses: from the first step to the last.
        images, seconds: what it took.
    """

    weights: dict[str, Tensor] | None
    losses: list[float]
    images: int
    seconds: float

    @property
    def has_diverged(self) -> bool:
        """Whether the loss was not finite, or its median half as high again in the last tenth as in the first."""
        tenth = max(1, len(self.losses) // 10)
        # The bound of few images is now and then a hundred times what it is mostly: no means.
        return self.weights is None or median(self.losses[-tenth:]) > 1.5 * median(self.losses[:tenth])


def train(
    model: ModelConfig,
    training: TrainingConfig,
    images: Tensor,
    budget: Budget,
    *,
    device: str,
    precision: str,
    progress: Callable[[Progress], None],
) -> Training:
    """Train a model from scratch; the start, the images and their order are the same for all.

    Raises:
        ConfigError: if it cannot be trained.
    """
    trainer = Trainer(model, training, images, device=device, precision=precision)
    losses: list[float] = []

    def report(line: Progress) -> None:
        losses.append(line.loss)
        progress(line)

    weights: dict[str, Tensor] | None = None
    try:
        trainer.run(max_images=budget.images, max_s=budget.seconds, report=report, report_every_s=0.0)
        weights = trainer.averaged_weights()
    except ConfigError:
        # A loss that is not finite leaves no finite weights; anything else is a mistake in the settings.
        if all(bool(parameter.isfinite().all()) for parameter in trainer.denoiser.parameters()):
            raise
    return Training(weights, losses, trainer.batches.drawn, trainer.seconds)


def load(model: ModelConfig, weights: dict[str, Tensor], device: str) -> Denoiser:
    """The trained model."""
    denoiser = Denoiser(model).eval().requires_grad_(False)
    denoiser.load_state_dict(weights)
    return denoiser.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def bound_rows(
    denoiser: Denoiser, images: Tensor, *, seed: int, progress: Callable[[int], None]
) -> dict[VarianceKind, list[Row]]:
    """Every image's bound in bits/dim with each variance of the model: L_T, L (of 1 to T - 1), L_0 and their total.

    Args:
        denoiser: the model.
        images: uint8, (N, 3, H, W).
        seed: of the noise.
        progress: told the number of levels done.
    """
    batch_size = 48 if next(denoiser.parameters()).device.type == "cpu" else 512
    found = measure_bound(denoiser, denoiser.schedule, images, seed=seed, batch_size=batch_size, progress=progress)
    return {
        kind: [
            {
                "image": row["image"],
                "L_T": row["L_T"],
                "L": row[f"L_{kind}"],
                "L_0": row[f"L_0_{kind}"],
                "total": row[f"total_{kind}"],
            }
            for row in found.bound_rows()
        ]
        for kind in found.terms
    }


def status(training: Training, rows: list[Row]) -> Status:
    """`unstable` where the loss has diverged or the bound is not finite; `above 8` where raw pixels would cost less."""
    totals = [row["total"] for row in rows]
    finite = [total for total in totals if total is not None and abs(total) < float("inf")]
    if training.has_diverged or len(finite) < len(totals):
        return "unstable"
    return "above 8" if sum(finite) > RAW_BPD * len(finite) else "stable"


@dataclass(frozen=True)
class SampleTest:
    """How samples are drawn and judged.

    Args:
        count: of samples; 0 for none.
        steps: noise levels of ancestral sampling.
        seed: of the samples.
        size: height and width of a sample.
        moments: of the random features of real images.
        inception: for FID and Inception score.
    """

    count: int
    steps: int
    seed: int
    size: int
    moments: Moments
    inception: InceptionTest | None

    def scores(self, denoiser: Denoiser) -> dict[str, float | None]:
        """Of a model's samples."""
        if self.count == 0:
            return {}
        from diffcodec.diffusion.sampling import sample_images

        images = sample_images(denoiser, self.count, size=self.size, steps=self.steps, seed=self.seed, batch_size=64)
        return self.scores_of(images)

    def scores_of(self, images: Tensor) -> dict[str, float | None]:
        """Of any images."""
        scores: dict[str, float | None] = {"frechet_random": frechet_random(images, self.moments)}
        if self.inception is not None:
            scores |= self.inception.scores(images)
        return scores
