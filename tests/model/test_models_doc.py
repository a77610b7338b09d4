"""What docs/models.md shows happens, up to the numbers that depend on random weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from diffcodec.cli import main
from tests.conftest import smooth_pixels

pytest.importorskip("diffusers")
DOC = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE)


def without_numbers(text: str) -> str:
    """The text with every number and every fingerprint replaced by #."""
    return re.sub(r"\b[0-9a-f]{8}\b|\d+(\.\d+)?", "#", text)


@pytest.mark.slow
def test_the_page_s_commands_print_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth_pixels(41, 49)).save("photo.png")
    Path("pictures").mkdir()
    Image.fromarray(smooth_pixels(32, 32)).save("pictures/0.png")
    make, load = blocks("python")
    exec(compile(make, "docs/models.md", "exec"), {})
    for text in blocks("console"):
        for part in text.split("$ diffcodec ")[1:]:
            command, _, shown = part.partition("\n")
            run = CliRunner().invoke(main, command.split())
            assert without_numbers(run.output) == without_numbers(shown), command
    found: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(load.replace("num_inference_steps=20", "num_inference_steps=2"), "docs/models.md", "exec"), found)
    assert isinstance(found["image"], Image.Image)
    assert found["image"].size == (32, 32)
