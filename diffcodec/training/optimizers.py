"""Optimisers: AdamW for everything, or Muon for the convolutions and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from diffcodec.training.config import TrainingConfig


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrix: singular values between 0.7 and 1.2.

    Quintic Newton-Schulz iteration with the coefficients of Jordan et al. (2024), "Muon".

    Args:
        matrix: (rows, columns).
        steps: iterations.

    Returns:
        (rows, columns), float32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x: Tensor = (matrix if wide else matrix.T).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).float()


class Muon(Optimizer):
    """Momentum whose update of each weight matrix is orthogonalised (Jordan et al. 2024).

    Unlike torch.optim.Muon, which takes only 2-dimensional parameters, it treats a convolution's kernel as a matrix
    with out_channels rows.

    Args:
        params: convolution kernels or matrices.
        lr: learning rate; the update has a root mean square of about lr / sqrt(columns).
        momentum: Nesterov momentum.
        weight_decay: decoupled.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                matrix = update.reshape(len(update), -1)
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(orthogonalise(matrix).reshape(update.shape), alpha=-group["lr"] * scale)
        return None


def make_optimizers(module: nn.Module, config: TrainingConfig) -> list[Optimizer]:
    """The optimisers that the configuration names, over all parameters of the module."""
    kernels = [p for name, p in module.named_parameters() if _is_hidden_kernel(name, p)]
    chosen = {id(p) for p in kernels} if config.optimizer == "muon" else set()
    rest = [p for p in module.parameters() if id(p) not in chosen]
    adamw = AdamW(rest, lr=config.learning_rate, betas=(0.9, config.adam_beta2), weight_decay=config.weight_decay)
    if config.optimizer == "adamw":
        return [adamw]
    return [adamw, Muon(kernels, lr=config.muon_learning_rate, weight_decay=config.muon_weight_decay)]


def _is_hidden_kernel(name: str, parameter: Tensor) -> bool:
    """Whether it is a convolution between hidden layers; the first and last have pixels as input or small outputs."""
    outer = ("network.stem", "network.full_stem", "network.out.")
    return parameter.ndim == 4 and not name.startswith(outer)
