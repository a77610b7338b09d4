"""Where results come from: pictures, models, versions and machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import diffcodec
from diffcodec.checkpoint import Checkpoint
from diffcodec.evaluation.datasets import Pictures

OWN_LIBRARIES = ("torch", "numpy", "scipy", "constriction", "piq")
"""Those that the codec's own results depend on."""


def conditions(
    codec: str, label: str, kind: str, pictures: Pictures, *, seed: int, checkpoint: Checkpoint | None,
    libraries: Sequence[str] = OWN_LIBRARIES, images: int | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """What results depend on, as result files have it.

    Args:
        codec: as results are filed.
        label: for people.
        kind: `lossy`, `lossless` or `bound`.
        pictures: the data set.
        seed: of all noise.
        checkpoint: the model; None for a codec without one.
        libraries: whose versions count.
        images: how many of the pictures were taken; all if None.
        more: settings.
    """
    model = None if checkpoint is None else model_conditions(checkpoint)
    return {
        "codec": codec, "label": label, "dataset": pictures.name, "digest": pictures.digest, "kind": kind,
        "images": len(pictures) if images is None else images, "seed": seed, "model": model,
        "versions": versions(libraries), **more,
    }  # fmt: skip


def model_conditions(checkpoint: Checkpoint) -> dict[str, str]:
    """Name and fingerprint of a model."""
    return {"name": checkpoint.card.name, "fingerprint": checkpoint.fingerprint.hex()}


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
