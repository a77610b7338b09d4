"""Orthogonalised momentum, which parameters get it, and the moving average of the weights."""

from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.training.config import TrainingConfig
from diffcodec.training.ema import ExponentialMovingAverage
from diffcodec.training.optimizers import Muon, make_optimizers, orthogonalise
from diffcodec.training.recipes import named_model

TINY = ModelConfig(
    network=UNetConfig(
        channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
    )
)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (8, 72), (1, 5), (5, 1), (64, 200)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_orthogonalise_levels_the_singular_values_and_keeps_their_vectors(shape: tuple[int, int], scale: float) -> None:
    torch.manual_seed(0)
    matrix = scale * torch.randn(shape)
    found = orthogonalise(matrix)
    assert found.shape == shape
    assert found.dtype == torch.float32
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ found @ right.T
    assert core.diagonal().min() > 0.6
    assert core.diagonal().max() < 1.3
    assert (core - core.diagonal().diag()).abs().max() < 0.05  # bfloat16


def test_orthogonalise_of_nothing_is_nothing() -> None:
    assert not orthogonalise(torch.zeros(4, 6)).any()


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (4, 8, 1, 1), (32, 2, 1, 1), (6, 10)])
def test_a_step_of_muon_has_the_size_of_the_learning_rate(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape)
    gradient = parameter.grad.clone()
    Muon([parameter], lr=0.1).step()
    matrix = parameter.detach().reshape(shape[0], -1)
    scale = 0.1 * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    values = torch.linalg.svdvals(matrix)
    assert values.max() < 1.3 * scale
    assert values.min() > 0.6 * scale
    assert (parameter.detach() * gradient).sum() < 0  # downhill
    assert torch.equal(parameter.grad, gradient)


def test_muon_descends_a_quadratic() -> None:
    torch.manual_seed(2)
    target, kernel = torch.randn(12, 4, 3, 3), nn.Parameter(torch.zeros(12, 4, 3, 3))
    optimizer = Muon([kernel], lr=0.1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((kernel - target) ** 2).sum()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in pairwise(losses[:20]))
    assert min(losses) < 0.05 * losses[0]


def test_muon_decays_weights_apart_from_the_gradient_and_leaves_what_has_none() -> None:
    kernels = [nn.Parameter(torch.ones(4, 4)) for _ in range(2)]
    kernels[0].grad = torch.zeros(4, 4)
    Muon(kernels, lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(kernels[0].detach(), torch.full((4, 4), 0.95))
    assert torch.equal(kernels[1].detach(), torch.ones(4, 4))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("model", [TINY, named_model("cifar10-small")], ids=["tiny", "cifar10-small"])
def test_every_parameter_has_one_optimizer(model: ModelConfig, kind: Literal["adamw", "muon"]) -> None:
    denoiser = Denoiser(model)
    config = TrainingConfig(optimizer=kind, learning_rate=0.001, muon_learning_rate=0.3)
    optimizers = make_optimizers(denoiser, config)
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in denoiser.parameters())
    assert [group["lr"] for optimizer in optimizers for group in optimizer.param_groups] == (
        [0.001] if kind == "adamw" else [0.001, 0.3]
    )


def test_adam_s_second_decay_is_a_setting() -> None:
    (adamw,) = make_optimizers(nn.Linear(2, 2), TrainingConfig(adam_beta2=0.75))
    assert adamw.param_groups[0]["betas"] == (0.9, 0.75)


def test_muon_has_the_kernels_between_hidden_layers() -> None:
    denoiser = Denoiser(TINY)
    names = {id(p): name for name, p in denoiser.named_parameters()}
    muon = make_optimizers(denoiser, TrainingConfig(optimizer="muon"))[1]
    held = {names[id(p)] for p in muon.param_groups[0]["params"]}
    kernels = {name for name, p in denoiser.named_parameters() if p.ndim == 4}
    outer = {"network.stem.weight", "network.full_stem.weight", "network.out.weight"}
    assert outer <= kernels
    assert held == kernels - outer


# Moving average ------------------------------------------------------------------------------------------------


def scalar(value: float) -> nn.Module:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 0.999))
def test_the_average_follows_its_law(values: list[float], decay: float) -> None:
    module = scalar(3.0)
    ema = ExponentialMovingAverage(module, decay)
    expected = 3.0
    for count, value in enumerate(values, 1):
        nn.init.constant_(module.weight, value)  # type: ignore[arg-type]
        ema.update(module)
        present = min(decay, (1 + count) / (10 + count))
        expected = present * expected + (1 - present) * value
    assert ema.average["weight"].item() == pytest.approx(expected, abs=1e-4)


def test_the_average_is_another_tensor_than_the_weights() -> None:
    module = scalar(3.0)
    ema = ExponentialMovingAverage(module, 0.9)
    nn.init.constant_(module.weight, 5.0)  # type: ignore[arg-type]
    assert ema.average["weight"].item() == 3.0


def test_the_average_goes_on_from_its_saved_state() -> None:
    module = scalar(1.0)
    ema, other = ExponentialMovingAverage(module, 0.99), ExponentialMovingAverage(scalar(-5.0), 0.99)
    for value in (2.0, 3.0, 4.0):
        nn.init.constant_(module.weight, value)  # type: ignore[arg-type]
        ema.update(module)
    other.load_state_dict(ema.state_dict())
    for average in (ema, other):
        average.update(module)
    assert torch.equal(ema.average["weight"], other.average["weight"])
    assert ema.updates == other.updates == 4
