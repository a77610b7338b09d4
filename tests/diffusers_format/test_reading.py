"""Pipeline folders: old and new ones are read to the last bit, and what is not understood is named."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusers_format.names import OLD_ATTENTION_NAMES, to_theirs
from diffcodec.errors import CheckpointError
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.loading import load_checkpoint
from tests.diffusers_format.pipelines import NETWORKS, WEIGHTS, edit, pickled, randomised

Save = Callable[..., Path]


def assert_same_model(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.config == expected.config
    assert found.fingerprint == expected.fingerprint


def theirs_again(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    weights = {name.removeprefix("network."): value for name, value in checkpoint.weights.items()}
    assert isinstance(checkpoint.config.network, UNetConfig)
    return to_theirs(weights, checkpoint.config.network)


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, torch.float32) for name in NETWORKS), ("defaults", torch.float16), ("defaults", torch.bfloat16)],
)
def test_theirs_to_ours_and_back_is_exact(name: str, kind: torch.dtype, save: Save) -> None:
    network = randomised(**NETWORKS[name]).to(kind)
    there = load_checkpoint(save(network))
    back, original = theirs_again(there), network.state_dict()
    assert back.keys() == original.keys()
    for key, value in original.items():
        assert back[key].dtype == kind
        assert torch.equal(back[key], value), key


def test_old_folders_are_read(tiny_pipeline: Path, tmp_path: Path) -> None:
    """Those of the first months are flat, know fewer keys, and have other names in their attention."""
    expected = load_checkpoint(tiny_pipeline)
    old = tmp_path / "old"
    old.mkdir()
    new_keys = (
        "add_attention",
        "attn_norm_num_groups",
        "class_embed_type",
        "downsample_type",
        "dropout",
        "mid_block_type",
        "num_class_embeds",
        "num_train_timesteps",
        "resnet_time_scale_shift",
        "time_embedding_dim",
        "upsample_type",
    )
    config = json.loads((tiny_pipeline / "unet" / "config.json").read_text())
    assert set(new_keys) < set(config)
    (old / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in new_keys}))
    (old / "scheduler_config.json").write_text(
        '{"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule": "linear",'
        ' "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": 1000, "trained_betas": null,'
        ' "variance_type": "fixed_small"}'
    )
    (old / "model_index.json").write_bytes((tiny_pipeline / "model_index.json").read_bytes())
    tensors = load_file(tiny_pipeline / "unet" / WEIGHTS)
    for before, now in OLD_ATTENTION_NAMES.items():
        tensors = {name.replace(f".{now}.", f".{before}."): value for name, value in tensors.items()}
    assert "mid_block.attentions.0.proj_attn.weight" in tensors
    save_file(tensors, old / WEIGHTS)
    assert_same_model(load_checkpoint(old), expected)


def test_shards_are_put_together(tiny_network: Any, tiny_pipeline: Path) -> None:
    expected = load_checkpoint(tiny_pipeline)
    (tiny_pipeline / "unet" / WEIGHTS).unlink()
    tiny_network.save_pretrained(tiny_pipeline / "unet", max_shard_size="40KB")
    assert len(list((tiny_pipeline / "unet").glob("*.safetensors"))) > 1
    assert_same_model(load_checkpoint(tiny_pipeline), expected)
    index = tiny_pipeline / "unet" / f"{WEIGHTS}.index.json"
    edit(index, weight_map={"conv_in.weight": "../elsewhere.safetensors"})
    with pytest.raises(CheckpointError, match=r"'\.\./elsewhere\.safetensors' is not the name of a \.safetensors file"):
        load_checkpoint(tiny_pipeline)
    edit(index, weight_map=3)
    with pytest.raises(CheckpointError, match="no weight_map"):
        load_checkpoint(tiny_pipeline)


def test_pickles_are_read_only_where_that_is_allowed(tiny_pipeline: Path) -> None:
    expected = load_checkpoint(tiny_pipeline)
    pickled(tiny_pipeline)
    message = r"may run code when it is read: allow it if you trust its source"
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tiny_pipeline)
    assert caught.value.parameters == ("allow_pickle",)
    assert_same_model(load_checkpoint(tiny_pipeline, allow_pickle=True), expected)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_pickles_that_would_run_code_do_not(tiny_pipeline: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = pickled(tiny_pipeline, {"conv_in.weight": Trap()})
    with pytest.raises(CheckpointError, match="not the weights of a network"):
        load_checkpoint(tiny_pipeline, allow_pickle=True)
    for content in (b"", b"nonsense", pickle.dumps(Trap(), protocol=2), path.read_bytes()[:500]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not the weights of a network"):
            load_checkpoint(tiny_pipeline, allow_pickle=True)
    shapes_alone = torch.empty(8, device="meta")
    for unusable in ([1, 2], {"conv_in.bias": torch.eye(8).to_sparse()}, {"conv_in.bias": shapes_alone}):
        torch.save(unusable, path)
        with pytest.raises(CheckpointError, match="not the weights of a network"):
            load_checkpoint(tiny_pipeline, allow_pickle=True)
    assert not (tmp_path / "sprung").exists()


NOT_SUPPORTED = [
    ("unet", {"num_class_embeds": 10}, r"num_class_embeds = 10 is not supported; expected null"),
    ("unet", {"class_embed_type": "timestep"}, r'class_embed_type = "timestep" is not supported; expected null'),
    ("unet", {"_class_name": "UNet2DConditionModel"}, r'_class_name = "UNet2DConditionModel"'),
    ("unet", {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, r'down_block_types = "SkipDownBlock2D"'),
    ("unet", {"down_block_types": ["DownBlock2D"]}, r"down_block_types = .* expected 2 of them"),
    ("unet", {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, r"up_block_types = .* at the same scales"),
    ("unet", {"resnet_time_scale_shift": "scale_shift"}, r"attn_norm_num_groups = null .* expected 4"),
    ("unet", {"resnet_time_scale_shift": "spatial", "add_attention": False}, r'resnet_time_scale_shift = "spatial"'),
    ("unet", {"time_embedding_type": "fourier"}, r'time_embedding_type = "fourier"'),
    ("unet", {"downsample_type": "resnet"}, r'downsample_type = "resnet"'),
    ("unet", {"downsample_padding": 2}, r"downsample_padding = 2 is not supported; expected 0 or 1"),
    ("unet", {"act_fn": "gelu"}, r'act_fn = "gelu" is not supported; expected "silu" or "swish"'),
    ("unet", {"center_input_sample": True}, r"center_input_sample = true"),
    ("unet", {"mid_block_scale_factor": 1.4}, r"mid_block_scale_factor = 1\.4"),
    ("unet", {"block_out_channels": [8, 12]}, r"block_out_channels = \[8, 12\] .* multiples of the first"),
    ("unet", {"block_out_channels": [0, 0]}, r"block_out_channels = \[0, 0\]"),
    ("unet", {"block_out_channels": "wide"}, r'block_out_channels = "wide" is not supported; expected a list'),
    ("unet", {"block_out_channels": [8, True]}, r"block_out_channels = true"),
    ("unet", {"block_out_channels": [10**9, 10**9]}, r"block_out_channels: expected 1 to 16384"),
    ("unet", {"layers_per_block": 10**9}, r"layers_per_block: expected 1 to 64"),
    ("unet", {"layers_per_block": "2"}, r'layers_per_block = "2" is not supported; expected a value of type int'),
    ("unet", {"norm_num_groups": 3}, r"block_out_channels: group normalisation has 3 groups"),
    ("unet", {"norm_eps": float("nan")}, r"norm_eps"),
    ("unet", {"attention_head_dim": 5}, r"attention_head_dim: expected a divisor"),
    ("unet", {"attention_head_dim": 0}, r"attention_head_dim = 0"),
    ("unet", {"out_channels": 6}, r"out_channels = 6 is not supported; expected in_channels \(3\), or twice"),
    ("unet", {"flavour": "salt"}, r'flavour = "salt" is not supported; expected no such key'),
    ("scheduler", {"variance_type": "learned_range"}, r"out_channels = 3"),
    ("scheduler", {"variance_type": "learned"}, r'variance_type = "learned" is not supported'),
    ("scheduler", {"prediction_type": "flow"}, r'prediction_type = "flow" is not supported; expected "epsilon"'),
    ("scheduler", {"beta_schedule": "sigmoid"}, r'beta_schedule = "sigmoid"'),
    (
        "scheduler",
        {"rescale_betas_zero_snr": True},
        r'prediction_type = "epsilon" is not supported; expected "v_prediction"',
    ),
    ("scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, r'_class_name = "FlowMatch'),
    ("scheduler", {"num_train_timesteps": 10**6}, r"num_train_timesteps: expected an integer from 1 to 4095"),
    ("scheduler", {"trained_betas": [0.1, 0.2]}, r"betas: expected 1000 for 'betas', found 2"),
    ("scheduler", {"trained_betas": [0.1, 1.0], "num_train_timesteps": 2}, r"numbers between 1e-30 and 1, found 1\.0"),
    ("scheduler", {"trained_betas": [1e-300, 0.1], "num_train_timesteps": 2}, r"found 1e-300"),
    ("scheduler", {"beta_start": -1.0}, r"expected 0 < beta_start"),
    ("scheduler", {"beta_end": 10**400}, r"beta_end = 1000"),
]


@pytest.mark.parametrize(("part", "changes", "message"), NOT_SUPPORTED)
def test_what_is_not_supported_is_named(part: str, changes: dict[str, Any], message: str, tiny_pipeline: Path) -> None:
    path = tiny_pipeline / part / ("config.json" if part == "unet" else "scheduler_config.json")
    edit(path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tiny_pipeline)
    assert str(tiny_pipeline) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_pipelines_with_other_components_are_refused(tiny_pipeline: Path) -> None:
    edit(tiny_pipeline / "model_index.json", vqvae=["diffusers", "VQModel"])
    with pytest.raises(CheckpointError, match=r"vqvae = VQModel is not supported; expected AutoencoderKL"):
        load_checkpoint(tiny_pipeline)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"])
def test_configurations_that_are_no_json_are_refused(content: bytes, tiny_pipeline: Path) -> None:
    for file in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        original = (tiny_pipeline / file).read_bytes()
        (tiny_pipeline / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{file}: (not JSON|expected a JSON object)"):
            load_checkpoint(tiny_pipeline)
        (tiny_pipeline / file).write_bytes(original)


def test_a_huge_configuration_is_not_read(tiny_pipeline: Path) -> None:
    os.truncate(tiny_pipeline / "unet" / "config.json", 1 << 40)
    with pytest.raises(
        CheckpointError, match="expected a configuration of at most 16777216 bytes, found 1099511627776"
    ):
        load_checkpoint(tiny_pipeline)


def test_folders_that_lack_something_say_what(tiny_pipeline: Path) -> None:
    unet = tiny_pipeline / "unet"
    with pytest.raises(CheckpointError, match=r"no noise schedule: expected scheduler/scheduler_config\.json"):
        load_checkpoint(unet)
    (unet / WEIGHTS).rename(unet / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"no weights: expected {WEIGHTS}"):
        load_checkpoint(tiny_pipeline)
    with pytest.raises(CheckpointError, match=r" is not a pipeline folder: unet/config\.json is missing$"):
        load_checkpoint(tiny_pipeline / "scheduler")


def test_damaged_weights_are_refused(tiny_pipeline: Path) -> None:
    path = tiny_pipeline / "unet" / WEIGHTS
    data, tensors = path.read_bytes(), load_file(path)
    for content in (b"", b"\xff" * 100, data[:100], data[:-1], data + b"\0"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
            load_checkpoint(tiny_pipeline)
    name = "down_blocks.1.attentions.0.to_q.weight"
    for changed, message in (
        ({"conv_in.weight": None}, "the weights lack 'conv_in.weight'"),
        (
            {"conv_in.weights": torch.zeros(1)},
            "the weights hold 'conv_in.weights', which the configuration does not have",
        ),
        ({"conv_in.bias": torch.full((8,), torch.nan)}, r"conv_in\.bias: found infinite or NaN weights"),
        ({"conv_in.bias": torch.zeros(8).double()}, r"conv_in\.bias: expected floats of .* found torch\.float64"),
        ({name: torch.zeros(16, 8)}, r"to_v.weight: expected weights of one shape, found \[16, 8\], \[16, 16\]"),
        ({"conv_in.bias": torch.tensor(1.0)}, r"conv_in.bias: expected weights of one shape, found \[\]"),
    ):
        save_file({key: value for key, value in {**tensors, **changed}.items() if value is not None}, path)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tiny_pipeline)


def test_weights_of_another_width_are_refused_before_memory_is_taken(tiny_pipeline: Path) -> None:
    edit(tiny_pipeline / "unet" / "config.json", block_out_channels=[1 << 12, 1 << 18])
    with pytest.raises(CheckpointError, match="the weights do not fit the configuration"):
        load_checkpoint(tiny_pipeline).denoiser()


def test_the_fingerprint_of_a_folder_does_not_hang_on_fields_of_later_releases(tiny_pipeline: Path) -> None:
    """What is hashed of the configuration is what differs from the defaults, and reads back as the same."""
    path = tiny_pipeline / "unet" / WEIGHTS
    tensors = {name: torch.arange(value.numel()).reshape(value.shape) / 1024 for name, value in load_file(path).items()}
    save_file(tensors, path)
    checkpoint = load_checkpoint(tiny_pipeline)
    assert checkpoint.written is not None
    config = json.loads(json.dumps(checkpoint.written["config"]))
    assert ModelConfig.from_dict(config) == checkpoint.config
    assert "prediction" not in config
    assert "patch" not in config["network"]
    assert "schedule" not in config
    assert checkpoint.fingerprint.hex() == "dc1e2fac"
    ready = checkpoint.ready()
    assert ready.written is not None
    assert set(ready.written["tables"]) == {"timesteps", "lists", "length_weights", "start", "default_steps"}
    assert ready.fingerprint.hex() == "3deb060f"


def test_imported_files_are_the_folder_s_model(tiny_pipeline: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny_pipeline)
    (tmp_path / "model.safetensors").write_bytes(checkpoint.to_bytes())
    found = load_checkpoint(tmp_path / "model.safetensors")
    assert_same_model(found, checkpoint)
    assert found.card.name == "pipeline"
    assert all(torch.equal(found.weights[name], value) for name, value in checkpoint.weights.items())
