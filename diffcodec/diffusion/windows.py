"""Evaluates a local network on large pictures window by window, with the same result as one whole evaluation.

Every window is read with a margin as wide as the network's receptive field, or as much of it as counts (calibration
measures that), and only its core is kept: so there are no seams, and memory does not grow with the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.diffusion.denoiser import Denoiser, Estimate
from diffcodec.diffusion.pyramid import estimate_at_half_size
from diffcodec.errors import CheckpointError

MAX_WINDOW_PIXELS = 1 << 21
"""Most pixels per evaluation: larger canvases are divided into windows of at most this size, margins included."""

BATCH_PIXELS = 1 << 14
"""Pixels of a batch that a CPU evaluates at once, so that intermediate tensors stay in its cache."""


def predict_x_0(
    denoiser: Denoiser, x_t: Tensor, log_snr: float, evaluated: Callable[[float], None] = lambda share: None
) -> Tensor:
    """The network's estimate of clean images of any size.

    Args:
        denoiser: the model.
        x_t: (B, C, H, W), height and width multiples of the network's stride.
        log_snr: in nats.
        evaluated: is called with the share of the work that has been done since the last call.

    Returns:
        (B, C, H, W), float32.
    """
    condition = torch.tensor([log_snr])  # on the CPU: reading its value must not wait for another device
    if denoiser.is_halved(x_t.shape, float(condition)):  # same rounding as in `denoiser`, which must not halve windows
        return estimate_at_half_size(
            lambda half, higher: predict_x_0(denoiser, half, float(higher), evaluated),
            x_t,
            condition,
            denoiser.config.network.stride,
        )
    return _in_windows(lambda part: denoiser.predict_x_0(part, condition), x_t, denoiser, x_t.shape[1], evaluated)


def estimate(
    denoiser: Denoiser, x_t: Tensor, log_snr: float, evaluated: Callable[[float], None] = lambda share: None
) -> Estimate:
    """x_0 as in `predict_x_0`, and the variance mix if variances are learned."""
    if denoiser.config.variance != "learned":
        return Estimate(predict_x_0(denoiser, x_t, log_snr, evaluated))
    condition = torch.tensor([log_snr])

    def evaluate(part: Tensor) -> Tensor:
        found = denoiser.estimate(part, condition)
        assert found.variance_mix is not None
        return torch.cat([found.x_0, found.variance_mix], dim=1)

    both = _in_windows(evaluate, x_t, denoiser, 2 * x_t.shape[1], evaluated)
    return Estimate(*both.chunk(2, dim=1))


def margin_of(denoiser: Denoiser) -> int:
    """Pixels to read around a window: multiples of the network's stride, at most its receptive radius."""
    network = denoiser.config.network
    if denoiser.window_margin is None:
        return network.receptive_radius
    return min(network.receptive_radius, -(-denoiser.window_margin // network.stride) * network.stride)


def _in_windows(
    evaluate: Callable[[Tensor], Tensor],
    x_t: Tensor,
    denoiser: Denoiser,
    channels: int,
    evaluated: Callable[[float], None],
) -> Tensor:
    """`evaluate` of images (B, C, H, W), part by part: (B, channels, H, W)."""
    network = denoiser.config.network
    height, width = x_t.shape[2:]
    on_cpu = x_t.device.type == "cpu"
    if on_cpu:
        _keep_freed_memory()
    at_once = max(1, min(MAX_WINDOW_PIXELS, BATCH_PIXELS if on_cpu else MAX_WINDOW_PIXELS) // (height * width))
    if len(x_t) > at_once:
        parts = torch.split(x_t, at_once)

        def of_part(part: Tensor) -> Callable[[float], None]:
            return lambda share: evaluated(share * len(part) / len(x_t))

        return torch.cat([_in_windows(evaluate, part, denoiser, channels, of_part(part)) for part in parts])
    if not network.is_local or height * width <= MAX_WINDOW_PIXELS:
        result = evaluate(x_t)
        evaluated(1.0)
        return result
    margin = margin_of(denoiser)
    down, across = _division(height, width, margin, network.stride)
    result = x_t.new_empty(len(x_t), channels, height, width)
    for top, bottom in _cores(height, down, network.stride):
        for left, right in _cores(width, across, network.stride):
            upper, outer_left = max(0, top - margin), max(0, left - margin)
            found = evaluate(x_t[:, :, upper : bottom + margin, outer_left : right + margin])
            result[:, :, top:bottom, left:right] = found[
                :, :, top - upper : bottom - upper, left - outer_left : right - outer_left
            ]
            evaluated((bottom - top) * (right - left) / (height * width))
    return result


def check_numbers(images: Tensor | NDArray[np.float32]) -> None:
    """Check that numbers made from a network's output are not NaN. Waits for their device.

    Raises:
        CheckpointError: if it is.
    """
    if bool(np.isnan(images).any() if isinstance(images, np.ndarray) else images.isnan().any()):
        raise CheckpointError("the model's network returned NaN: its weights are damaged")


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Makes glibc, if there is one, keep up to 64 MB of freed memory for the next tensor.

    Otherwise it returns large blocks to the system, which clears every page of them for the next tensor. Its thresholds
    rise permanently to the largest block below 32 MiB that was ever freed (mallopt(3), M_MMAP_THRESHOLD), so freeing
    one such block once is enough.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8)


def _division(height: int, width: int, margin: int, stride: int) -> tuple[int, int]:
    """Numbers of rows and columns of windows: of those that are small enough, the one that computes the fewest pixels.

    Cores are at least as wide as the margin. If the receptive field is so large that no window is small enough, the
    smallest windows are used.
    """

    def cost(parts: tuple[int, int]) -> tuple[int, int]:
        sides = (height, parts[0]), (width, parts[1])
        window = math.prod(-(-side // stride // count) * stride + margin * min(2, count - 1) for side, count in sides)
        computed = math.prod(side + 2 * margin * (count - 1) for side, count in sides)
        return max(window, MAX_WINDOW_PIXELS), computed

    most_down, most_across = max(1, height // margin), max(1, width // margin)
    return min(product(range(1, most_down + 1), range(1, most_across + 1)), key=cost)


def _cores(length: int, parts: int, stride: int) -> Iterator[tuple[int, int]]:
    """Borders of the window cores along one side: multiples of the network's stride, as equal as possible."""
    borders = [length // stride * part // parts * stride for part in range(parts + 1)]
    return pairwise(borders)
