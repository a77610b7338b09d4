"""Fixtures of several tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run, succeeds


@pytest.fixture
def stream(photo: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """The photo's file, in a folder of its own."""
    path = tmp_path / "made" / "photo.dfc"
    path.parent.mkdir()
    succeeds(run("compress", photo, "-t", 200, "--model", tiny_model, "-o", path))
    return path
