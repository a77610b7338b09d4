"""Descriptions of model files: the same as those of the models, and never out of date."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcodec.errors import CheckpointError, ModelMismatchError
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.description import describe_file, find_bundled
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import bundled_models
from tests.conftest import make_tiny_checkpoint


def stored(checkpoint: Checkpoint, path: Path) -> Path:
    path.write_bytes(checkpoint.to_bytes())
    return path


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_file_is_described_as_its_model_is(tiny_checkpoint: Checkpoint, tmp_path: Path, is_calibrated: bool) -> None:
    checkpoint = tiny_checkpoint if is_calibrated else replace(tiny_checkpoint, tables=None)
    path = stored(checkpoint, tmp_path / "model.safetensors")
    found = describe_file(path)
    assert found == checkpoint.description == load_checkpoint(path).description
    assert found.is_calibrated == is_calibrated
    assert found.fingerprint == checkpoint.ready().fingerprint
    assert found.tables == checkpoint.ready().tables


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_of_all_types_enter_the_fingerprint(
    tiny_checkpoint: Checkpoint, tmp_path: Path, kind: torch.dtype
) -> None:
    name = next(iter(tiny_checkpoint.weights))
    weights = {**tiny_checkpoint.weights, name: tiny_checkpoint.weights[name].to(kind)}
    other = replace(tiny_checkpoint, weights=weights)
    found = describe_file(stored(other, tmp_path / "model.safetensors")).fingerprint
    assert found == other.fingerprint != tiny_checkpoint.fingerprint


def test_a_file_that_changes_is_described_anew(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = stored(tiny_checkpoint, tmp_path / "model.safetensors")
    assert describe_file(path) is describe_file(path)
    before = path.stat()
    other = make_tiny_checkpoint(1).with_tables(tiny_checkpoint.ready().tables)  # type: ignore[arg-type]
    stored(other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert describe_file(path).fingerprint == other.fingerprint != tiny_checkpoint.fingerprint


def test_what_is_no_model_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing")
    for name in ("text", "missing"):
        with pytest.raises(CheckpointError, match=f"{name}: not a model file"):
            describe_file(tmp_path / name)


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_models_are_found_by_their_fingerprints(name: str) -> None:
    path = bundled_models()[name]
    assert find_bundled(load_checkpoint(name).fingerprint) == path
    assert describe_file(path).card.name == name


def test_a_model_that_is_not_bundled_is_named_with_the_stream() -> None:
    with pytest.raises(ModelMismatchError, match=r"^a\.dfc was made with model 01020304") as caught:
        find_bundled(b"\1\2\3\4", "a.dfc")
    assert caught.value.needed == "01020304"
    assert caught.value.parameters == ("model",)
