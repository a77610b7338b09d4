"""Exponential moving average of the weights: what is evaluated and shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Averages a module's parameters with `average = decay * average + (1 - decay) * parameter`.

    Early on the decay is (1 + n) / (10 + n) after n updates, so that the random start is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: p.detach().clone().float() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(module.named_parameters())
        averages = list(self.average.values())
        torch._foreach_lerp_(averages, [parameters[name].detach().float() for name in self.average], 1 - decay)

    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the average."""
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(self.average[name])

    def state_dict(self) -> dict[str, Tensor | int | dict[str, Tensor]]:
        """For the training checkpoint."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Tensor | int | dict[str, Tensor]]) -> None:
        """Continue from a saved state."""
        updates, average = state["updates"], state["average"]
        assert isinstance(updates, int)
        assert isinstance(average, dict)
        self.updates = updates
        for name, value in self.average.items():
            value.copy_(average[name])
