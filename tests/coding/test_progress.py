"""Progress is reported during a call: it rises to the end, and its expectations are what the call takes."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.progress import Progress, ProgressBar, ProgressCounter
from diffcodec.coding.targets import Target
from diffcodec.diffusion import windows
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels
from tests.counting import counting


def rises_to_the_end(reports: list[Progress]) -> bool:
    done = [report.evaluations for report in reports]
    return all(a < b for a, b in pairwise(done)) and reports[-1].fraction == 1


@pytest.mark.parametrize(
    "options",
    [
        {"timestep": 100},
        {"timestep": 100, "measure": False},
        {"timestep": 0},
        {"quality": 50},
        {"target": Target.psnr(18)},
        {"target": Target.bytes(200)},
        {"timestep": 30, "speed": 10},
    ],
    ids=str,
)
def test_compressing_and_restoring_report_rising_fractions(options: dict[str, Any], codec: DiffusionCodec) -> None:
    reports: list[Progress] = []
    pictures = [Picture(smooth_pixels(12, 10, seed)) for seed in range(2)]
    streams = codec.compress_batch(pictures, progress=reports.append, **options)
    assert rises_to_the_end(reports)
    for kind in ("mean", "mirrored", "flow", "ancestral"):
        reports.clear()
        codec.decompress_batch(streams, reconstruction=kind, progress=reports.append)
        assert rises_to_the_end(reports) or reports == [Progress(0, 0)]  # stored pictures


@pytest.mark.parametrize("timestep", [1, 40, 700])
@pytest.mark.parametrize("measure", [False, True])
def test_the_expected_evaluations_are_those_that_are_made(
    timestep: int, measure: bool, tiny_checkpoint: Checkpoint
) -> None:
    codec, network = counting(tiny_checkpoint)
    reports: list[Progress] = []
    stream = codec.compress(Picture(smooth_pixels(12, 10)), timestep=timestep, measure=measure, progress=reports.append)
    assert {report.expected for report in reports} == {len(network.batch_sizes())}
    for kind in ("mean", "mirrored", "flow", "ancestral"):
        reports.clear()
        codec.decompress(stream, reconstruction=kind, progress=reports.append)
        assert {report.expected for report in reports} == {len(network.batch_sizes())}


def test_windows_of_a_large_picture_count_in_parts(codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 0)
    margin = codec.checkpoint.config.network.receptive_radius
    reports: list[Progress] = []
    codec.compress(Picture(smooth_pixels(4, 4 * margin)), timestep=500, progress=reports.append)
    assert rises_to_the_end(reports)
    assert any(report.evaluations % 1 for report in reports)
    assert len(reports) > reports[-1].expected


def test_an_exception_of_the_callback_ends_the_call(codec: DiffusionCodec, picture: Picture) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        codec.compress(picture, progress=stop)


def test_a_search_that_ends_early_is_complete() -> None:
    reports: list[Progress] = []
    counter = ProgressCounter(reports.append, 20)
    for _ in range(3):
        counter.part(10)(1.0)
    counter.reach(20)
    counter.reach(20)
    assert [report.evaluations for report in reports] == [1, 2, 3, 20]
    for _ in range(30):
        counter.part(0)(1.0)
    assert reports[-1].fraction == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_true_shows_a_bar_on_a_terminal(
    terminal: bool,
    codec: DiffusionCodec,
    picture: Picture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    codec.compress(picture, timestep=100, progress=True)
    assert ("0%" in capsys.readouterr().err) is terminal
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    codec.compress(picture, timestep=100, progress=True)
    assert "0%" in capsys.readouterr().err
    codec.compress(picture, timestep=100)
    assert capsys.readouterr().err == ""
    bar = ProgressBar()
    bar(Progress(0, 0))  # nothing to do
    assert np.isclose(bar._bar.n, 1)
