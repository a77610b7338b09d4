"""Provenance of results: pictures, models, versions and machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import diffcodec
from diffcodec.evaluation.datasets import Pictures
from diffcodec.model.description import ModelDescription

OWN_LIBRARIES = ("torch", "numpy", "scipy", "constriction", "piq")
"""Libraries that the codec's own results depend on."""


def conditions(
    codec: str,
    label: str,
    kind: str,
    pictures: Pictures,
    *,
    seed: int,
    model: ModelDescription | None,
    libraries: Sequence[str] = OWN_LIBRARIES,
    images: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Everything that results depend on, in the form of result files.

    Args:
        codec: its name in results.
        label: for people.
        kind: `lossy`, `lossless` or `bound`.
        pictures: the data set.
        seed: of all noise.
        model: of the codec; None for a codec without one.
        libraries: whose versions are included.
        images: number of pictures used; all if None.
        more: settings.
    """
    return {
        "codec": codec,
        "label": label,
        "dataset": pictures.name,
        "digest": pictures.digest,
        "kind": kind,
        "images": len(pictures) if images is None else images,
        "seed": seed,
        "model": None if model is None else model_conditions(model),
        "versions": versions(libraries),
        **more,
    }


def model_conditions(model: ModelDescription) -> dict[str, str]:
    """Name and fingerprint of a model."""
    return {"name": model.card.name, "fingerprint": model.fingerprint.hex()}


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Versions of those libraries that are installed, and of the running package, installed or not."""
    found = {"diffcodec": diffcodec.__version__}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str, processes: int) -> str:
    """Description of the machine on which seconds were measured.

    Args:
        device: of the network.
        processes: number of processes, of one thread each.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{platform.machine()}, {os.cpu_count()} cores, {processes} processes of one thread, network on {name}"


def device_name(device: str) -> str:
    """A device with what it is: the GPU's name, or the architecture and the instructions of the processor in use."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
