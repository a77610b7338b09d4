"""hf:NAME, with a stand-in for the network."""

from __future__ import annotations

import fnmatch
import shutil
import sys
from pathlib import Path

import pytest

from diffcodec.errors import CheckpointError
from diffcodec.model.loading import load_checkpoint
from tests.diffusers_format.pipelines import edit, pickled

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def asked(tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """The hub holds that pipeline alone; (repository, revision, file) of all that was downloaded from it."""
    downloads: list[tuple[str, str | None, str]] = []

    def snapshot_download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        snapshot = tmp_path / "cache" / "models--someone--tiny" / "snapshots" / "0123abcd"
        for path in sorted(tiny_pipeline.rglob("*")):
            name = path.relative_to(tiny_pipeline).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, snapshot / name)
                downloads.append((repository, revision, name))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return downloads


CONFIGURATION = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"]


@pytest.mark.parametrize(("name", "revision"), [("someone/tiny", None), ("someone/tiny@v1.0", "v1.0")])
def test_a_pipeline_of_the_hub_is_downloaded(
    name: str, revision: str | None, asked: list[tuple[str, str | None, str]], tiny_pipeline: Path
) -> None:
    (tiny_pipeline / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    (tiny_pipeline / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"")
    (tiny_pipeline / "unet" / "code.py").write_bytes(b"")
    found = load_checkpoint(f"hf:{name}", allow_pickle=True)
    assert found.fingerprint == load_checkpoint(tiny_pipeline).fingerprint
    assert found.card.name == name
    assert asked == [
        ("someone/tiny", revision, file) for file in [*CONFIGURATION, "unet/diffusion_pytorch_model.safetensors"]
    ]


def test_what_cannot_be_used_is_not_downloaded(asked: list[tuple[str, str | None, str]], tiny_pipeline: Path) -> None:
    edit(tiny_pipeline / "unet" / "config.json", num_class_embeds=10)
    with pytest.raises(CheckpointError, match="num_class_embeds = 10"):
        load_checkpoint("hf:someone/tiny")
    assert [file for *_, file in asked] == CONFIGURATION


def test_pickles_are_downloaded_only_where_that_is_allowed(
    asked: list[tuple[str, str | None, str]], tiny_pipeline: Path
) -> None:
    expected = load_checkpoint(tiny_pipeline).fingerprint
    pickled(tiny_pipeline)
    with pytest.raises(CheckpointError, match="no weights"):
        load_checkpoint("hf:someone/tiny")
    assert [file for *_, file in asked] == CONFIGURATION
    assert load_checkpoint("hf:someone/tiny", allow_pickle=True).fingerprint == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("google/ddpm-cifar10-32", r"cannot be downloaded \(.*\); offline, pass the path of"),
        ("a/b/c", "expected a name such as google/ddpm-cifar10-32"),
        ("", "expected a name such as google/ddpm-cifar10-32"),
    ],
)
def test_without_a_network_the_way_out_is_named(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(f"hf:{name}")
    assert "\n" not in str(caught.value)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"run `pip install 'diffcodec\[hub\]'`"):
        load_checkpoint("hf:google/ddpm-cifar10-32")
