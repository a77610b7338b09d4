"""The comparison of decoders as it is run, on two pictures."""

from __future__ import annotations

import json
from pathlib import Path

import decoders
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image


def test_a_run_measures_every_decoder_and_draws_it(tmp_path: Path) -> None:
    out, picture = tmp_path / "decoders.json", tmp_path / "decoders.png"
    options = ["--images", "2", "--timesteps", "500", "--steps", "10", "--out", str(out), "--picture", str(picture)]
    done = CliRunner().invoke(decoders.main, options)
    assert done.exit_code == 0, done.output
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["decoder"] for row in rows] == ["mean", "flow", "ancestral"]
    assert rows[0]["psnr_db"] > max(row["psnr_db"] for row in rows[1:])
    # t = 500, and the five of ten levels that lie below.
    assert [row["evaluations"] - rows[0]["evaluations"] for row in rows] == [0, 5, 5]
    for size in rows[0]["detail"]:
        assert rows[0]["detail"][size] < rows[1]["detail"][size]
    with Image.open(picture) as image:
        assert image.size == (4 * 64 + 3 * 2, 2 * 64 + 2)


def test_detail_is_the_energy_of_details_of_that_size() -> None:
    rows = np.arange(32)
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    for width, (low, high) in {1: (16, 32), 4: (4, 8)}.items():
        stripes[:] = np.where(rows // width % 2 == 0, 100, 150)[None, :, None, None]
        energies = {span: decoders.detail_energy(stripes, *span) for span in decoders.DETAILS.values()}
        assert max(energies, key=lambda span: energies[span] * (span[1] ** 2 - span[0] ** 2)) == (low, high)
    flat = np.full((2, 32, 32, 3), 90, np.uint8)
    assert decoders.detail_energy(flat, 1, 32) == pytest.approx(0, abs=1e-12)
