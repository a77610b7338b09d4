"""Configurations survive JSON unchanged; what they do not understand they name and reject."""

import json
import math
from typing import Any, Literal, get_args

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffcodec.config import (
    ExternalNetworkConfig,
    ModelConfig,
    NetworkConfig,
    PlainUNetConfig,
    PredictionKind,
    ScheduleConfig,
    UNetConfig,
)
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig
from diffcodec.training.config import LossKind, OptimizerKind, TimeKind, TrainingConfig
from diffcodec.training.recipes import Recipe, named_model, named_recipe


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    start, end = sorted(draw(st.lists(st.floats(1e-9, 0.999), min_size=2, max_size=2)))
    return ScheduleConfig(draw(st.integers(1, 4095)), start, end)


@st.composite
def networks(draw: st.DrawFn) -> UNetConfig:
    multipliers = tuple(draw(st.lists(st.integers(1, 8), min_size=1, max_size=5)))
    norm: Literal["channel", "group"] = draw(st.sampled_from(["channel", "group"]))
    patch = draw(st.sampled_from([1, 2, 4]))
    return UNetConfig(
        image_channels=draw(st.integers(1, 4)),
        channels=draw(st.integers(4, 8)) * (32 if norm == "group" else 1),
        multipliers=multipliers,
        blocks=draw(st.integers(1, 4)),
        attention_scales=tuple(draw(st.sets(st.sampled_from(range(len(multipliers)))))),
        norm=norm,
        modulation=draw(st.sampled_from(["add", "scale_shift"])),
        conditioning=draw(st.sampled_from(["log_snr", "timestep"])),
        embedding_channels=draw(st.integers(1, 512)),
        patch=patch,
        full_resolution_channels=draw(st.integers(0, 64)) if patch > 1 else 0,
        dropout=draw(st.floats(0, 0.99)),
    )


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    network = draw(networks())
    low = draw(st.floats(-20, 5))
    return ModelConfig(
        network=network,
        schedule=draw(schedules()),
        prediction="eps" if network.conditioning == "timestep" else draw(st.sampled_from(get_args(PredictionKind))),
        data_std=draw(st.floats(1e-3, 10)),
        log_snr_min=low,
        log_snr_max=low + draw(st.floats(0.1, 20)),
    )


@st.composite
def trainings(draw: st.DrawFn) -> TrainingConfig:
    return TrainingConfig(
        loss=draw(st.sampled_from(get_args(LossKind))),
        time=draw(st.sampled_from(get_args(TimeKind))),
        optimizer=draw(st.sampled_from(get_args(OptimizerKind))),
        batch_size=draw(st.integers(1, 4096)),
        learning_rate=draw(st.floats(1e-9, 1)),
        final_learning_rate=draw(st.floats(0, 1)),
        adam_beta2=draw(st.floats(0, 0.99999)),
        ema_decay=draw(st.floats(0, 0.99999)),
        coarse_weight=draw(st.floats(1e-3, 10)),
        flips=draw(st.booleans()),
        seed=draw(st.integers(0, (1 << 32) - 1)),
    )


@settings(deadline=None)
@given(st.one_of(schedules(), networks(), models(), trainings()))
def test_json_returns_what_was_written(config: JsonConfig) -> None:
    text = json.dumps(config.to_dict())
    assert type(config).from_dict(json.loads(text)) == config


@settings(deadline=None)
@given(st.one_of(networks(), models()), st.text(min_size=1, max_size=8))
def test_an_unknown_key_is_named(config: JsonConfig, key: str) -> None:
    data = config.to_dict()
    assume(key not in data)
    with pytest.raises(ConfigError) as caught:
        type(config).from_dict({**data, key: 1})
    assert f"unknown key {key!r}" in str(caught.value)


def test_a_missing_key_is_named_and_defaults_may_be_left_out() -> None:
    with pytest.raises(ConfigError, match=r"^missing key 'network'"):
        ModelConfig.from_dict({"prediction": "v"})
    assert ModelConfig.from_dict({"network": {}}) == ModelConfig(network=UNetConfig())
    assert TrainingConfig.from_dict({}) == TrainingConfig()


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (UNetConfig, {"channels": "80"}, r"^channels: expected int, found '80'"),
        (UNetConfig, {"channels": True}, r"^channels: expected int, found True"),
        (UNetConfig, {"channels": 80.0}, r"^channels: expected int, found 80\.0"),
        (UNetConfig, {"channels": None}, r"^channels: expected int, found None"),
        (UNetConfig, {"multipliers": 2}, r"^multipliers: expected a list, found 2"),
        (UNetConfig, {"multipliers": [1, False]}, r"^multipliers: expected int, found False"),
        (UNetConfig, {"multipliers": "12"}, r"^multipliers: expected a list"),
        (UNetConfig, {"norm": "batch"}, r"^norm: expected one of 'channel', 'group', found 'batch'"),
        (UNetConfig, {"norm": ["group"]}, r"^norm: expected one of"),
        (UNetConfig, {"dropout": False}, r"^dropout: expected float, found False"),
        (TrainingConfig, {"flips": 1}, r"^flips: expected bool, found 1"),
        (TrainingConfig, {"learning_rate": "fast"}, r"^learning_rate: expected float, found 'fast'"),
        (ModelConfig, {"network": 3}, "^network: expected an object, found int"),
        (ModelConfig, {"network": {"width": 3}}, "^network: unknown key 'width': expected one of image_channels, "),
        (ModelConfig, {"network": {"channels": "80"}}, r"^network\.channels: expected int, found '80'"),
        (
            ModelConfig,
            {"network": {"kind": "plane"}},
            r"^network\.kind: expected one of plain, external, found 'plane'",
        ),
        (ModelConfig, [], "^expected an object, found list"),
        (ModelConfig, None, "^expected an object, found NoneType"),
    ],
)
def test_wrong_types_are_named(kind: type[JsonConfig], data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind.from_dict(data)


def test_whole_numbers_pass_for_fractions() -> None:
    found = TrainingConfig.from_dict({"learning_rate": 1})
    assert found.learning_rate == 1.0
    assert isinstance(found.learning_rate, float)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (ScheduleConfig, {"steps": 0}, "steps: expected an integer from 1 to 4095, found 0"),
        (ScheduleConfig, {"steps": 4096}, "steps: expected an integer from 1 to 4095, found 4096"),
        (ScheduleConfig, {"beta_start": 0.0}, "0 < beta_start"),
        (ScheduleConfig, {"beta_start": 0.03}, "beta_start <= beta_end"),
        (ScheduleConfig, {"beta_end": 1.0}, "beta_end < 1"),
        (ScheduleConfig, {"beta_end": float("nan")}, "betas"),
        (UNetConfig, {"image_channels": 0}, "image_channels: expected 1 to 64, found 0"),
        (UNetConfig, {"channels": 0}, "channels: expected 1 to 16384"),
        (UNetConfig, {"channels": 10**9}, "channels: expected 1 to 16384"),
        (UNetConfig, {"multipliers": []}, "multipliers: expected 1 to 8 integers"),
        (UNetConfig, {"multipliers": [1, 0]}, "multipliers: expected 1 to 8 integers"),
        (UNetConfig, {"multipliers": [1] * 9}, "multipliers: expected 1 to 8 integers"),
        (UNetConfig, {"blocks": 0}, "blocks: expected 1 to 64"),
        (UNetConfig, {"blocks": 10**7}, "blocks: expected 1 to 64"),
        (UNetConfig, {"embedding_channels": -1}, "embedding_channels: expected 1 to 16384"),
        (UNetConfig, {"full_resolution_channels": -3, "patch": 2}, "full_resolution_channels: expected 0 to 16384"),
        (UNetConfig, {"attention_scales": [4]}, "attention_scales: expected indices below 4"),
        (UNetConfig, {"attention_scales": [-1]}, "attention_scales: expected indices below 4"),
        (UNetConfig, {"norm": "group", "channels": 48}, "group normalisation has 32 groups, found 48"),
        (UNetConfig, {"norm": "group", "norm_groups": 24}, "group normalisation has 24 groups, found 128"),
        (UNetConfig, {"norm_groups": 0}, "norm_groups: expected 1 to 16384, found 0"),
        (UNetConfig, {"norm_eps": 0.0}, "norm_eps: expected a small positive number, found 0.0"),
        (UNetConfig, {"attention_scales": [0], "attention_head_channels": 48}, "attention_head_channels: expected"),
        (UNetConfig, {"attention_head_channels": -1}, "attention_head_channels: expected a divisor"),
        (UNetConfig, {"frequency_shift": 2}, "frequency_shift: expected 0 or 1, found 2"),
        (UNetConfig, {"conditioning": "timestep", "channels": 2}, "sinusoids of a timestep need at least 4, found 2"),
        (UNetConfig, {"patch": 3}, "patch: expected 1, 2 or 4, found 3"),
        (UNetConfig, {"full_resolution_channels": 8}, "only a patched trunk"),
        (UNetConfig, {"dropout": 1.0}, "dropout: expected 0 <= dropout < 1"),
        (ModelConfig, {"network": {}, "data_std": 0.0}, "data_std: expected a positive number"),
        (ModelConfig, {"network": {}, "data_std": float("nan")}, "data_std: expected a positive number"),
        (ModelConfig, {"network": {}, "data_std": float("inf")}, "data_std: expected a positive number"),
        (ModelConfig, {"network": {}, "log_snr_min": 9.6}, "log_snr: expected min < max"),
        (ModelConfig, {"network": {}, "log_snr_min": -1e300}, "log_snr: expected min < max"),
        (ModelConfig, {"network": {}, "log_snr_min": float("-inf")}, "log_snr: expected min < max"),
        (ModelConfig, {"network": {}, "log_snr_max": float("inf")}, "log_snr: expected min < max"),
        (TrainingConfig, {"batch_size": 0}, "batch_size: expected at least 1"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate: expected a positive number"),
        (TrainingConfig, {"learning_rate": math.inf}, "learning_rate: expected a positive number"),
        (TrainingConfig, {"muon_learning_rate": -1.0}, "muon_learning_rate: expected a positive number"),
        (TrainingConfig, {"gradient_clip": 0.0}, "gradient_clip: expected a positive number, found 0.0"),
        (TrainingConfig, {"gradient_clip": math.nan}, "gradient_clip: expected a positive number, found nan"),
        (TrainingConfig, {"weight_decay": -1.0}, "weight_decay: expected 0 or more"),
        (TrainingConfig, {"muon_weight_decay": -1.0}, "muon_weight_decay: expected 0 or more"),
        (TrainingConfig, {"warmup_images": -1}, "warmup_images: expected 0 or more"),
        (TrainingConfig, {"coarse_below": math.nan}, "coarse_below: expected a log SNR"),
        (TrainingConfig, {"seed": 1 << 32}, "seed: expected 0 to 4294967295"),
        (TrainingConfig, {"seed": -1}, "seed: expected 0 to 4294967295"),
        (TrainingConfig, {"ema_decay": 1.0}, "ema_decay"),
        (TrainingConfig, {"final_learning_rate": 1.5}, "final_learning_rate: expected a fraction"),
        (TrainingConfig, {"coarse_weight": 0.0}, "coarse_weight: expected a positive number"),
        (TrainingConfig, {"loss": "mse"}, "expected one of 'simple', 'vlb'"),
    ],
)
def test_values_that_make_no_sense_are_rejected(kind: type[JsonConfig], data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind.from_dict(data)


def test_stride_and_locality_follow_from_the_shape() -> None:
    assert UNetConfig(multipliers=(1,), patch=1).stride == 1
    assert UNetConfig(multipliers=(1, 2, 2, 2), patch=1).stride == 8
    assert UNetConfig(multipliers=(1, 2), patch=4).stride == 8
    assert UNetConfig().is_local
    assert not UNetConfig(attention_scales=(1,)).is_local
    assert not UNetConfig(norm="group").is_local
    assert not UNetConfig(middle_attention=True).is_local


def test_named_models() -> None:
    assert named_model("cifar10-small").network.is_local
    paper = named_model("cifar10-ddpm")
    assert (paper.schedule.steps, paper.schedule.beta_start, paper.schedule.beta_end) == (1000, 1e-4, 0.02)
    assert paper.prediction == "eps"
    with pytest.raises(ConfigError, match=r"model: expected one of cifar10-small, .*, found 'cifar10'"):
        named_model("cifar10")


@pytest.mark.parametrize(
    ("name", "millions", "size", "batch_size", "learning_rate", "dropout"),
    [("cifar10-ddpm", 35.7, 32, 128, 2e-4, 0.1), ("lsun256-ddpm", 113.7, 256, 64, 2e-5, 0.0)],
)
def test_recipes_of_the_paper(
    name: str, millions: float, size: int, batch_size: int, learning_rate: float, dropout: float
) -> None:
    """Ho et al. (2020), appendix B."""
    recipe = named_recipe(name)
    with torch.device("meta"):
        denoiser = Denoiser(recipe.model)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    network = recipe.model.network
    assert isinstance(network, UNetConfig)
    (scale,) = network.attention_scales
    assert (recipe.size, recipe.size >> scale) == (size, 16)  # attention at 16 x 16
    assert network.dropout == dropout
    assert recipe.model.variance == ("fixedlarge" if size == 32 else "fixedsmall")
    training = recipe.training
    assert (training.loss, training.optimizer, training.flips) == ("simple", "adamw", True)
    assert (training.batch_size, training.learning_rate) == (batch_size, learning_rate)
    assert training.warmup_images == 5000 * batch_size
    assert (training.ema_decay, training.adam_beta2, training.final_learning_rate) == (0.9999, 0.999, 1.0)
    assert training.weight_decay == 0.0  # AdamW without it is Adam


def test_the_small_model_s_recipe_is_the_default() -> None:
    assert named_recipe("cifar10-small") == Recipe(named_model("cifar10-small"), TrainingConfig(), 32)


@pytest.mark.parametrize(
    "network",
    [
        UNetConfig(),
        UNetConfig(channels=64),
        PlainUNetConfig(),
        PlainUNetConfig(blocks=(1, 2, 1)),
        ExternalNetworkConfig(),
    ],
    ids=repr,
)
def test_the_essence_tells_kinds_of_networks_apart(network: NetworkConfig) -> None:
    config = ModelConfig(network)
    assert ModelConfig.from_dict(config.essence()) == config


def test_schedules_made_in_python_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="steps: expected an integer from 1 to 4095, found 'a'"):
        ScheduleConfig(steps="a")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kind: expected one of linear, scaled_linear, cosine, betas, found 'foo'"):
        ScheduleConfig(kind="foo")  # type: ignore[arg-type]
