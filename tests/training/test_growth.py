"""A larger plain network starts as the same function as a trained smaller one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.config import ModelConfig, NetworkConfig, PlainUNetConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError
from diffcodec.training.checks import load_initial_weights
from diffcodec.training.config import TrainingConfig
from diffcodec.training.growth import can_grow

SMALL = PlainUNetConfig(widths=(4, 6), blocks=(1, 2), embedding_channels=8)


def with_random_weights(network: NetworkConfig) -> Denoiser:
    """As after a training: nothing is zero."""
    torch.manual_seed(1)
    denoiser = Denoiser(ModelConfig(network=network, prediction="v"))
    for value in denoiser.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return denoiser


def grown(network: NetworkConfig, start: Denoiser) -> Denoiser:
    denoiser = Denoiser(replace(start.config, network=network))
    load_initial_weights(denoiser, TrainingConfig(), start.config, start.state_dict())
    return denoiser


@settings(deadline=None, max_examples=20)
@given(
    widths=st.tuples(st.integers(4, 9), st.integers(6, 9)),
    blocks=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    log_snr=st.floats(-5, 8),
)
def test_the_function_is_the_same(widths: tuple[int, int], blocks: tuple[int, int], log_snr: float) -> None:
    start = with_random_weights(SMALL)
    larger = grown(replace(SMALL, widths=widths, blocks=blocks), start)
    x_t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    level = torch.full((2,), log_snr)
    torch.testing.assert_close(larger.network(x_t, level), start.network(x_t, level), rtol=1e-4, atol=1e-4)


def test_new_weights_learn() -> None:
    larger = grown(replace(SMALL, widths=(6, 9), blocks=(2, 3)), with_random_weights(SMALL))
    optimizer = torch.optim.SGD(larger.parameters(), lr=0.01)
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):  # zero weights shield others from the first gradients
        optimizer.zero_grad()
        x_t = torch.randn(2, 3, 8, 8, generator=generator)
        torch.autograd.backward(torch.square(larger.network(x_t, torch.zeros(2)) - 1).sum())
        optimizer.step()
    unchanged = {name: (value == before[name]).float().mean() for name, value in larger.state_dict().items()}
    assert all(share < 0.05 for name, share in unchanged.items() if "embedding" not in name), unchanged


@pytest.mark.parametrize(
    "network",
    [
        replace(SMALL, widths=(3, 6)),
        replace(SMALL, blocks=(1, 1)),
        replace(SMALL, embedding_channels=16),
        PlainUNetConfig(widths=(4, 6, 8), blocks=(1, 2, 2), embedding_channels=8),
        UNetConfig(channels=8, multipliers=(1, 2), blocks=1, embedding_channels=16),
    ],
)
def test_other_shapes_are_refused(network: NetworkConfig) -> None:
    assert not can_grow(SMALL, network)
    with pytest.raises(CheckpointError, match="wider or deeper"):
        grown(network, with_random_weights(SMALL))


def test_one_expert_is_grown() -> None:
    start = with_random_weights(replace(SMALL, expert_edges=(0.0,)))
    denoiser = Denoiser(replace(start.config, network=replace(SMALL, widths=(6, 8))))
    load_initial_weights(denoiser, TrainingConfig(log_snr_range=(1.0, 5.0)), start.config, start.state_dict())
    x_t, level = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([2.0])
    torch.testing.assert_close(denoiser.network(x_t, level), start.network(x_t, level), rtol=1e-4, atol=1e-4)
