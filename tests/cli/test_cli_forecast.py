"""--steps-table and --dry-run: what happened, and what would happen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.cli.forecast import SAMPLE_SIDE, samples
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.targets import Target
from diffcodec.images import Picture
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels


@pytest.mark.parametrize(
    "options", [{"timestep": 30}, {"timestep": 0, "may_store": False}, {"quality": 30}, {"target": Target.bytes(150)}]
)
def test_the_report_is_the_sum_of_its_steps(options: dict[str, object], codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(9, 7, seed)) for seed in range(2)]
    for stream in codec.compress_batch(pictures, **options):  # type: ignore[arg-type]
        report = stream.report
        assert len(report.steps) == codec.decompress(stream).steps - (report.timestep == 0)
        for name in ("ideal_bits", "delivered_bits", "path_bits", "side_bits"):
            assert sum(getattr(step, name) for step in report.steps) == pytest.approx(getattr(report, name))
        levels = [step.log_snr for step in report.steps]
        assert levels == sorted(levels)
        assert report.steps[-1].timestep >= report.timestep - 1


def test_a_stored_picture_has_no_steps(codec: DiffusionCodec) -> None:
    assert codec.compress(Picture(np.zeros((4, 4, 3), np.uint8)), timestep=0).report.steps == ()


def test_the_table_of_steps_is_printed_on_demand(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.dfc"
    plain = succeeds(run("compress", photo, "-o", out, "-t", 300)).stdout
    shown = succeeds(run("compress", photo, "-o", out, "-t", 300, "--force", "--steps-table")).stdout.splitlines()
    assert len(plain.splitlines()) == 1
    assert shown[1].split()[:5] == ["step", "t", "log", "SNR", "KL"]
    assert shown[-1].split()[0] == "sum"
    values = json.loads(
        succeeds(run("compress", photo, "-o", out, "-t", 300, "--force", "--steps-table", "--json")).stdout
    )
    assert len(values["step_table"]) == values["steps"] == len(shown) - 3
    assert "step_table" not in json.loads(succeeds(run("compress", photo, "-o", out, "--force", "--json")).stdout)


def test_a_dry_run_writes_nothing_and_is_exact_for_small_pictures(photo: Path) -> None:
    before = sorted(photo.parent.iterdir())
    found = json.loads(succeeds(run("compress", photo, "-t", 200, "--dry-run", "--json")).stdout)
    assert sorted(photo.parent.iterdir()) == before
    real = json.loads(succeeds(run("compress", photo, "-t", 200, "--json")).stdout)
    assert {name: found[name] for name in ("timestep", "steps")} == {name: real[name] for name in ("timestep", "steps")}
    assert found["file_bytes"] == real["file_bytes"] - real["alpha_bytes"] - real["metadata_bytes"]
    line = succeeds(run("compress", photo, "-t", 200, "--dry-run")).stdout
    assert f"t = 200, {real['steps']} steps, about {found['file_bytes']} bytes" in line


@pytest.mark.parametrize("option", ["--measure", "--steps-table"])
def test_a_dry_run_refuses_what_only_real_files_have(photo: Path, option: str) -> None:
    result = run("compress", photo, "--dry-run", option)
    assert result.exit_code == 2
    assert f"cannot be used with {option}" in result.stderr


def test_a_dry_run_estimates_a_size_target_by_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(smooth_pixels(300, 280)).save(path)
    found = json.loads(
        succeeds(run("compress", path, "--bytes", 2000, "--dry-run", "--json", "--model", "cifar10-small-v3")).stdout
    )
    assert 1000 < found["file_bytes"] < 2200
    assert (found["width"], found["height"]) == (280, 300)


def test_a_dry_run_names_the_pictures_that_cannot_be_read(photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = run("compress", photo, bad, "--dry-run")
    fails(result, "bad.png")
    assert str(photo) in result.stdout


@pytest.mark.parametrize("shape", [(300, 300, 3), (1, 90000), (5000, 14)])
def test_samples_lie_within_the_picture(shape: tuple[int, ...]) -> None:
    found = list(samples(Picture(np.zeros(shape, np.uint8))))
    assert len(found) == 2
    assert all(each.pixels.shape[:2] == tuple(min(side, SAMPLE_SIDE) for side in shape[:2]) for each in found)
