"""The learning rate over a run."""

import pytest

from diffcodec.training.config import TrainingConfig
from diffcodec.training.learning_rate import learning_rate_factor


def test_it_rises_stays_and_falls() -> None:
    config = TrainingConfig(warmup_images=100, decay_share=0.25, final_learning_rate=0.1)
    assert learning_rate_factor(config, 0, 0.0) == pytest.approx(0.01)
    assert learning_rate_factor(config, 49, 0.01) == pytest.approx(0.5)
    assert learning_rate_factor(config, 10_000, 0.75) == 1
    assert learning_rate_factor(config, 10_000, 0.875) == pytest.approx(0.55)
    assert learning_rate_factor(config, 10_000, 1.0) == pytest.approx(0.1)


def test_a_share_of_nothing_never_falls() -> None:
    config = TrainingConfig(warmup_images=0, decay_share=0.0)
    assert [learning_rate_factor(config, 5, fraction) for fraction in (0.0, 0.5, 1.0)] == [1, 1, 1]


def test_by_default_it_is_half_a_cosine_over_the_whole_run() -> None:
    config = TrainingConfig(warmup_images=0)
    assert learning_rate_factor(config, 5, 0.5) == pytest.approx(0.5)
