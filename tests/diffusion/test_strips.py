"""The fast way through the network against the plain one, and layers in strips against layers at one go."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffcodec.diffusion import strips, windows
from diffcodec.diffusion.unet import ResidualBlock
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import bundled_models
from tests.diffusion.networks import GROUPED, LOCAL, TINY, randomised
from tests.other_machines import threads

CONFIGS = {
    **LOCAL,
    "group": GROUPED,
    "attention": replace(TINY, attention_scales=(1,)),
    "dropout": replace(TINY, dropout=0.5),
}


def evaluated_areas(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the numbers of pixels that residual blocks are evaluated at."""
    areas: list[int] = []
    original = ResidualBlock.evaluate

    def counted(self: ResidualBlock, embedding: Tensor, *inputs: Tensor) -> Tensor:
        areas.append(inputs[0].shape[2] * inputs[0].shape[3])
        return original(self, embedding, *inputs)

    monkeypatch.setattr(ResidualBlock, "evaluate", counted)
    return areas


@pytest.mark.parametrize("elements", [0, 1 << 22], ids=["in strips", "as a whole"])
@pytest.mark.parametrize("sides", [(24, 5), (2, 30)], ids=["high", "wide"])
@pytest.mark.parametrize("name", CONFIGS)
def test_inference_gives_what_training_would(
    name: str, sides: tuple[int, int], elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    network = randomised(config)
    x = torch.randn(2, 3, *(side * config.stride for side in sides))
    level = torch.tensor([0.7])
    areas = evaluated_areas(monkeypatch)
    plain = network(x, level.expand(2))  # with gradients
    assert plain.requires_grad
    whole = max(areas)
    areas.clear()
    monkeypatch.setattr(strips, "STRIP_ELEMENTS", elements)
    with torch.no_grad():
        fast = network(x, level)
    assert (fast - plain).abs().max() <= 1e-5 * plain.abs().max()
    if config.norm == "channel" and not elements:
        assert max(areas) < whole


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", [(9, 3, 32, 32), (1, 3, 128, 96)], ids=str)
@pytest.mark.parametrize("model", bundled_models())
def test_the_shipped_networks_estimate_the_same(
    model: str, shape: tuple[int, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = load_checkpoint(model).denoiser()
    x_t = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    plain = denoiser.predict_x_0(x_t, torch.full((len(x_t),), 2.5))
    monkeypatch.setattr(strips, "STRIP_ELEMENTS", 1 << 17)
    with torch.no_grad(), threads(count):
        fast = windows.predict_x_0(denoiser, x_t, 2.5)
    assert plain.std() > 0.1
    assert (fast - plain).abs().max() <= 1e-5


def test_inference_leaves_its_input_alone() -> None:
    network = randomised(TINY)
    x = torch.randn(1, 3, 16, 16)
    before = x.clone()
    with torch.no_grad():
        first = network(x, torch.zeros(1))
        assert torch.equal(network(x, torch.zeros(1)), first)
    assert torch.equal(x, before)


def test_one_level_for_all_is_that_level_for_each() -> None:
    network = randomised(replace(TINY, modulation="scale_shift"))
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network(x, torch.ones(1)), network(x, torch.ones(3)), atol=1e-5)


@pytest.mark.parametrize("levels", [1, 3])
def test_half_precision_still_goes_through(levels: int) -> None:
    network = randomised(TINY)
    x, level = torch.randn(3, 3, 8, 8), torch.ones(levels)
    plain = network(x, torch.ones(3))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x, level).float()
    assert 1e-4 < (half - plain).abs().max() < 0.2 * plain.abs().max()


def pair_of_scales(coarse: Tensor, fine: Tensor) -> Tensor:
    """Reaches one row of the fine input, and so at most one of the coarse one."""
    kernel = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    both = fine + nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return nn.functional.conv2d(both, kernel, padding=1)


@pytest.mark.parametrize("rows", [9, 10, 23, 24, 100])
@pytest.mark.parametrize("wide", [False, True])
def test_strips_of_inputs_at_two_scales(rows: int, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.randn(2, 1, rows, 2), torch.randn(2, 1, 2 * rows, 4)
    if wide:
        inputs = inputs[0].mT, inputs[1].mT
    whole = pair_of_scales(*inputs)
    monkeypatch.setattr(strips, "STRIP_ELEMENTS", 0)
    with torch.no_grad():
        assert torch.allclose(strips.in_strips(pair_of_scales, inputs, margin=1), whole, atol=1e-5)


def test_without_the_margin_there_are_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.randn(1, 1, 40, 6), torch.randn(1, 1, 80, 12)
    monkeypatch.setattr(strips, "STRIP_ELEMENTS", 6 * 5 * 4)  # four rows of the coarse input
    with torch.no_grad():
        wrong = strips.in_strips(pair_of_scales, inputs, margin=0) - pair_of_scales(*inputs)
    rows = wrong.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
    assert rows == [row for row in range(1, 79) if row % 8 in (0, 7)]
