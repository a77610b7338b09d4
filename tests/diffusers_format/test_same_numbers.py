"""Imported networks answer what diffusers' own answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcodec.model.loading import load_checkpoint
from tests.diffusers_format.pipelines import NETWORKS, SMALL, TINY, diffusers, randomised

Save = Callable[..., Path]


def assert_same_eps(network: Any, folder: Path, size: tuple[int, int], timesteps: tuple[int, ...]) -> None:
    denoiser = load_checkpoint(folder).denoiser()
    for t in timesteps:
        x_t = torch.randn(2, 3, *size)
        theirs = network(x_t, torch.tensor([t - 1, t - 1])).sample
        with torch.no_grad():
            ours = denoiser(x_t, torch.full((2,), denoiser.schedule.level(t).log_snr))
        assert theirs.std() > 0.1
        assert (ours - theirs).abs().max() < 1e-4, t


@pytest.mark.parametrize("name", NETWORKS)
def test_eps_is_that_of_diffusers(name: str, save: Save) -> None:
    network = randomised(**NETWORKS[name])
    stride = 2 ** (len(NETWORKS[name]["block_out_channels"]) - 1)
    folder = save(network)
    assert_same_eps(network, folder, (stride, 3 * stride), (1, 17, 1000))
    assert_same_eps(network, folder, (64, 32), (2, 500))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "no-attention"])
def test_attention_matters_in_these_networks(name: str) -> None:
    """Or else the tests above would not notice if it were wrong."""
    network, x_t = randomised(**NETWORKS[name]), torch.randn(1, 3, 32, 64)
    before = network(x_t, 10).sample
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith("to_q.weight"):
            parameter.zero_()
    assert (network(x_t, 10).sample - before).abs().max() > 0.01


@pytest.mark.slow
def test_eps_of_the_whole_cifar10_network_is_that_of_diffusers(save: Save) -> None:
    network = randomised(**{**SMALL, "block_out_channels": (128, 256, 256, 256)})
    folder = save(network)
    assert sum(value.numel() for value in load_checkpoint(folder).weights.values()) == 35_746_307
    for size in ((32, 32), (64, 48)):
        assert_same_eps(network, folder, size, (1, 2, 17, 500, 1000))


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_image_is_what_the_scheduler_makes_of_the_answer(
    beta_schedule: str, prediction_type: str, save: Save
) -> None:
    network = randomised(**TINY)
    schedule = {"beta_schedule": beta_schedule, "prediction_type": prediction_type, "clip_sample": False}
    denoiser = load_checkpoint(save(network, **schedule)).denoiser()
    scheduler = diffusers.DDPMScheduler(**schedule)
    for t in (1, 2, 17, 500, 900):
        x_t = torch.randn(2, 3, 16, 16)
        answer = network(x_t, torch.tensor(t - 1)).sample
        theirs = scheduler.step(answer, t - 1, x_t).pred_original_sample
        ours = denoiser.predict_x_0(x_t, torch.full((2,), denoiser.schedule.level(t).log_snr))
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_learned_variances_are_those_of_the_scheduler(save: Save) -> None:
    network = randomised(**TINY, out_channels=6)
    denoiser = load_checkpoint(save(network, variance_type="learned_range")).denoiser()
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    for t in (2, 17, 500, 1000):
        x_t, level, before = torch.randn(1, 3, 16, 16), denoiser.schedule.level(t), denoiser.schedule.level(t - 1)
        raw = network(x_t, torch.tensor(t - 1)).sample[:, 3:]
        theirs = scheduler._get_variance(t - 1, predicted_variance=raw)  # its logarithm
        mix = denoiser.estimate(x_t, torch.full((1,), level.log_snr)).variance_mix
        assert mix is not None
        beta = denoiser.schedule.betas[t]
        small = torch.tensor(beta * (before.sigma / level.sigma) ** 2).log()
        ours = mix * torch.tensor(beta).log() + (1 - mix) * small
        assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("variance_type", "ours"),
    [("fixed_small", "fixedsmall"), ("fixed_small_log", "fixedsmall"), ("fixed_large", "fixedlarge")],
)
def test_fixed_variances(variance_type: str, ours: str, save: Save) -> None:
    assert load_checkpoint(save(randomised(**TINY), variance_type=variance_type)).config.variance == ours


@pytest.mark.parametrize(
    "kind", ["DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]
)
def test_other_schedulers_describe_the_same_process(kind: str, save: Save) -> None:
    scheduler = getattr(diffusers, kind)(beta_schedule="scaled_linear", num_train_timesteps=500)
    schedule = load_checkpoint(save(randomised(**TINY), scheduler=scheduler)).denoiser().schedule
    theirs = scheduler.alphas_cumprod.double().numpy()
    assert schedule.alphas_cumprod[1:] == pytest.approx(theirs, rel=1e-4)


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "other ends": {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 300},
    "scaled linear": {"beta_schedule": "scaled_linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "cosine, few": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 20},
    "given": {"trained_betas": [0.01, 0.02, 0.5, 0.3], "num_train_timesteps": 4},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_betas_are_those_of_diffusers(name: str, save: Save) -> None:
    """They compute in float32, we in decimals: equal up to float32's rounding, which is larger in small betas."""
    schedule = load_checkpoint(save(randomised(**TINY), **SCHEDULES[name])).denoiser().schedule
    theirs = diffusers.DDPMScheduler(**SCHEDULES[name])
    assert schedule.betas[1:] == pytest.approx(theirs.betas.double().numpy(), rel=4e-7, abs=1e-8)
    assert schedule.alphas_cumprod[1:] == pytest.approx(theirs.alphas_cumprod.double().numpy(), rel=2e-5, abs=1e-9)
