"""Exponential moving average of the weights, which is evaluated and released."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Averages a module's parameters with `average = decay * average + (1 - decay) * parameter`.

    At first the decay is (1 + n) / (10 + n) after n updates, so that the random initialisation is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: p.detach().clone().float() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the module's current parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(module.named_parameters())
        averages = list(self.average.values())
        torch._foreach_lerp_(averages, [parameters[name].detach().float() for name in self.average], 1 - decay)

    def state_dict(self) -> dict[str, Tensor | int | dict[str, Tensor]]:
        """The state for the training checkpoint."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Tensor | int | dict[str, Tensor]]) -> None:
        """Continue from a saved state."""
        updates, average = state["updates"], state["average"]
        assert isinstance(updates, int)
        assert isinstance(average, dict)
        self.updates = updates
        for name, value in self.average.items():
            value.copy_(average[name])
