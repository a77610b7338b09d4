"""benchmarks/dataset.py: its data, its arithmetic, and its commands on little data."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import dataset as benchmark
import numpy as np
import pytest
from click.testing import CliRunner
from data_sets.cost import whole_data_set
from data_sets.making import parts, pictures_from, write_shards

from diffcodec.images import read_picture


def test_pictures_are_used_again_and_cut_into_shards(tmp_path: Path) -> None:
    pictures = pictures_from(None, 205)
    assert pictures[0] == pictures[100] == pictures[200]
    assert pictures[0] != pictures[1]
    assert read_picture(io.BytesIO(pictures[7])).pixels.shape == (32, 32, 3)
    assert [len(part) for part in parts(pictures, 4)] == [52, 52, 52, 49]
    folder = write_shards(tmp_path / "shards", pictures[:6], 3)
    with tarfile.open(folder / "train-002.tar") as archive:
        assert archive.getnames() == ["000004.png", "000004.cls", "000005.png", "000005.cls"]


def test_a_data_set_costs_what_its_pictures_cost() -> None:
    picture = {"side": 512, "processor_s": 3.6, "file_bytes": 10_000}
    found = whole_data_set(picture, 1_000_000, 100)
    assert (found["core_hours"], found["shards"], found["result_tb"]) == (1000, 1000, 0.01)
    assert found["days"] == pytest.approx(1000 / 100 / 24, abs=0.05)
    assert found["source_tb"] == pytest.approx(1e6 * 512**2 * 2.5 / 8e12, abs=0.05)


def test_the_cost_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(benchmark.main, ["--out", str(out), "cost", "--side", "72", "-t", "500"])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())["cost"]
    assert found["side"] == 72
    assert found["file_bytes"] > 0
    assert np.isfinite(found["microseconds_per_pixel"])
    assert found["microseconds_per_pixel"] > 0


@pytest.mark.slow
def test_everything_is_the_same_whatever_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "figures.json"
    arguments = ["--out", str(out), "identity", "--count", "160", "--shards", "8", "-t", "500"]
    result = CliRunner().invoke(benchmark.main, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(out.read_text())["identity"]
    assert all(found[key] for key in found if "same bytes" in key)
    assert found["worker killed: exit code"] == 0
    assert found["repeated: up to date"] == found["driver killed: shards complete"]
    assert found["repeated: verified pictures"] == 160
    assert found["broken shard: each named"]
    assert found["broken shard: failed"] == 5
