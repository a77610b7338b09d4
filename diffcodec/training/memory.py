"""Memory of a training step, estimated before the first one by a step on tensors without data."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from diffcodec.config import ModelConfig
from diffcodec.devices import free_bytes
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.plain_unet import PlainBlock
from diffcodec.diffusion.unet import ResidualBlock, Stage
from diffcodec.errors import ConfigError
from diffcodec.training.config import TrainingConfig
from diffcodec.training.optimizers import make_optimizers


@dataclass(frozen=True)
class StepMemory:
    """Memory of a training step in one process, in bytes.

    Args:
        weights: of the network.
        optimizers: their state.
        average: the moving average of the weights.
        passes: gradients and activations, at their peak.
    """

    weights: int
    optimizers: int
    average: int
    passes: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.weights + self.optimizers + self.average + self.passes


def step_memory(
    model: ModelConfig,
    training: TrainingConfig,
    shape: tuple[int, ...],
    *,
    device: torch.device,
    precision: str = "fp32",
    gradient_checkpointing: bool = False,
    adds_gradients: bool = False,
) -> StepMemory:
    """Memory of a step.

    It allocates nothing of that size: every operation of the network runs on tensors with a shape but no data.
    Temporary buffers of convolutions are not counted.

    Args:
        model, training: configurations of the run.
        shape: (B, C, H, W) of the images that go through the network at once.
        device: of the run.
        precision, gradient_checkpointing: as for `Trainer`.
        adds_gradients: whether gradients exist before the forward pass, and the step adds to them.
    """
    with FakeTensorMode(), device, AllocationMeter() as meter:
        denoiser = Denoiser(model)
        if gradient_checkpointing:
            recompute_activations(denoiser)
        weights = meter.present
        for _ in range(2 if adds_gradients else 1):
            x, condition = torch.empty(shape), torch.empty(shape[0])
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                raw = denoiser.network(x, condition)
            raw.float().pow(2).mean().backward()
    optimizers = sum(
        parameter.nbytes * (2 if isinstance(optimizer, AdamW) else 1)  # Muon has only a momentum
        for optimizer in make_optimizers(denoiser, training)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    average = sum(parameter.nbytes for parameter in denoiser.parameters())
    return StepMemory(weights, optimizers, average, meter.peak - weights)


class AllocationMeter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that operations allocate, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.present = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count new storages."""
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and (key := (storage := value.untyped_storage())._cdata) not in self._known:
                self._known.add(key)
                self.present += storage.nbytes()
                self.peak = max(self.peak, self.present)
                weakref.finalize(storage, self._freed, key, storage.nbytes())
        return result

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.present -= size


def recompute_activations(module: nn.Module) -> None:
    """Make every stage of a network keep only its inputs, and recompute its activations in the backward pass.

    Gradient checkpointing (Chen et al. 2016): a third more time, and memory for one stage instead of all. Random
    numbers, such as those of dropout, are the same in the second evaluation.
    """
    for child in module.children():
        if isinstance(child, Stage | ResidualBlock | PlainBlock):
            child.forward = partial(checkpoint, child.forward, use_reentrant=False)  # type: ignore[method-assign]
        else:
            recompute_activations(child)


def check_memory(needed: int, device: torch.device) -> None:
    """Refuse a run that would fail at its first step, or be killed by the operating system.

    Raises:
        ConfigError: if less than `needed` bytes are free.
    """
    free = free_bytes(device)
    if free is not None and needed > free:
        raise ConfigError(
            f"a training step needs {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free on {device}: {ADVICE}",
            parameters=ADVISED,
        )


def peak_bytes(device: torch.device) -> int | None:
    """The most memory used so far: by tensors on a GPU, by the whole process on a CPU; None on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if os.name == "nt":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def advice_when_full() -> Iterator[None]:
    """Turns torch's out-of-memory errors into one with advice.

    Raises:
        ConfigError: instead of them.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("out of memory", "allocate memory")):
            raise
        raise ConfigError(f"a training step does not fit into memory: {ADVICE}", parameters=ADVISED) from error


ADVICE = "accumulate gradients over parts of a batch, recompute activations, use bf16, or use smaller batches"
ADVISED = ("accumulate", "gradient_checkpointing", "precision", "batch_size")
"""The parameters of the advice."""
