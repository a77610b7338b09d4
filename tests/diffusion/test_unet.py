"""The network: its published size, shapes, initial output, inputs, and receptive field."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcodec.config import UNetConfig
from diffcodec.diffusion.unet import Attention, Downsample, UNet
from diffcodec.training.recipes import named_model
from tests.diffusion.networks import GROUPED, LOCAL, TINY, randomised


def test_the_paper_s_network_has_35_7_million_parameters() -> None:
    with torch.device("meta"):
        config = named_model("cifar10-ddpm").network
        assert isinstance(config, UNetConfig)
        network = UNet(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 35_746_307


@pytest.mark.parametrize(
    ("config", "side"),
    [
        (TINY, 4),
        (TINY, 12),
        (GROUPED, 8),
        (replace(TINY, attention_scales=(1,)), 8),
        *((c, 16) for c in LOCAL.values()),
    ],
)
def test_the_output_has_the_shape_of_the_input(config: UNetConfig, side: int) -> None:
    assert side % config.stride == 0
    x = torch.randn(2, 3, side, side + config.stride)
    assert randomised(config)(x, torch.zeros(2)).shape == x.shape


@pytest.mark.parametrize(
    "change",
    [
        {"attention_head_channels": 8},
        {"downsampling": "asymmetric"},
        {"norm_groups": 8},
        {"norm_eps": 0.1},
        {"cosines_first": True},
        {"frequency_shift": 0},
        {"middle_attention": False},
        {"attention_scales": (0, 1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_matters(change: dict[str, Any]) -> None:
    config = replace(GROUPED, attention_scales=(1,), conditioning="timestep")
    generator = torch.Generator().manual_seed(9)
    x, t = torch.randn(1, 3, 8, 12, generator=generator).double(), torch.tensor([7.0])
    answers = [randomised(each).double()(x, t) for each in (config, replace(config), replace(config, **change))]
    assert torch.equal(answers[0], answers[1])
    assert (answers[0] - answers[2]).abs().max() > 1e-5


def test_heads_attend_on_their_own() -> None:
    """What one head of two sees does not change what the other answers."""
    attention = Attention(replace(TINY, attention_head_channels=8), 16).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    attention.norm = torch.nn.Identity()
    x, embedding = torch.randn(1, 16, 3, 5).double(), torch.zeros(1)
    query, key, value = attention.qkv(x).flatten(2).reshape(3, 2, 8, 15).unbind()
    expected = [value[head] @ (query[head].T @ key[head] / 8**0.5).softmax(dim=1).T for head in range(2)]
    out = x + attention.out(torch.cat(expected).reshape(x.shape))
    assert torch.allclose(attention(x, embedding), out)


def test_asymmetric_padding_is_right_and_below() -> None:
    layer = Downsample(replace(TINY, downsampling="asymmetric"), 1)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3))
        assert layer.conv.bias is not None
        layer.conv.bias.zero_()
    x = torch.zeros(1, 1, 4, 4)
    x[..., 2, 2] = 1
    # The pixel is the first that the last output reads, and the last that the first three read.
    assert layer(x, torch.zeros(1)).flatten().tolist() == [8, 6, 2, 0]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_may_have_any_number_of_channels(channels: int) -> None:
    x = torch.randn(1, channels, 4, 4)
    assert randomised(replace(TINY, image_channels=channels))(x, torch.zeros(1)).shape == x.shape


def test_a_new_network_answers_zero() -> None:
    for config in (TINY, GROUPED, replace(TINY, full_resolution_channels=0)):
        assert not UNet(config).eval()(torch.randn(2, 3, 8, 8), torch.zeros(2)).any()


def test_weights_are_randomised_for_these_tests() -> None:
    network = randomised(TINY)
    assert all((parameter != 0).all() for parameter in network.parameters())
    assert network(torch.randn(1, 3, 8, 8), torch.zeros(1)).std() > 0.01


@pytest.mark.parametrize("modulation", ["add", "scale_shift"])
@pytest.mark.parametrize("conditioning", ["log_snr", "timestep"])
def test_the_output_depends_on_the_noise_level(modulation: str, conditioning: str) -> None:
    network = randomised(replace(TINY, modulation=modulation, conditioning=conditioning))  # type: ignore[arg-type]
    x = torch.randn(1, 3, 8, 8)
    outputs = torch.cat([network(x, torch.tensor([level])) for level in (0.0, 0.5, 5.0)])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert (outputs[0] - outputs[2]).abs().max() > 1e-3


def test_images_of_a_batch_do_not_mix() -> None:
    network = randomised(replace(TINY, attention_scales=(0,)))
    x, levels = torch.randn(3, 3, 8, 8), torch.tensor([-5.0, 0.0, 9.0])
    singles = torch.cat([network(x[i : i + 1], levels[i : i + 1]) for i in range(3)])
    assert torch.allclose(network(x, levels), singles, atol=1e-5)


def test_dropout_is_for_training() -> None:
    network = randomised(replace(TINY, dropout=0.5))
    x, levels = torch.randn(1, 3, 8, 8), torch.zeros(1)
    assert torch.equal(network(x, levels), network(x, levels))
    network.train()
    assert not torch.equal(network(x, levels), network(x, levels))


def perturbed_pixels(config: UNetConfig, side: int, row: int, column: int) -> Tensor:
    """Where the output changes when one input pixel does, (side, side)."""
    network = randomised(config).double()
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(6)).double()
    other = x.clone()
    other[:, :, row, column] += 1.0
    with torch.no_grad():
        # One by one: the same operations in the same order, so that what does not matter changes no bit.
        before, after = (network(image, torch.zeros(1).double()) for image in (x, other))
    changed: Tensor = (before != after)[0].any(dim=0)
    return changed


@pytest.mark.parametrize("name", LOCAL)
def test_nothing_beyond_the_receptive_radius_matters(name: str) -> None:
    config = LOCAL[name]
    radius, stride = config.receptive_radius, config.stride
    side = 2 * radius + 2 * stride
    furthest = 0
    middle = side // 2 // stride * stride
    for phase in range(stride):
        row, column = middle + phase, middle + stride - 1 - phase
        changed = perturbed_pixels(config, side, row, column).nonzero()
        distance = (changed - torch.tensor([row, column])).abs().max(dim=1).values
        furthest = max(furthest, int(distance.max()))
    assert furthest <= radius
    assert furthest >= radius - 2 * stride, f"the bound of {radius} is far above {furthest}"


@pytest.mark.parametrize("change", [{"norm": "group"}, {"attention_scales": (0,)}], ids=["group", "attention"])
def test_a_network_that_sees_everything_has_no_radius(change: dict[str, Any]) -> None:
    local = replace(LOCAL["one scale"], channels=32)
    side = local.receptive_radius + 4
    assert not perturbed_pixels(local, side, 0, 0)[-1, -1]
    config = replace(local, **change)
    assert perturbed_pixels(config, side, 0, 0)[-1, -1]
    with pytest.raises(ValueError, match="unbounded receptive field"):
        _ = config.receptive_radius
