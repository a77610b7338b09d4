"""Memory and time of a run, measured on its first steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from diffcodec.training.loop import Trainer
from diffcodec.training.memory import StepMemory, peak_bytes


@dataclass(frozen=True)
class StepCost:
    """Memory and time of a training step.

    Args:
        parameters: number of learned parameters.
        estimate: the estimated memory.
        peak_bytes: the measured memory: of tensors on a GPU, of the whole process on a CPU; None if unknown.
        images: in the step, over all processes.
        seconds: of the step.
    """

    parameters: int
    estimate: StepMemory
    peak_bytes: int | None
    images: int
    seconds: float

    def lines(self) -> list[str]:
        """Text output."""
        memory = self.estimate
        peak = "unknown" if self.peak_bytes is None else f"{self.peak_bytes / 1e9:.2f} GB"
        return [
            f"parameters          {self.parameters / 1e6:.1f} million",
            f"memory, estimated   {memory.total / 1e9:.2f} GB: weights {memory.weights / 1e9:.2f}, their average "
            f"{memory.average / 1e9:.2f}, optimiser {memory.optimizers / 1e9:.2f}, gradients and activations "
            f"{memory.passes / 1e9:.2f}",
            f"memory, measured    {peak}",
            f"time                {self.seconds:.2f} s per step of {self.images} images: "
            f"{self.images / self.seconds:.3g} images per second",
        ]


def measure_steps(trainer: Trainer) -> StepCost:
    """Run two steps and time the second, which has no one-time costs.

    Raises:
        ConfigError: if memory is insufficient.
    """
    for _ in range(2):
        start = time.perf_counter()
        trainer.step(0.0)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        seconds = time.perf_counter() - start
    return StepCost(
        parameters=sum(parameter.numel() for parameter in trainer.denoiser.parameters()),
        estimate=trainer.step_memory(),
        peak_bytes=peak_bytes(trainer.device),
        images=trainer.training.batch_size,
        seconds=seconds,
    )
