import math

import pytest
import torch
from torch import Tensor

from diffcodec.config import ModelConfig, PlainUNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.experts import Experts
from diffcodec.diffusion.pyramid import HALVING_GAIN
from diffcodec.errors import ConfigError

CONFIG = PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16, expert_edges=(1.0, 4.0))
LEVELS = (-1.5, 0.99, 1.0, 3.5, 4.0, 9.0)
OWNERS = (0, 0, 1, 1, 2, 2)


@pytest.fixture
def network() -> Experts:
    torch.manual_seed(0)
    experts = Experts(CONFIG, 3).requires_grad_(False)
    for parameter in experts.parameters():
        parameter.normal_(0, 0.2)
    return experts


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("level", "owner"), list(zip(LEVELS, OWNERS, strict=True)))
def test_each_level_asks_one_expert(network: Experts, level: float, owner: int) -> None:
    x = images(2)
    for condition in (torch.tensor([level]), torch.tensor([level, level])):
        torch.testing.assert_close(network(x, condition), network.experts[owner](x, condition), rtol=0, atol=0)


def test_a_batch_of_different_levels(network: Experts) -> None:
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    condition, x = torch.tensor(LEVELS)[order], images(len(LEVELS))
    found = network(x, condition)
    for image, (level, result) in enumerate(zip(condition, found, strict=True)):
        alone = network(x[image : image + 1], level[None])
        torch.testing.assert_close(result, alone[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(network(x, condition, condition.tolist()), found)


def test_a_denoiser_of_experts() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(ModelConfig(CONFIG, prediction="v", data_std=0.5, half_resolution_below=0.0)).eval()
    denoiser.requires_grad_(False)
    for parameter in denoiser.parameters():
        parameter.normal_(0, 0.2)
    x = images(1)
    with torch.no_grad():
        before = {level: denoiser.predict_x_0(x, torch.tensor([level])) for level in LEVELS}
        assert isinstance(denoiser.network, Experts)
        for parameter in denoiser.network.experts[1].parameters():
            parameter.add_(0.1)
        after = {level: denoiser.predict_x_0(x, torch.tensor([level])) for level in LEVELS}
        changed = {level: not torch.equal(after[level], before[level]) for level in LEVELS}
    # -1.5 is estimated at half the size, where the log SNR is -0.11, and at a quarter of it, where it is 1.27.
    assert changed == {-1.5: True, 0.99: False, 1.0: True, 3.5: True, 4.0: False, 9.0: False}


@pytest.mark.parametrize("edges", [(2.0, 1.0), (1.0, 1.0), (float("nan"),), tuple(map(float, range(8)))])
def test_edges_that_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expert_edges"):
        PlainUNetConfig(expert_edges=edges)


@pytest.mark.parametrize(
    ("log_snr", "side", "until"),
    [
        (4.5, 64, math.inf),
        (4.0, 64, math.inf),
        (2.0, 64, 4.0),
        (0.5, 64, 1.0),
        (-0.2, 64, 0.0),  # halved once: 1.19, of the second expert up to the end of halving
        (-1.0, 64, 1.0 - HALVING_GAIN),  # halved once: 0.39, of the first expert
        (-1.5, 64, -HALVING_GAIN),  # halved twice: 1.27
        (-1.5, 2, 1.0),  # too small to be halved
    ],
)
def test_how_far_a_network_reaches(log_snr: float, side: int, until: float) -> None:
    denoiser = Denoiser(ModelConfig(CONFIG, prediction="v", data_std=0.5, half_resolution_below=0.0))
    assert denoiser.same_network_until((1, 3, side, side), log_snr) == pytest.approx(until)
