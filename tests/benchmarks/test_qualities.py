"""The table of qualities: what rises, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import qualities
from click.testing import CliRunner
from PIL import Image
from qualities import main, table_of

from tests.conftest import smooth_pixels


def rows(**bytes_of: int) -> dict[str, dict[str, float]]:
    return {
        quality.removeprefix("q"): {"bytes": count, "bpp": count / 100, "psnr_db": 30.0, "ssimulacra2": count / 10}
        for quality, count in bytes_of.items()
    }


def test_what_does_not_rise_is_named() -> None:
    rising = table_of({"a": rows(q10=100, q20=200), "b": rows(q10=120, q20=240)})
    assert rising.endswith("2 pictures\nBytes and scores always rise.")
    assert "1.100" in rising
    falling = table_of({"a": rows(q10=100, q20=200), "b": rows(q10=250, q20=240)})
    assert "b: bytes does not rise from quality 10 to 20" in falling
    assert "a: bytes" not in falling


def test_a_folder_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qualities, "QUALITIES", (20, 60))
    # The real one needs larger pictures, which take longer.
    monkeypatch.setattr(qualities, "measure_ssimulacra2", lambda one, two: -float(abs(one.astype(int) - two).mean()))
    (tmp_path / "pictures").mkdir()
    Image.fromarray(smooth_pixels(32, 32)).save(tmp_path / "pictures" / "a.png")
    options = ["table", "--data", str(tmp_path / "pictures"), "--results", str(tmp_path / "results.json")]
    options += ["--model", "cifar10-small-v3"]
    first = CliRunner().invoke(main, options)
    assert first.exit_code == 0, first.output
    stored = json.loads((tmp_path / "results.json").read_text())
    assert sorted(stored["pictures"]["a"]) == ["20", "60"]
    again = CliRunner().invoke(main, options)
    assert again.stderr == ""
    assert again.stdout == first.stdout == CliRunner().invoke(main, [*options, "--from-results"]).stdout
