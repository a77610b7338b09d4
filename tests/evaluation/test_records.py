"""Summaries over images, and the files that keep them."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.errors import ConfigError
from diffcodec.evaluation.records import ResultFile, Row, Summary, read_results, summarise

CONDITIONS = {"codec": "test", "images": 3, "seed": 0, "model": {"fingerprint": "00aa"}}
ROWS: list[Row] = [
    {"image": i, "mse": float(i), "payload_bytes": 10 * i, "delivered_bits": 64.0 * i} for i in (1, 2, 4)
]


def column(summary: Summary, name: str) -> dict[str, float | None]:
    """The figures of a column that has values."""
    found = summary[name]
    assert found is not None
    return found


def test_mean_median_and_root_of_the_mean() -> None:
    summary = summarise(ROWS)
    assert set(summary) == {"mse", "payload_bytes", "delivered_bits", "rmse_of_mean", "paid_per_delivered_bit"}
    mse, rmse = column(summary, "mse"), column(summary, "rmse_of_mean")
    assert mse["mean"] == pytest.approx(7 / 3)
    assert mse["median"] == 2
    for key in ("mean", "median", "low", "high"):
        assert rmse[key] == pytest.approx(math.sqrt(mse[key] or 0.0))
    # Every image pays 80 bits for 64.
    assert list(column(summary, "paid_per_delivered_bit").values()) == pytest.approx([1.25] * 4)


def test_interval_is_that_of_the_normal_approximation_and_repeats() -> None:
    rng = np.random.default_rng(0)
    values, count = rng.exponential(5.0, 400), 400
    rows: list[Row] = [{"image": i, "bpd": float(v), "constant": 3} for i, v in enumerate(values)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarise(rows, seed=1)
    half = 1.96 * values.std() / math.sqrt(count)
    bpd = column(summary, "bpd")
    assert bpd["low"] == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert bpd["high"] == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert summary["constant"] == {"mean": 3, "median": 3, "low": 3, "high": 3}
    assert summarise(rows, seed=1) == summary != summarise(rows, seed=2)


def test_ratio_is_of_the_sums() -> None:
    rows: list[Row] = [{"payload_bytes": 100, "delivered_bits": 800.0}, {"payload_bytes": 2, "delivered_bits": 8.0}]
    ratio = column(summarise(rows), "paid_per_delivered_bit")
    assert ratio["mean"] == pytest.approx(816 / 808)
    assert ratio["median"] == pytest.approx(1.5)
    assert ratio["low"] == pytest.approx(1.0)
    assert ratio["high"] == pytest.approx(2.0)


def test_missing_values_are_left_out_and_one_image_has_no_interval() -> None:
    summary = summarise(
        [{"psnr_db": None, "ms_ssim": None, "mse": 0.0}, {"psnr_db": 30.0, "ms_ssim": None, "mse": 2.0}]
    )
    assert summary["ms_ssim"] is None
    assert summary["psnr_db"] == {"mean": 30.0, "median": 30.0, "low": None, "high": None}
    assert column(summary, "mse")["mean"] == 1.0
    assert summarise([]) == {}


def test_points_are_kept_in_order_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "data" / "test.json"
    results = ResultFile(path, CONDITIONS, {"command": "first"})
    results.add("q=30", 30.0, ROWS, flat_grey_bytes=9)
    results.add("q=5", 5.0, ROWS)
    found = read_results(path)
    assert [point["setting"] for point in found["points"]] == ["q=5", "q=30"]
    assert found["command"] == "first"
    assert found["images"] == 3
    assert found["points"][1]["flat_grey_bytes"] == 9
    assert found["points"][1]["rows"] == ROWS
    assert found["points"][1]["summary"]["mse"]["median"] == 2
    again = ResultFile(path, CONDITIONS, {"command": "second"})
    assert "q=5" in again
    assert "q=80" not in again
    again.add("q=80", 80.0, ROWS)
    found = read_results(path)
    assert len(found["points"]) == 3
    assert found["command"] == "second"


@pytest.mark.parametrize("change", [{"images": 4}, {"seed": 1}, {"model": {"fingerprint": "00ab"}}, {"extra": 1}])
def test_other_conditions_start_over(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "test.json"
    ResultFile(path, CONDITIONS, {}).add("q=5", 5.0, ROWS)
    assert "q=5" in ResultFile(path, CONDITIONS, {})
    assert "q=5" not in ResultFile(path, CONDITIONS, {}, fresh=True)
    other = ResultFile(path, {**CONDITIONS, **change}, {})
    assert "q=5" not in other
    assert "q=5" in ResultFile(path, CONDITIONS, {})  # nothing is lost before there is something to take its place
    other.add("q=6", 6.0, ROWS)
    assert [point["setting"] for point in read_results(path)["points"]] == ["q=6"]


def test_extras_stay(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    results = ResultFile(path, CONDITIONS, {"command": "x"})
    results.extras["terms"] = [{"timestep": 1, "mse": 0.5}]
    results.write()
    again = ResultFile(path, CONDITIONS, {"command": "y"})
    assert again.extras == {"terms": [{"timestep": 1, "mse": 0.5}]}


def test_files_are_strict_json_of_numbers_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    results = ResultFile(path, CONDITIONS, {})
    row: dict[str, Any] = {"image": np.int64(1), "mse": np.float32(0.1), "psnr_db": math.inf, "bpd": 1 / 3}
    results.add("q", 1.0, [row])
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["points"][0]["rows"] == [{"image": 1, "mse": 0.1, "psnr_db": None, "bpd": 0.3333333}]


@pytest.mark.parametrize("text", ["", "[]", '{"points": 3}', "no json"])
def test_files_of_others_are_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a result file"):
        ResultFile(path, CONDITIONS, {})
    assert path.read_text() == text
    ResultFile(path, CONDITIONS, {}, fresh=True).add("q", 1.0, ROWS)
    assert "points" in read_results(path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be created .* name another folder") as error:
        ResultFile(tmp_path / "file" / "test.json", CONDITIONS, {}).add("q", 1.0, ROWS)
    assert error.value.parameters == ("out",)
