"""CompressAI's result files: ours can be drawn by its tool, and its own by ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures.records import load_results

from diffcodec.errors import ConfigError
from diffcodec.evaluation.compressai import read_compressai, to_compressai
from diffcodec.evaluation.records import Results
from tests.benchmarks.synthetic_results import write_results
from tests.commands import fails, run, succeeds

THEIRS = {
    "name": "BPG 444",
    "description": "BPG. BPG version 0.9.8",
    "results": {
        "psnr-rgb": [40.1, 28.2, 33.3],
        "ms-ssim-rgb": [0.99, 0.91, 0.97],
        "bpp": [2.5, 0.2, 0.8],
        "encoding_time": [0.3, 0.1, 0.2],
    },
}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_files_of_compressai_are_read_by_rising_rate(tmp_path: Path) -> None:
    curve = read_compressai(written(tmp_path / "bpg.json", THEIRS))
    assert (curve.name, curve.bpp, curve.psnr_db) == ("BPG 444", (0.2, 0.8, 2.5), (28.2, 33.3, 40.1))
    assert curve.ms_ssim == (0.91, 0.97, 0.99)
    assert curve.counts_files
    network = {**THEIRS, "description": "Inference (ans)"}
    assert not read_compressai(written(tmp_path / "network.json", network)).counts_files


def test_older_forms_are_read(tmp_path: Path) -> None:
    bare = {"bpp": [1.0, 2.0], "psnr": [30, 35], "msssim": [0.9, 0.95]}
    curve = read_compressai(written(tmp_path / "bare.json", bare))
    assert (curve.name, curve.psnr_db, curve.ms_ssim) == ("bare", (30.0, 35.0), (0.9, 0.95))
    assert read_compressai(written(tmp_path / "short.json", {"bpp": [1.0]})).psnr_db == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "not a result file of CompressAI"),
        ({"results": {"psnr-rgb": [1]}}, "not a result file of CompressAI"),
        ({"results": {"bpp": [1.0], "psnr-rgb": [1.0, 2.0]}}, "psnr-rgb: expected 1 numbers as of bpp, found 2"),
        ({"results": {"bpp": ["x"]}}, "bpp: expected a list of numbers"),
    ],
)
def test_other_files_are_errors(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_compressai(written(tmp_path / "a.json", value))
    with pytest.raises(ConfigError, match=r"missing\.json"):
        read_compressai(tmp_path / "missing.json")


def results_of(points: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    conditions = {"model": {"name": "m"}, "images": 2, "dataset": "d", "channel": "trellis", "effort": 12}
    results = Results(conditions, {})
    for number, (setting, rows) in enumerate(points.items()):
        results.put(setting, float(number), rows)
    return results.document


def row(bpp: float, psnr_db: float | None, ms_ssim: float | None = 0.9) -> dict[str, Any]:
    return {"bpp": bpp, "psnr_db": psnr_db, "ms_ssim": ms_ssim, "encode_s": 0.5, "decode_s": 0.25}


def test_our_results_have_its_form() -> None:
    points = {"t=0": [row(9, None)], "t=1": [row(3, 40), row(5, 42)], "t=9": [row(1, 30), row(1, 31)]}
    found = to_compressai(results_of(points))
    assert found["name"] == "diffcodec m"
    assert found["results"] == {
        "bpp": [1.0, 4.0],
        "psnr-rgb": [30.5, 41.0],
        "ms-ssim-rgb": [0.9, 0.9],
        "encoding_time": [0.5, 0.5],
        "decoding_time": [0.25, 0.25],
    }
    small = to_compressai(results_of({"t=1": [row(3, 40, None)], "t=9": [row(1, 30)]}))
    assert "ms-ssim-rgb" not in small["results"]
    with pytest.raises(ConfigError, match="no lossless results"):
        to_compressai(results_of({"t=0": [row(9, None)]}))


@pytest.mark.slow
def test_the_command_writes_it(tmp_path: Path, tiny_model: Path) -> None:
    root = Path(__file__).parents[2]
    data = root / "benchmarks" / "data" / "cifar10-test-100.webp"
    arguments = ("evaluate", "rd", "--data", data, "--limit", 2, "-t", "500,300", "--model", tiny_model, "--jobs", 1)
    path = tmp_path / "ours.json"
    printed = succeeds(run(*arguments, "--format", "compressai", "--json", path)).stdout
    assert "t=500" in printed
    found = json.loads(path.read_text())
    assert read_compressai(path).bpp == tuple(found["results"]["bpp"])
    assert found["results"]["bpp"] == sorted(found["results"]["bpp"])
    assert len(found["results"]["psnr-rgb"]) == 2
    own = json.loads(succeeds(run(*arguments, "--json")).stdout)
    means = sorted(point["summary"]["bpp"]["mean"] for point in own["points"])
    assert found["results"]["bpp"] == pytest.approx(means)
    fails(run(*arguments[:-2], "-t", 0, "--model", tiny_model, "--format", "compressai"), "no lossless results")


def test_its_plotting_tool_draws_ours(tmp_path: Path) -> None:
    plot = pytest.importorskip("compressai.utils.plot.__main__")
    points = {"t=1": [row(3, 40), row(5, 42)], "t=9": [row(1, 30), row(1, 31)]}
    path = written(tmp_path / "ours.json", to_compressai(results_of(points)))
    plot.main(["-f", str(path), "-o", str(tmp_path / "figure.png")])
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_our_figures_draw_its_files(tmp_path: Path) -> None:
    from figures.curves import BPP_PSNR, draw_curves

    folder, reported = write_results(tmp_path / "made")
    theirs = written(tmp_path / "bpg.json", THEIRS)
    results = load_results(folder, reported, [theirs])
    figure = draw_curves(results, BPP_PSNR)
    lines = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    assert any(len(line) == 3 and np.allclose(line, [(0.2, 28.2), (0.8, 33.3), (2.5, 40.1)]) for line in lines)  # type: ignore[arg-type]
    assert any("BPG 444" in text.get_text() for text in figure.legends[0].texts)
