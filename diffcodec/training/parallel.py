"""Training in several processes, on one machine or many, by PyTorch's DistributedDataParallel.

`torchrun` starts the processes and identifies each by environment variables; without it there is one process.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from diffcodec.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """Identifies this process. As a context manager, it destroys the process group at the end.

    Args:
        rank: number of this process, from 0.
        count: number of processes, on all machines.
        local_rank: number of this process among those of its machine.
        local_count: number of processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """Join the processes that torchrun started; a single process without torchrun.

        Raises:
            ConfigError: if the others cannot be reached.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()  # ignores a rank that another tool has left in the environment
        if not distributed.is_initialized():
            try:
                # With a timeout, so that no process waits forever for the others.
                backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
                distributed.init_process_group(backend, timeout=timedelta(minutes=10))
            except (ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"the other processes cannot be reached ({error}): start all of them with torchrun"
                ) from error
        return cls(
            int(os.environ.get("RANK", "0")),
            count,
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.count == 1:
            return
        if error is None:
            distributed.destroy_process_group()
        elif isinstance(error, RuntimeError) and any(words in str(error) for words in ("peer", "Timed out")):
            raise ConfigError(
                f"process {self.rank}: another process has ended, see its error: resume the run from the last saved "
                "state",
                parameters=["resume"],
            ) from error

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process: each process of a machine uses its own GPU.

        Raises:
            ConfigError: if there are more processes than GPUs.
        """
        device = torch.device(name)
        if self.count == 1 or device.type != "cuda" or ":" in name:
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{self.local_count} processes on a machine with {torch.cuda.device_count()} GPUs: "
                f"start {torch.cuda.device_count()} processes"
            )
        torch.cuda.set_device(self.local_rank)  # NCCL uses the current device
        return torch.device("cuda", self.local_rank)

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch."""
        return batch[self.rank :: self.count]

    def joined(self, module: nn.Module) -> nn.Module:
        """The module, wrapped so that a backward pass averages gradients over all processes."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def without_exchange(self, module: nn.Module) -> AbstractContextManager[None]:
        """Backward passes of a `joined` module inside add only to this process's gradients."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def mean(self, value: Tensor) -> float:
        """The mean of a number over all processes."""
        message = value.detach().to("cpu", torch.float64)
        if self.count > 1:
            distributed.all_reduce(message)
        return float(message) / self.count

    def agree(self, value: float) -> float:
        """The first process's value, in all of them: clocks differ, and all must end at the same step."""
        if self.count == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(message, 0)
        return float(message)
