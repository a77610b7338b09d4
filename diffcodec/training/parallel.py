"""Training in several processes: each takes its share of every batch, and gradients are averaged.

Started by `torchrun`, whose environment variables say which process this is; without it, one process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """Which process this is.

    Args:
        rank: number of this process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """Join the processes that torchrun started; alone if there is none."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch."""
        return batch[self.rank :: self.count]

    @torch.no_grad()
    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agree(self, value: float) -> float:
        """The first process's value, in all of them: clocks differ, and all must end at the same step."""
        if self.count == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(message, 0)
        return float(message)
