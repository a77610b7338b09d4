"""What a step takes is known before it is run, and checkpointing changes memory and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.devices import free_bytes
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.training import memory
from diffcodec.training.config import OptimizerKind, TrainingConfig
from diffcodec.training.dry_run import measure_steps
from diffcodec.training.loop import Trainer
from diffcodec.training.losses import training_loss
from diffcodec.training.memory import (
    AllocationMeter,
    StepMemory,
    advice_when_full,
    check_memory,
    peak_bytes,
    recompute_activations,
    step_memory,
)

CPU = torch.device("cpu")
MODEL = ModelConfig(
    network=UNetConfig(
        channels=32,
        multipliers=(1, 2),
        blocks=1,
        attention_scales=(1,),
        norm="group",
        embedding_channels=32,
        dropout=0.3,
    )
)
LOCAL = ModelConfig(
    network=UNetConfig(channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, dropout=0.3, blocks=1)
)


def passes(model: ModelConfig, recompute: bool) -> tuple[list[torch.Tensor], int]:
    """Gradients of a loss, and the memory that the passes take at their peak."""
    torch.manual_seed(3)
    denoiser = Denoiser(model)
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.05)
    if recompute:
        recompute_activations(denoiser)
    x_0, eps, log_snr = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32), torch.linspace(-3, 3, 4)
    torch.manual_seed(4)
    with AllocationMeter() as meter:
        torch.autograd.backward(training_loss(denoiser, TrainingConfig(), x_0, log_snr, eps).mean())
    return [parameter.grad for parameter in denoiser.parameters() if parameter.grad is not None], meter.peak


@pytest.mark.parametrize("model", [MODEL, LOCAL], ids=["paper", "local"])
def test_checkpointing_changes_no_gradient_and_saves_memory(model: ModelConfig) -> None:
    plain, plain_peak = passes(model, recompute=False)
    checkpointed, peak = passes(model, recompute=True)
    assert len(plain) == len(checkpointed) == len(list(Denoiser(model).parameters()))
    for expected, found in zip(plain, checkpointed, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert peak < 0.8 * plain_peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimate_is_near_what_a_step_takes(precision: str, recompute: bool) -> None:
    """Counted on tensors without data, and on real ones, whose convolutions and attention depend on the processor.

    They differ by a third between two x86-64 processors, so that only the order of magnitude holds everywhere.
    """
    estimate = step_memory(
        MODEL, TrainingConfig(), (4, 3, 32, 32), device=CPU, precision=precision, gradient_checkpointing=recompute
    )
    denoiser = Denoiser(MODEL)
    numbers = sum(parameter.numel() for parameter in denoiser.parameters())
    if recompute:
        recompute_activations(denoiser)
    x_t, log_snr = torch.randn(4, 3, 32, 32), torch.linspace(-3, 3, 4)
    with AllocationMeter() as meter:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            error = denoiser.predict_x_0(x_t, log_snr)
        torch.autograd.backward(error.pow(2).mean())
    assert 0.5 * estimate.passes < meter.peak < 2 * estimate.passes
    assert estimate.weights == pytest.approx(4 * numbers, rel=1e-3)
    assert estimate.average == 4 * numbers
    assert estimate.optimizers == 8 * numbers
    assert estimate.total == estimate.weights + estimate.average + estimate.optimizers + estimate.passes


def test_the_peak_of_simple_operations_is_known() -> None:
    """A chain of elementwise operations keeps what its backward pass needs, on any processor, with data or without."""
    numbers = 1 << 16

    def run() -> int:
        x, meter = torch.ones(numbers, requires_grad=True), AllocationMeter()
        with meter:
            y = x.exp()  # kept for its gradient
            y = y.sin()  # needs its input, which is kept already
            torch.autograd.backward(y.sum())
        return meter.peak

    with FakeTensorMode():
        without_data = run()
    assert without_data == run()
    # Two results, the gradient of each, and a few numbers.
    assert 2 * 4 * numbers <= without_data <= 5 * 4 * numbers + 1000


def test_what_makes_a_step_smaller() -> None:
    def taken(images: int, optimizer: OptimizerKind = "adamw", **options: Any) -> StepMemory:
        return step_memory(MODEL, TrainingConfig(optimizer=optimizer), (images, 3, 64, 64), device=CPU, **options)

    one, eight = taken(1), taken(8)
    assert eight.weights == one.weights
    assert eight.passes > 5 * one.passes
    assert taken(8, gradient_checkpointing=True).passes < 0.6 * eight.passes
    assert taken(8, precision="bf16").passes < 0.7 * eight.passes
    assert taken(1, adds_gradients=True).passes > one.passes + 0.5 * one.weights
    assert taken(1, optimizer="muon").optimizers < 0.6 * one.optimizers


def test_a_step_that_does_not_fit_is_an_error_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(MODEL, TrainingConfig(batch_size=4), torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    trainer.check_memory()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(
        ConfigError, match=r"needs 0\.\d GB more, but 0\.0 GB are free on cpu: .* recompute activations"
    ):
        trainer.check_memory()
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    trainer.check_memory()


def test_full_memory_is_distinguished_from_other_errors() -> None:
    for text in (
        "CUDA out of memory. Tried to allocate 2 GiB",
        "DefaultCPUAllocator: can't allocate memory: you tried",
    ):
        with (
            pytest.raises(ConfigError, match=r"does not fit into memory: accumulate gradients over parts of a batch"),
            advice_when_full(),
        ):
            raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shapes differ"), advice_when_full():
        raise RuntimeError("shapes differ")


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the system does not tell what is free")
def test_the_system_s_numbers_make_sense() -> None:
    free, peak = free_bytes(CPU), peak_bytes(CPU)
    assert free is not None
    assert peak is not None
    assert 1e7 < peak < 1e12
    assert 1e6 < free < 1e14
    check_memory(0, CPU)
    with pytest.raises(ConfigError):
        check_memory(1 << 60, CPU)


def test_a_dry_run_says_what_a_step_takes() -> None:
    trainer = Trainer(MODEL, TrainingConfig(batch_size=4), torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    cost = measure_steps(trainer)
    assert cost.parameters == sum(parameter.numel() for parameter in trainer.denoiser.parameters())
    assert cost.images == 4
    assert cost.seconds > 0
    text = "\n".join(cost.lines())
    assert f"parameters          {cost.parameters / 1e6:.1f} million" in text
    assert f"memory, estimated   {cost.estimate.total / 1e9:.2f} GB" in text
    assert f"per step of 4 images: {4 / cost.seconds:.3g} images per second" in text
