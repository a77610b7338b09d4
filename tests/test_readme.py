"""The README's Python runs, and its scripts exist; tests/test_docs.py checks commands, links and the guides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffcodec.model.locations import bundled_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_python_of_the_readme_runs_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "data").symlink_to(ROOT / "benchmarks" / "data")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    for _ in range(2):
        exec(compile(code, "README.md", "exec"), {})
        assert (tmp_path / "restored.png").exists()
        assert (tmp_path / "chelsea.dfc").stat().st_size < 1000


def test_scripts_of_the_readme_exist() -> None:
    lines = [line for block in blocks("console") for line in block.splitlines() if line]
    scripts = [line.split()[0] for line in lines if not line.startswith("$ ")]
    assert scripts
    for script in scripts:
        assert (ROOT / script).is_file(), script


def test_default_model_is_named_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert bundled_models()
    for name in bundled_models():
        assert f"`{name}`" in changelog
