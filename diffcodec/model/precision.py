"""Where and how networks are evaluated."""

from __future__ import annotations

from typing import TypedDict

import torch

from diffcodec.config import PRECISIONS, Precision
from diffcodec.devices import has_fast_bf16
from diffcodec.errors import ConfigError
from diffcodec.model.evaluation_profile import BFLOAT16, FLOAT32, EvaluationProfile


class EvaluationOptions(TypedDict, total=False):
    """Where and how networks are evaluated: described in `DiffusionCodec`."""

    device: str | torch.device
    precision: Precision


def check_precision(precision: str) -> None:
    """Check that there is such a precision.

    Raises:
        ConfigError: if there is none.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")


def levels_in_bf16(precision: Precision, measured: EvaluationProfile, device: torch.device) -> EvaluationProfile:
    """The levels of lossy files at which a network is evaluated in bfloat16.

    Args:
        precision: as chosen by the caller.
        measured: what calibration measured of the network.
        device: of the network.
    """
    if precision == "auto":
        return measured if has_fast_bf16(device) else FLOAT32
    return BFLOAT16 if precision == "bf16" else FLOAT32
