"""Weights that balance the loss over the noise levels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BINS = 48
"""Number of bins of noise levels, each with a running mean."""

MEMORY = 0.95
"""Decay of a running mean per observation."""

OUTLIER = 16.0
"""A loss counts at most this many times the running mean of its level.

Early in a run a network without normalisation fails on single images with errors thousands of times the mean. Without
a limit, one of them would silence its level for hundreds of steps, and fill the momentum with its gradient.
"""


class LevelBalance:
    """Divides losses by their running mean at the same noise level.

    The gradient is then that of the mean logarithm of the error: a tenth of a decibel has the same weight at every
    level, whereas in the bound noisy levels have almost none. The means are smoothed over neighbouring levels. Single
    images count at most OUTLIER times the mean, in the running mean as in the weighted loss.

    Args:
        low, high: range of log SNRs, in nats.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.means = torch.zeros(BINS)  # 0: not observed yet

    def weights(self, losses: Tensor, log_snr: Tensor) -> Tensor:
        """Update the means with losses (B,) at log SNRs (B,); returns the losses' weights, (B,)."""
        places = ((log_snr - self.low) / (self.high - self.low) * BINS).long().clamp(0, BINS - 1).cpu()
        for place, loss in zip(places.tolist(), losses.detach().float().cpu().tolist(), strict=True):
            mean = float(self.means[place])
            self.means[place] = MEMORY * mean + (1 - MEMORY) * min(loss, OUTLIER * mean) if mean else loss
        observed = self.means > 0
        known = torch.where(observed, self.means, self.means[observed].mean())
        smooth = functional.avg_pool1d(functional.pad(known[None, None], (2, 2), mode="replicate"), 5, 1)[0, 0]
        expected = smooth[places].to(losses)
        return 1 / torch.maximum(expected, losses.detach() / OUTLIER)
