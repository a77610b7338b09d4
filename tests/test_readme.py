"""The README's Python runs, and its command lines are commands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest

from diffcodec import DiffusionCodec, read_picture
from diffcodec.checkpoint import bundled_models
from diffcodec.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchmarks").mkdir()
    shutil.copytree(ROOT / "benchmarks" / "data", tmp_path / "benchmarks" / "data")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "restored.png").exists()
    assert (tmp_path / "chelsea.dfc").stat().st_size < 1000


def test_python_of_the_page_on_view_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "benchmarks" / "data" / "chelsea-192.png", "photo.png")
    DiffusionCodec.for_size(192, 192).compress(read_picture("photo.png"), timestep=500).save("photo.dfc")
    page = (ROOT / "docs" / "view.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(code, "view.md", "exec"), {})
    assert (tmp_path / "photo.html").exists()


def test_commands_of_the_readme_exist() -> None:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    for line in lines:
        words = line.removeprefix("$ ").split("#")[0].split()
        if words[0] == "diffcodec":
            command = main.get_command(None, words[1])  # type: ignore[arg-type]
            if isinstance(command, click.Group):
                command = command.get_command(None, words[2])  # type: ignore[arg-type]
            assert command is not None, line
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known, line
        else:
            assert (ROOT / words[0]).is_file(), line


def test_links_of_readme_and_docs_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_default_model_is_named_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert bundled_models()
    for name in bundled_models():
        assert f"`{name}`" in changelog
