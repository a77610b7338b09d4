"""Devices: their names, and the precision of computations on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from diffcodec.errors import ConfigError


def check_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: if torch does not know it or it is not available.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # torch raises almost anything for backends that are not available
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, NotImplementedError):
            reason = "this PyTorch does not support it"  # torch's own message is a page about operators
        raise ConfigError(f"device {name!r} cannot be used ({reason}): use the CPU", parameters=["device"]) from error
    if device.type == "meta":
        raise ConfigError(f"device {name!r} cannot be used (it computes nothing): use the CPU", parameters=["device"])
    return device


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inside, float32 has its full 24 bits; otherwise GPUs convolve with TF32's 11.

    With TF32, encoder and decoder on different machines would still read the same symbols, but their pictures would
    differ by more than a grey level.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's weights."""
    return next(network.parameters()).device
