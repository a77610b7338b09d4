"""Fixtures: tiny latent pipelines, in memory and in folders, and a cache of their own."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffcodec.codec import DiffusionCodec
from diffcodec.latent.cache import ENVIRONMENT
from tests.latent.pipelines import MAKERS


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(tmp_path_factory.mktemp("cache")))
        yield


KINDS = [name if name in ("sd1", "flux") else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS]
"""One kind of UNet and one of transformer; the others are slow, except where a test names them."""


@pytest.fixture(scope="module", params=KINDS)
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with warnings.catch_warnings(action="ignore"):
        return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def latent(pipeline: Any) -> DiffusionCodec:
    return DiffusionCodec.from_diffusers(pipeline)


@pytest.fixture(scope="module")
def pipeline_folder(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder") / "model"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(pipeline_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(pipeline_folder, tmp_path / "model"))
