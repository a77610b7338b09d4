"""The yardstick of denoisers on a small network."""

from __future__ import annotations

import math
from pathlib import Path

import denoising
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from diffcodec.model.checkpoint import Checkpoint

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(tmp_path: Path, tiny_checkpoint: Checkpoint) -> Path:
    """A training folder with two averages over the run."""
    (tmp_path / "averages").mkdir()
    (tmp_path / "model.safetensors").write_bytes(tiny_checkpoint.to_bytes())
    weights = {name: value.float().contiguous() for name, value in tiny_checkpoint.weights.items()}
    for width in (0.05, 0.1):
        save_file(weights, tmp_path / "averages" / f"{100:010}-{width:g}.safetensors")
    return tmp_path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "cbsd68"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(np.full((40, 24), 90, np.uint8)).save(folder / "b.png")
    return folder


@pytest.mark.slow
def test_published_numbers_stand_beside_a_run(run: Path, pictures: Path) -> None:
    options = ["--run", str(run), "--width", "0.07", "--data", str(pictures), "--mirrored"]
    result = CliRunner().invoke(denoising.main, options)
    assert result.exit_code == 0, result.output
    assert "cbsd68: 2 pictures" in result.output
    assert any("DnCNN" in line and "33.90" in line for line in result.output.splitlines())
    assert f"{run.name}, width 0.07, mirrored" in result.output
    assert "kMAC/pixel" in result.output


def test_a_perfect_estimate_has_no_error(tiny_checkpoint: Checkpoint) -> None:
    """The network's output is ignored where the noise is nearly nothing."""
    model = denoising.Model("tiny", tiny_checkpoint.denoiser(), "fp32")
    picture = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    fine, coarse = (denoising.psnrs(model, [picture], sigma, mirrored=False)[0] for sigma in (0.5, 50))
    assert fine > 40
    assert coarse < fine - 10
    assert math.isfinite(coarse)
