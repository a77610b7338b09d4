"""Devices: their names, and the precision of computations on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from diffcodec.errors import ConfigError


def check_device(name: str | torch.device) -> torch.device:
    """The device of that name, once it is known to work.

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
        raise ConfigError(f"device '{name}' cannot be used ({reason}): use the CPU", parameters=["device"]) from error
    if device.type == "meta":
        raise ConfigError(f"device '{name}' cannot be used (it computes nothing): use the CPU", parameters=["device"])
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
    """The device of a network's weights or, if it has none, of its buffers."""
    return next(chain(network.parameters(), network.buffers())).device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 numbers in hardware; elsewhere they are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _cpu_has_bf16()


@lru_cache(maxsize=1)
def _cpu_has_bf16() -> bool:
    try:  # Linux; x86 names the instructions in "flags", Arm in "Features"
        words = set(Path("/proc/cpuinfo").read_text("ascii", "replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


@contextmanager
def evaluation_precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, networks are evaluated in float32 with all its bits, or in bfloat16 by autocast."""
    if dtype == torch.float32:
        with full_precision(device):
            yield
    else:
        with torch.autocast(device.type, dtype):
            yield


def free_bytes(device: torch.device) -> int | None:
    """Free memory in bytes; None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
