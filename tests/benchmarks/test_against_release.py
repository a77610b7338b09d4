"""This version timed beside an older release: here beside itself."""

from __future__ import annotations

from pathlib import Path

import against_release
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
PHOTOGRAPH = ROOT / "benchmarks" / "data" / "chelsea-192.png"


@pytest.mark.slow
def test_it_compares_two_folders_with_the_package() -> None:
    done = CliRunner().invoke(
        against_release.main, [str(ROOT), str(PHOTOGRAPH), "--timestep", "600", "--rounds", "1", "--threads", "1"]
    )
    assert done.exit_code == 0, done.output
    row, quality = done.output.splitlines()[1], done.output.splitlines()[-1]
    assert row.split()[:2] == ["chelsea-192.png", "compress"]
    assert 0.3 < float(row.split()[4]) < 3  # the same program
    before, now, psnr_before, psnr_now = quality.split()[1:]
    assert (before, psnr_before) == (now, psnr_now)


def test_a_folder_without_the_package_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(against_release.main, [str(tmp_path), str(PHOTOGRAPH), "--rounds", "1"])
    assert done.exit_code == 1
    assert f"{tmp_path}: the folder does not contain the package diffcodec" in done.output
