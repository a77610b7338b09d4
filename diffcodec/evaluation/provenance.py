"""Where results come from: versions and machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

import diffcodec


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of those libraries that are installed, and of this package as it runs, installed or not."""
    found = {"diffcodec": diffcodec.__version__}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str, processes: int) -> str:
    """What seconds were measured on.

    Args:
        device: of the network.
        processes: that ran at a time, of one thread each.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{platform.machine()}, {os.cpu_count()} cores, {processes} processes of one thread, network on {name}"
