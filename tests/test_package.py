"""The wheel holds what a person needs, and works away from the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from diffcodec.view.page import SCRIPTS

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_wheel_works_with_its_weights_alone(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "-w", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("diffcodec-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "diffcodec/py.typed" in names
    assert any(name.startswith("diffcodec/models/") and name.endswith(".safetensors") for name in names)
    assert {f"diffcodec/view/template/{name}" for name in ("page.html", "style.css", *SCRIPTS)} <= set(names)
    assert any("LICENSE" in name for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "conformance/")) for name in names)
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    photo = ROOT / "benchmarks" / "data" / "chelsea-192.png"
    for arguments in (
        ["compress", str(photo), "-t", "900", "-o", str(tmp_path / "a.dfc")],
        ["decompress", str(tmp_path / "a.dfc"), "-o", str(tmp_path / "a.png")],
        ["conformance"],
    ):
        result = subprocess.run(
            [sys.executable, "-m", "diffcodec", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.png").exists()
