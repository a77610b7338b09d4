"""Every tensor of an evaluation is on the device of its input, and nothing waits for that device.

`FakeTensorMode` has tensors "on CUDA" without one: operations on tensors of different devices raise, and so does
reading a value back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from diffcodec.config import ModelConfig, NetworkConfig, PlainUNetConfig, UNetConfig
from diffcodec.devices import device_of
from diffcodec.diffusion import windows
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.samplers import Sampler
from diffcodec.diffusion.sampling import ReverseProcess
from diffcodec.diffusion.schedule import NoiseLevel, posterior
from diffcodec.training.config import TrainingConfig
from diffcodec.training.losses import training_loss

UNET = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, patch=2, full_resolution_channels=8, embedding_channels=16)
NETWORKS: dict[str, NetworkConfig] = {
    "unet": UNET,
    "plain": PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16),
    "experts": PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16, expert_edges=(0.0, 3.0)),
    "attention": UNetConfig(
        channels=32, multipliers=(1, 1), blocks=1, attention_scales=(1,), norm="group", norm_groups=8
    ),
    "timestep": UNetConfig(channels=8, multipliers=(1,), blocks=1, conditioning="timestep", embedding_channels=16),
}


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    with FakeTensorMode():
        yield


def denoiser(network: NetworkConfig, **model: Any) -> Denoiser:
    with torch.device("cuda"):
        return Denoiser(replace(ModelConfig(network, prediction="v", data_std=0.5), **model)).eval()


def images(side: int = 32) -> Tensor:
    return torch.empty(2, 3, side, side, device="cuda")


def test_devices_are_told_apart() -> None:
    with pytest.raises(RuntimeError, match="device"):
        images() + torch.empty(2, 3, 32, 32)
    with pytest.raises(DataDependentOutputException):
        float(images().sum())


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_estimates(name: str, halved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if halved and name == "timestep":
        pytest.skip("such a network knows no levels between the timesteps")
    network = denoiser(NETWORKS[name], half_resolution_below=0.0 if halved else None)
    with torch.no_grad():
        x_0 = windows.predict_x_0(network, images(), -1.0)
        assert (x_0.device, x_0.shape, x_0.dtype) == (device_of(network), images().shape, torch.float32)
        monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 16 * 16)
        assert windows.predict_x_0(network, images(64), 1.0).device == device_of(network)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "mean"])
def test_every_parametrisation(prediction: str) -> None:
    network = denoiser(UNET, prediction=prediction)
    with torch.no_grad():
        assert windows.predict_x_0(network, images(), 1.0).device == device_of(network)


@pytest.mark.parametrize("kind", ["flow", "ancestral", "langevin"])
def test_sampling(kind: Any) -> None:
    network = denoiser(UNET)
    process, sampler = ReverseProcess(network), Sampler(kind, steps=3)
    levels = sampler.levels(network.schedule, network.schedule.level(network.schedule.steps))
    with torch.no_grad():
        for state in sampler.states(process, images(), levels, images):
            assert state.x_t.device == device_of(network)


def test_the_step_of_a_trajectory() -> None:
    x_t, x_0, y = images(), images(), images()
    step = posterior(NoiseLevel(-1.0), NoiseLevel(1.0))
    assert (step.of_x_0 * x_0 + step.of_x_t * x_t + step.std * y).device == x_t.device


@pytest.mark.parametrize("name", ["unet", "plain"])
def test_a_training_step(name: str) -> None:
    network, config = denoiser(NETWORKS[name]), TrainingConfig()
    x_0 = images()
    log_snr = torch.empty(2, device="cuda")
    loss = training_loss(network, config, x_0, log_snr, torch.empty_like(x_0))
    assert loss.device == x_0.device
