"""Seconds against bits of all settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import speed_table
from click.testing import CliRunner
from PIL import Image
from speed_table import Curve, better, main

from diffcodec.evaluation.baselines import flat_grey_bytes
from tests.conftest import smooth_pixels


def test_files_that_are_worse_than_smaller_ones_do_not_count() -> None:
    points = [[200.0, 31.0, 1, 1], [100.0, 30.0, 1, 1], [300.0, 31.0, 1, 1], [250.0, 30.5, 1, 1], [400.0, 35.0, 1, 1]]
    sizes, psnrs = better(points)
    assert np.array_equal(sizes, [100, 200, 400])
    assert np.array_equal(psnrs, [30, 31, 35])


def test_twice_the_bytes_are_a_rate_of_100_percent() -> None:
    psnrs = (28.0, 31.0, 34.0, 37.0)
    one = Curve("one", [[[size, psnr, 1.0, 1.0] for size, psnr in zip((100, 200, 400, 800), psnrs, strict=True)]])
    two = Curve("two", [[[2 * size, psnr, 3.0, 1.0] for size, psnr, _, _ in one.points[0]]])
    assert two.rate_over(one) == pytest.approx(100, abs=0.1)
    assert one.rate_over(two) == pytest.approx(-50, abs=0.1)
    assert two.seconds(2) == 3


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(smooth_pixels(32, 32)).save(tmp_path / "a.png")
    out = tmp_path / "out" / "table.json"
    options = ["--data", str(tmp_path), "--model", "cifar10-small-v3", "--timesteps", "600,400,200", "--out", str(out)]
    options += ["--peers", "", "--threads", "1", "--clock", "processor"]
    real, limit = speed_table.own_curve, 4  # the first call warms up

    def stops(*arguments: object, **named: object) -> object:
        nonlocal limit
        limit -= 1
        if not limit:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(speed_table, "own_curve", stops)
    assert CliRunner().invoke(main, options).exit_code != 0
    before = json.loads(out.read_text())["curves"]
    assert [each["name"] for each in before] == ["diffcodec, speed 0", "diffcodec, speed 1"]
    limit = 100
    run = CliRunner().invoke(main, options)
    assert run.exit_code == 0, run.output
    assert limit == 100 - 1 - 9, "the two that were measured are kept"
    after = json.loads(out.read_text())["curves"]
    assert after[:2] == before
    assert len(after) == 11
    assert "bits over diffcodec, speed 6" in run.output


def test_other_codecs_count_without_headers_and_with_their_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_table, "QUALITIES", (20, 60))
    fast = speed_table.peer_settings(["avif"])["AVIF, speed 10"]
    image = Image.fromarray(smooth_pixels(48, 40))
    assert [each["speed"] for each in fast.attempts(image, 20)] == [10]
    points = speed_table.peer_curve([np.asarray(image)], fast, lambda: 0.0)[0]
    for point, quality in zip(points, (20, 60), strict=True):
        assert point[0] == len(fast.encode(image, quality)) - flat_grey_bytes(fast, quality, 40, 48)
    assert points[0][:2] < points[1][:2]
