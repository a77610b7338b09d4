"""The comparison of computations of SSIMULACRA 2, on one small picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import ssimulacra2_scores
from click.testing import CliRunner
from PIL import Image

from diffcodec.images.visibility import measure_ssimulacra2
from tests.conftest import smooth_pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(smooth_pixels(230, 240)).save(tmp_path / "a.png")
    return tmp_path


def printed(*arguments: object) -> list[list[str]]:
    result = CliRunner().invoke(ssimulacra2_scores.command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


def test_differences_are_from_this_package_by_default(folder: Path) -> None:
    head, low, high, *times = printed("--data", folder, "--qualities", "20,90")
    assert head == ["quality", "score", "package", "largest"]
    pixels = smooth_pixels(230, 240)
    score = measure_ssimulacra2(pixels, ssimulacra2_scores.as_jpeg(pixels, 20))
    assert low[:2] == ["20", f"{score:.1f}"]
    assert float(low[1]) < float(high[1])
    assert abs(float(low[2])) == float(low[3]) > 0.1  # the package's blur differs at the borders
    assert [line[0] for line in times] == ["package:", "diffcodec:"]


def test_a_reference_is_a_program(folder: Path) -> None:
    program = folder / "program"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nassert all(map(os.path.isfile, sys.argv[1:]))\nprint(50.0)\n"
    )
    program.chmod(0o755)
    head, line, *_ = printed("--data", folder, "--qualities", "20", "--reference", program, "--crop", 120)
    assert head[4:] == ["diffcodec", "largest"]
    pixels = smooth_pixels(230, 240)[:120, :120].copy()
    score = measure_ssimulacra2(pixels, ssimulacra2_scores.as_jpeg(pixels, 20))
    assert score is not None
    assert line[:2] == ["20", "50.0"]
    assert line[4:] == [f"{score - 50:.2f}", f"{abs(score - 50):.2f}"]
