"""Estimates very noisy pictures at lower resolution: where noise hides all detail, a quarter of the pixels is enough.

The mean of 2 x 2 noisy pixels has the averaged signal with half the noise. Twice the mean is therefore, up to a factor,
x_t of the smaller picture, at a log SNR that is larger by ln 4. Photographs have similar statistics at all scales, so
the same network can be used there: at a quarter of the cost, and with twice the receptive field.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

HALVING_GAIN = math.log(4)
"""Increase of the log SNR by halving the resolution, in nats."""


def estimate_at_half_size(
    estimate: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, log_snr: Tensor, stride: int
) -> Tensor:
    """Clean images at full size, from an estimate at half the size.

    Args:
        estimate: function from noisy images (B, C, h, w) and their log SNR to clean ones; h and w are multiples of the
            stride.
        x_t: (B, C, H, W), even sides of at least two strides.
        log_snr: (B,) or (1,), in nats.
        stride: of the network.

    Returns:
        (B, C, H, W).
    """
    half, higher = halve(x_t, log_snr)
    x_0 = estimate(padded(half, stride), higher)
    return double(x_0[:, :, : half.shape[2], : half.shape[3]])


def halve(x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy state of the picture of half the size, from that of the full picture.

    Args:
        x_t: alpha x_0 + sigma eps, (B, C, H, W), even sides.
        log_snr: (B,) or (1,), in nats.

    Returns:
        The state, (B, C, H / 2, W / 2), of the picture whose pixels are means of 2 x 2 pixels of x_0, and its log SNR,
        same shape. The noise is again standard normal, and independent from pixel to pixel.
    """
    higher = log_snr + HALVING_GAIN
    # The sum of four is 4 alpha mean(x_0) + 2 sigma eps: the factor that gives the new sigma also gives the new alpha.
    factor = torch.sigmoid(-higher).sqrt() / torch.sigmoid(-log_snr).sqrt()
    return 2 * factor[:, None, None, None].to(x_t.device) * functional.avg_pool2d(x_t, 2), higher


def double(x_0: Tensor) -> Tensor:
    """A picture of twice the size, (B, C, H, W) -> (B, C, 2 H, 2 W), whose means of 2 x 2 pixels are the given pixels.

    The slope inside a pixel is interpolated from its neighbours.
    """
    batch, channels, height, width = x_0.shape
    doubled = x_0.new_empty(batch, channels, 2 * height, 2 * width)
    for channel in range(channels):  # what lies between is several times as large as the result
        doubled[:, channel : channel + 1] = _double(x_0[:, channel : channel + 1])
    return doubled


def _double(x_0: Tensor) -> Tensor:
    """`double` of all channels at once."""
    for dim in (2, 3):
        last = x_0.shape[dim] - 1
        before = torch.cat([x_0.narrow(dim, 0, 1), x_0.narrow(dim, 0, last)], dim)
        after = torch.cat([x_0.narrow(dim, 1, last), x_0.narrow(dim, last, 1)], dim)
        slope = (after - before) / 8
        x_0 = torch.stack([x_0 - slope, x_0 + slope], dim + 1).flatten(dim, dim + 1)
    return x_0


def padded(x_t: Tensor, stride: int) -> Tensor:
    """Noisy pictures padded to multiples of a stride, by reflection on the right and below.

    Args:
        x_t: (B, C, H, W), sides of at least the stride.
        stride: of the network.
    """
    height, width = x_t.shape[2:]
    if height % stride == width % stride == 0:
        return x_t
    return functional.pad(x_t, (0, -width % stride, 0, -height % stride), mode="reflect")
