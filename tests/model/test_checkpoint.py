"""Model files: what is written can be read, damage is reported, and fingerprints distinguish models."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, WrongTypeError
from diffcodec.model.checkpoint import Checkpoint, half_weights
from diffcodec.model.levels import Level, LevelList
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import bundled_models, find_model
from diffcodec.model.model_file import METADATA_KEY, ModelCard
from diffcodec.model.tables import CodecTables

NETWORK = UNetConfig(
    channels=8, multipliers=(1, 2), patch=2, full_resolution_channels=4, blocks=1, embedding_channels=16
)
CONFIG = ModelConfig(network=NETWORK, schedule=ScheduleConfig(steps=2), prediction="v", data_std=0.5)
TABLES = CodecTables(
    timesteps=(Level(5, 6), Level(-5, 2)),
    lists=(LevelList(0, (Level(-7, 1), Level(8, 9)), (4, 3)),),
    length_weights=((1, 2, 3),),
)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    weights = half_weights({name: torch.randn_like(p) for name, p in Denoiser(CONFIG).named_parameters()})
    return Checkpoint(CONFIG, ModelCard("toy-v1", data="none"), weights, TABLES)


@pytest.fixture
def stored(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint.to_bytes())
    return path


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.config, a.card, a.tables, a.fingerprint) == (b.config, b.card, b.tables, b.fingerprint)
    assert a.weights.keys() == b.weights.keys()
    assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_bytes_return_what_was_written(checkpoint: Checkpoint, stored: Path) -> None:
    found = load_checkpoint(stored)
    assert_same(found, checkpoint)
    assert found.to_bytes() == stored.read_bytes()
    assert all(value.dtype == torch.float16 for value in found.weights.values())


def test_a_model_without_tables_returns_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bare = dataclasses.replace(checkpoint, tables=None)
    path = tmp_path / "bare.safetensors"
    path.write_bytes(bare.to_bytes())
    assert_same(load_checkpoint(str(path)), bare)
    assert bare.with_tables(TABLES).fingerprint == checkpoint.fingerprint != bare.fingerprint


def test_the_denoiser_has_exactly_the_stored_weights(checkpoint: Checkpoint) -> None:
    model = checkpoint.denoiser()
    assert not model.training
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad
        assert torch.equal(parameter, checkpoint.weights[name].float())


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_fingerprint_changes_with_any_bit_of_any_weight(checkpoint: Checkpoint, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(checkpoint.weights)))
    value = checkpoint.weights[name].clone()
    bits = value.view(torch.int16).reshape(-1)
    bits[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 14))
    other = dataclasses.replace(checkpoint, weights={**checkpoint.weights, name: value})
    assert other.fingerprint != checkpoint.fingerprint


def test_the_fingerprint_changes_with_names_and_shapes(checkpoint: Checkpoint) -> None:
    name = "network.trunk_out.weight"
    value = checkpoint.weights[name]
    rest = {key: item for key, item in checkpoint.weights.items() if key != name}
    for weights in (rest, {**rest, "network.trunk_out.weighs": value}, {**rest, name: value.reshape(-1)}):
        assert dataclasses.replace(checkpoint, weights=weights).fingerprint != checkpoint.fingerprint


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_of_other_types_are_kept_as_they_are(kind: torch.dtype, checkpoint: Checkpoint, tmp_path: Path) -> None:
    weights = {name: value.to(kind) for name, value in checkpoint.weights.items()}
    name = "network.trunk_out.weight"
    weights[name] = checkpoint.weights[name]  # types may be mixed
    other = dataclasses.replace(checkpoint, weights=weights)
    (tmp_path / "model.safetensors").write_bytes(other.to_bytes())
    found = load_checkpoint(tmp_path / "model.safetensors")
    assert_same(found, other)
    assert all(found.weights[key].dtype == value.dtype for key, value in weights.items())
    for key, parameter in found.denoiser().named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, weights[key].float())


def test_the_fingerprint_changes_with_the_type_of_a_weight(checkpoint: Checkpoint) -> None:
    found = {checkpoint.fingerprint}
    for kind in (torch.float32, torch.bfloat16):
        zeros = {**checkpoint.weights, "network.out.bias": torch.zeros(3, dtype=kind)}
        found.add(dataclasses.replace(checkpoint, weights=zeros).fingerprint)
    assert len(found) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"data_std": 0.25},
        {"prediction": "eps"},
        {"log_snr_max": 9.5},
        {"network": dataclasses.replace(NETWORK, dropout=0.5)},
        {"schedule": dataclasses.replace(CONFIG.schedule, steps=999)},
    ],
)
def test_the_fingerprint_changes_with_the_configuration(checkpoint: Checkpoint, change: dict[str, object]) -> None:
    other = dataclasses.replace(checkpoint, config=dataclasses.replace(CONFIG, **change))  # type: ignore[arg-type]
    assert other.fingerprint != checkpoint.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"timesteps": (Level(5, 6), Level(-5, 3))},
        {"lists": (LevelList(1, (Level(-7, 1), Level(8, 9)), (4, 3)),)},
        {"lists": (LevelList(0, (Level(-7, 1), Level(8, 9)), (4, 2)),)},
        {"length_weights": ((1, 2), (3,))},
    ],
)
def test_the_fingerprint_changes_with_the_tables(checkpoint: Checkpoint, change: dict[str, object]) -> None:
    other = checkpoint.with_tables(dataclasses.replace(TABLES, **change))  # type: ignore[arg-type]
    assert other.fingerprint != checkpoint.fingerprint


def test_the_fingerprint_does_not_depend_on_the_card_or_on_layout(checkpoint: Checkpoint) -> None:
    assert len(checkpoint.fingerprint) == 4
    card = dataclasses.replace(checkpoint, card=ModelCard("other", numbers="1.7 bits/dim", licence="CC0"))
    assert card.fingerprint == checkpoint.fingerprint
    turned = {
        name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in reversed(list(checkpoint.weights.items()))
    }
    assert dataclasses.replace(checkpoint, weights=turned).fingerprint == checkpoint.fingerprint


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 7, b"\xff" * 8, b"\xff" * 100, b"GIF89a" * 50, b"\x02" + b"\0" * 7 + b"[]"]
)
def test_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        load_checkpoint(path)


def test_truncated_files_are_rejected(stored: Path) -> None:
    data = stored.read_bytes()
    header_end = 8 + struct.unpack("<Q", data[:8])[0]
    for length in (1, 8, 9, header_end // 2, header_end - 1, header_end, header_end + 1, len(data) - 1):
        stored.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="not a model file"):
            load_checkpoint(stored)


def test_other_safetensors_files_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(save({"a": torch.zeros(2)}, metadata))
        with pytest.raises(CheckpointError, match="a safetensors file, but not a diffcodec model"):
            load_checkpoint(path)


@pytest.mark.parametrize("broken", ["not json", "[]", "3", "{}", '{"config": 1, "card": 2, "tables": null}'])
def test_descriptions_that_are_not_understood_are_rejected(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": torch.zeros(2).half()}, {METADATA_KEY: broken}))
    with pytest.raises(CheckpointError, match="its description is invalid"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("config", "network", "channels"), 10**9),
        (("config", "network", "blocks"), 10**9),
        (("config", "data_std"), 10**400),
        (("config", "data_std"), float("inf")),
        (("tables", "timesteps", 0, "log_snr"), 10**400),
        (("tables", "timesteps", 0, "snr"), -5),
        (("tables", "lists", 0, "levels", 0, "log_snr"), -(10**50)),
        (("tables", "length_weights", 0), [2**70] * 18),
    ],
)
def test_absurd_numbers_are_rejected(
    path: tuple[str | int, ...], value: object, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    described = {"config": CONFIG.to_dict(), "card": checkpoint.card.to_dict(), "tables": TABLES.to_dict()}
    place = metadata = json.loads(json.dumps(described))
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "absurd.safetensors"
    file.write_bytes(save(dict(checkpoint.weights), {METADATA_KEY: json.dumps(metadata)}))
    with pytest.raises(CheckpointError, match="its description is invalid"):
        load_checkpoint(file)


def test_deeply_nested_descriptions_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    path.write_bytes(save({"a": torch.zeros(2).half()}, {METADATA_KEY: "[" * 100_000 + "]" * 100_000}))
    with pytest.raises(CheckpointError, match="its description is invalid"):
        load_checkpoint(path)


def test_a_network_that_the_file_does_not_hold_is_never_allocated(checkpoint: Checkpoint) -> None:
    """Some 60 TB of weights, claimed by a file of kilobytes."""
    network = dataclasses.replace(NETWORK, channels=1 << 14, multipliers=(64,) * 8)
    huge = dataclasses.replace(checkpoint, config=dataclasses.replace(CONFIG, network=network))
    with pytest.raises(CheckpointError, match="the weights do not fit the configuration"):
        huge.denoiser()


def test_the_unknown_key_of_a_newer_release_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    metadata = {"config": {**CONFIG.to_dict(), "flavour": "salt"}, "card": checkpoint.card.to_dict(), "tables": None}
    path = tmp_path / "newer.safetensors"
    path.write_bytes(save(dict(checkpoint.weights), {METADATA_KEY: json.dumps(metadata)}))
    with pytest.raises(CheckpointError, match="unknown key 'flavour'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.tensor([1.0]).double(), "a: expected weights of type F16, BF16, F32, found F64"),
        (torch.tensor([3]), "a: expected weights of type F16, BF16, F32, found I64"),
        (torch.tensor([float("nan")]).half(), "a has infinite or NaN weights"),
        (torch.tensor([1.0, float("nan")]).bfloat16(), "a has infinite or NaN weights"),
        (torch.tensor([float("inf")]), "a has infinite or NaN weights"),
    ],
)
def test_weights_are_finite_numbers_of_known_types(
    checkpoint: Checkpoint, wrong: torch.Tensor, message: str, tmp_path: Path
) -> None:
    metadata = {"config": CONFIG.to_dict(), "card": checkpoint.card.to_dict(), "tables": None}
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(save({"a": wrong}, {METADATA_KEY: json.dumps(metadata)}))
    with pytest.raises(CheckpointError, match=rf"wrong\.safetensors: {message}"):
        load_checkpoint(path)


def test_weights_that_do_not_fit_are_rejected(checkpoint: Checkpoint) -> None:
    name = "network.trunk_out.weight"
    missing = {key: value for key, value in checkpoint.weights.items() if key != name}
    shorter = {**checkpoint.weights, name: checkpoint.weights[name][:1]}
    extra = {**checkpoint.weights, "network.more": torch.zeros(1).half()}
    for weights in (missing, shorter, extra):
        with pytest.raises(CheckpointError, match="toy-v1: the weights do not fit the configuration"):
            dataclasses.replace(checkpoint, weights=weights).denoiser()


def test_missing_models_are_named(tmp_path: Path) -> None:
    for source in ("no-such-model", tmp_path / "missing.safetensors"):
        with pytest.raises(
            CheckpointError, match="expected a model file, a diffusers folder or a bundled model; bundled: "
        ):
            find_model(source)
        with pytest.raises(CheckpointError):
            load_checkpoint(source)


def test_bundled_models_go_by_their_names(monkeypatch: pytest.MonkeyPatch, stored: Path) -> None:
    assert all(path.is_file() for path in bundled_models().values())
    monkeypatch.setattr("diffcodec.model.locations.bundled_models", lambda: {"toy-v1": stored})
    assert find_model("toy-v1") == stored
    assert load_checkpoint("toy-v1").card.name == "toy-v1"
    with pytest.raises(CheckpointError, match="bundled: toy-v1"):
        find_model("toy-v2")


def test_half_weights_round_and_reject_what_does_not_fit() -> None:
    rounded = half_weights({"a": torch.tensor([1.0, 1 + 2**-12, -65504.0])})["a"]
    assert rounded.dtype == torch.float16
    assert rounded.tolist() == [1.0, 1.0, -65504.0]
    for wrong, message in (
        (1e5, "too large for float16"),
        (float("nan"), "infinite or NaN"),
        (-math.inf, "infinite or"),
    ):
        with pytest.raises(CheckpointError, match=f"a has .*{message}"):
            half_weights({"a": torch.tensor([wrong])})


@pytest.mark.parametrize(
    ("name", "message"), [("x" * 5000, "x{300}\\.\\.\\.: expected a model file"), ("a\0b", "expected a")]
)
def test_names_that_no_file_can_have(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(name)


@pytest.mark.parametrize("source", [5, None, b"cifar10-small-v3"])
def test_models_are_names_or_paths(source: Any) -> None:
    with pytest.raises(WrongTypeError, match="model: expected a name or a path, found "):
        load_checkpoint(source)


def test_tables_of_another_schedule(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.tables is not None
    steps = len(checkpoint.tables.timesteps)
    config = replace(checkpoint.config, schedule=replace(checkpoint.config.schedule, steps=steps + 1))
    path = tmp_path / "model.safetensors"
    path.write_bytes(replace(checkpoint, config=config).to_bytes())
    with pytest.raises(CheckpointError, match=f"{steps + 1} timesteps, but tables of {steps}"):
        load_checkpoint(path)


def test_fingerprint_outlives_fields_that_a_later_release_adds(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A file without a field that has a default is another file, but the same one to this release and the next."""
    described = {"config": CONFIG.to_dict(), "card": checkpoint.card.to_dict(), "tables": TABLES.to_dict()}
    assert described["config"]["network"].pop("dropout") == 0.0
    path = tmp_path / "older.safetensors"
    path.write_bytes(save(dict(checkpoint.weights), {METADATA_KEY: json.dumps(described)}))
    older = load_checkpoint(path)
    assert older.config == CONFIG
    assert older.fingerprint != checkpoint.fingerprint
    path.write_bytes(older.to_bytes())
    assert load_checkpoint(path).fingerprint == older.fingerprint


def test_fingerprint_does_not_see_whether_a_float_was_given_as_an_integer(checkpoint: Checkpoint) -> None:
    given = dataclasses.replace(checkpoint, config=dataclasses.replace(CONFIG, data_std=1))
    meant = dataclasses.replace(checkpoint, config=dataclasses.replace(CONFIG, data_std=1.0))
    assert given.fingerprint == meant.fingerprint
