"""The paper's measurement as a result file and as a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.evaluation.bound import measure_bound
from diffcodec.evaluation.bound_measurement import BoundMeasurement
from diffcodec.evaluation.bound_results import attach_references, is_complete, join, wanted_steps, write_bound
from diffcodec.evaluation.records import ResultFile
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

SCHEDULE = NoiseSchedule(ScheduleConfig(steps=10, beta_start=0.01, beta_end=0.5))
PICTURES = [Picture(smooth_pixels(8, 8 if seed else 16, seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def measurement(tiny_checkpoint: Checkpoint) -> BoundMeasurement:
    """Of three pictures in two parts, given out of order."""
    denoiser = tiny_checkpoint.denoiser()
    indices = [(1, 2), (0,)]
    parts = [
        measure_bound(
            denoiser, SCHEDULE, torch.stack([torch.from_numpy(PICTURES[i].pixels).permute(2, 0, 1) for i in s])
        )
        for s in indices
    ]
    joined = join(indices, parts)
    assert np.array_equal(joined.mse[:, 1:], parts[0].mse)
    assert np.array_equal(joined.rate_fine[:, :1], parts[1].rate_fine)
    return joined


def test_points_are_those_of_table_4_and_of_the_files() -> None:
    assert wanted_steps(1000, [500, 100, 1]) == [100, 200, 300, 400, 500, 501, 600, 700, 800, 900, 901, 1000]
    assert wanted_steps(4, []) == [1, 2, 3, 4]


def test_rows_become_references(measurement: BoundMeasurement, tmp_path: Path) -> None:
    bound = ResultFile(tmp_path / "bound.json", {"codec": "ddpm-bound"}, {})
    steps_done = wanted_steps(10, [7])
    assert not is_complete(bound, steps_done)
    write_bound(bound, measurement, PICTURES, steps_done, seed=0)
    again = ResultFile(tmp_path / "bound.json", {"codec": "ddpm-bound"}, {})
    assert is_complete(again, steps_done)
    assert not is_complete(again, [*steps_done, 11])
    rows = again.points["4 steps done"]["rows"]
    assert [row["ideal_bits"] / row["ideal_bpd"] for row in rows] == pytest.approx([384, 192, 192])

    files = ResultFile(tmp_path / "files.json", {"codec": "diffcodec"}, {})
    for timestep in (7, 0):
        files.put(
            f"t={timestep}",
            timestep,
            [{"image": image, "timestep": timestep, "reference_bits": None} for image in (0, 1)],
        )
    attach_references(files, again, PICTURES)
    for timestep in (7, 0):
        rows = ResultFile(tmp_path / "files.json", {"codec": "diffcodec"}, {}).points[f"t={timestep}"]["rows"]
        expected = measurement.rate_fine[timestep, :2] * [384, 192]
        assert [row["reference_bits"] for row in rows] == pytest.approx(expected.tolist(), rel=1e-5)
    written = (tmp_path / "files.json").stat().st_mtime_ns
    attach_references(files, again, PICTURES)
    assert (tmp_path / "files.json").stat().st_mtime_ns == written  # nothing was open
