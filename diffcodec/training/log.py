"""The training log: one JSON object per line."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from diffcodec.files import atomic_write


@dataclass(frozen=True)
class Progress:
    """One line of the log.

    Args:
        images: training images seen, counting repetitions.
        seconds: spent training, over all resumed parts.
        fraction: completed part of the run, 0 to 1; determines the learning rate.
        loss: mean since the last line.
        rate_bpd: the loss as a rate in bits per subpixel (`vlb` only, else NaN); see `losses.bits_per_loss`.
        learning_rate: current factor of the peak learning rate.
    """

    images: int
    seconds: float
    fraction: float
    loss: float
    rate_bpd: float
    learning_rate: float


def append_log(path: Path, progress: Progress) -> None:
    """Add one line."""
    values = dataclasses.asdict(progress)
    with path.open("a", encoding="utf-8") as file:  # JSON has no NaN
        file.write(json.dumps({k: v if math.isfinite(v) else None for k, v in values.items()}) + "\n")


def cut_log(path: Path, images: int) -> None:
    """Remove the lines after `images` images, which a resumed run writes again.

    Also removes an incomplete last line of a killed process.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["images"] > images:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line + "\n")
    with atomic_write(path, overwrite=True) as file:
        file.write("".join(kept).encode())
