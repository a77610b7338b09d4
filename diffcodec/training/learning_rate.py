"""The learning rate over a run."""

from __future__ import annotations

import math

from diffcodec.training.config import TrainingConfig


def learning_rate_factor(training: TrainingConfig, images: int, fraction: float) -> float:
    """Factor of the peak learning rate: linear warm-up, 1, then half a cosine down to `final_learning_rate`.

    Args:
        training: settings.
        images: training images so far.
        fraction: completed part of the run, 0 to 1.
    """
    warmup = min(1.0, (images + 1) / max(1, training.warmup_images))
    if not training.decay_share:
        return warmup
    decayed = min(1.0, max(0.0, 1 - (1 - fraction) / training.decay_share))
    final = training.final_learning_rate
    return warmup * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * decayed)))
