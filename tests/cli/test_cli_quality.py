"""--quality on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import fails, run, succeeds


def test_a_quality_sets_the_timestep_and_reports_it(photo: Path, tmp_path: Path) -> None:
    rough, fine = (tmp_path / f"{quality}.dfc" for quality in (10, 90))
    said = succeeds(run("compress", photo, "--quality", 10, "-o", rough, "--json")).stdout
    record = json.loads(said)
    succeeds(run("compress", photo, "--quality", 90, "-o", fine))
    same = tmp_path / "same.dfc"
    succeeds(run("compress", photo, "-t", record["timestep"], "-o", same))
    assert same.read_bytes() == rough.read_bytes()
    assert len(rough.read_bytes()) < len(fine.read_bytes())


def test_quality_and_timestep_exclude_each_other(photo: Path) -> None:
    fails(run("compress", photo, "--quality", 50, "-t", 50), "Pass only one of --quality, -t", code=2)
    fails(run("compress", photo, "--quality", 101), "101", code=2)
