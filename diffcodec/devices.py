"""Devices: their names, and the precision of what runs on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffcodec.errors import ConfigError


def check_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: if torch does not know it or it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # torch raises almost anything for backends that are not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, NotImplementedError):
            reason = "this PyTorch does not support it"  # instead of a page about operators
        raise ConfigError(f"device {name!r} cannot be used ({reason}): try --device cpu") from error
    if device.type == "meta":
        raise ConfigError(f"device {name!r} cannot be used (it computes nothing): try --device cpu")
    return device


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keeps float32 at 24 bits inside: GPUs otherwise convolve with TF32's 11.

    An encoder and a decoder on different machines would still read the same symbols, but see pictures that
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
