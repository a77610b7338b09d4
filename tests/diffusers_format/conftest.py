"""Folders with pipelines in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a network in a folder of this test."""
    from tests.diffusers_format.pipelines import save_pipeline

    return lambda network, **schedule: save_pipeline(tmp_path / "pipeline", network, **schedule)


@pytest.fixture(scope="session")
def tiny_network() -> Any:
    """A UNet2DModel of some 45,000 weights."""
    from tests.diffusers_format.pipelines import TINY, randomised

    return randomised(**TINY)


@pytest.fixture
def tiny_pipeline(tiny_network: Any, save: Callable[..., Path]) -> Path:
    """The folder of that network."""
    return save(tiny_network)
