"""The sheet of what each decoder makes of a file."""

from __future__ import annotations

import re
from pathlib import Path

import looks
import numpy as np
import pytest
from click.testing import CliRunner
from files_of_size import largest_avif
from looks import main
from PIL import Image, features

from diffcodec.evaluation.baselines import all_baselines
from tests.conftest import smooth_pixels


@pytest.mark.slow
def test_sheet_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real ones need larger pictures and an encoder that may be missing.
    monkeypatch.setattr(looks, "measure_ssimulacra2", lambda one, two: -float(abs(one.astype(int) - two).mean()))
    monkeypatch.setattr(looks, "largest_avif", lambda pixels, size: (size - 1, 255 - pixels) if size > 150 else None)
    Image.fromarray(smooth_pixels(32, 32)).save(tmp_path / "a.png")
    model = "cifar10-small-v3"
    options = ["--data", str(tmp_path), "--pictures", "a", "--rates", "1,2", "--model", model, "--before", model]
    run = CliRunner().invoke(main, [*options, "--side", "20", "--draw", str(tmp_path / "sheet.png")])
    assert run.exit_code == 0, run.output
    head, coarse, fine, last = run.output.splitlines()
    assert "short-flow, dB" in head
    cells = re.findall(r"\S+, \S+", fine)
    assert cells[0] == cells[2], "the means before and now, of the same model"
    assert coarse.endswith("-")
    assert not fine.endswith("-")
    assert last.startswith("auto falls short")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (7 * (20 + looks.GAP) - looks.GAP, 2 * (20 + looks.LABEL))


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_largest_avif_is_the_finest_that_fits() -> None:
    pixels = np.ascontiguousarray(np.tile(smooth_pixels(32, 32), (2, 2, 1)))
    avif = next(each for each in all_baselines() if each.name == "avif")
    sizes = {quality: len(avif.encode(Image.fromarray(pixels), float(quality))) for quality in (30, 31)}
    found = largest_avif(pixels, sizes[31] - 1)
    assert found is not None
    assert found[0] < sizes[31]
    assert found[1].shape == pixels.shape
    assert largest_avif(pixels, 10) is None
