"""The measurement of variances that follow the picture."""

from __future__ import annotations

from pathlib import Path

import local_variances
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.conftest import smooth_pixels


def test_smaller_groups_need_fewer_bits() -> None:
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=(4, 4))).repeat(32, 0).repeat(32, 1)  # every square of 32 pixels has its own
    errors, known = ((0.05 * scale * rng.normal(size=(2, 3, 128, 128))).astype(np.float32) for _ in range(2))
    estimate = np.zeros_like(errors)
    found = local_variances.step_bits((errors, estimate), (known, estimate), 500.0, 16)
    assert found["static"] > 1.02 * found["tile 32"]
    assert found["static"] >= found["picture"] >= found["tile 128"] >= found["tile 64"] >= found["tile 32"]
    assert found["tile 32"] == pytest.approx(found["tile 16"], rel=0.01)  # nothing more to follow


@pytest.mark.slow
def test_the_command_prints_a_table(tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(smooth_pixels(64, 64, number)).save(tmp_path / f"{number}.png")
    arguments = [
        "--data",
        tmp_path,
        "--training",
        tmp_path,
        "--crop",
        64,
        "--limit",
        1,
        "--timestep",
        300,
        "--threads",
        1,
    ]
    done = CliRunner().invoke(local_variances.main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    assert ["32", "tile", "32"] in [line.split()[:3] for line in done.output.splitlines()]
