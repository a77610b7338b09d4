"""Evaluates local layers strip by strip, so that intermediate tensors stay in the CPU's cache.

Large tensors are slow on a CPU: every pass goes to main memory, and the operating system clears every page of every new
tensor. In strips, no intermediate tensor of a block is larger than a strip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STRIP_ELEMENTS = 1 << 22
"""Approximate number of elements in a strip of the input: 16 MiB."""


def in_strips(
    layers: Callable[..., Tensor], inputs: tuple[Tensor, ...], margin: int, *, unit: int = 1, growth: int = 1
) -> Tensor:
    """`layers(*inputs)`, evaluated in strips of rows if pictures are large and gradients are off.

    Args:
        layers: function from all inputs to one output, (B, C, H, W) each. Heights may differ by integer factors; an
            output pixel may depend only on rows at most `margin` units away.
        inputs: at least one.
        margin: see `layers`, in units.
        unit: number of rows of the coarsest input that must stay together, for example if layers merge them.
        growth: size of intermediate tensors relative to the inputs.

    Returns:
        (B, C, H, W), channels last.
    """
    rows = min(x.shape[2] for x in inputs) // unit
    core = max(1, 4 * margin, STRIP_ELEMENTS * rows // (growth * sum(x[0].numel() for x in inputs)))
    if torch.is_grad_enabled() or inputs[0].device.type != "cpu" or rows <= core + 2 * margin:
        return layers(*inputs)
    result = torch.empty(0)
    for start in range(0, rows, core):
        stop, top, bottom = min(start + core, rows), max(start - margin, 0), min(start + core + margin, rows)
        factors = [x.shape[2] // rows for x in inputs]
        strip = layers(*(x[:, :, top * k : bottom * k] for x, k in zip(inputs, factors, strict=True)))
        k = strip.shape[2] // (bottom - top)
        if not start:
            batch, channels, _, width = strip.shape
            shape = batch, channels, rows * k, width
            result = torch.empty(shape, dtype=strip.dtype, memory_format=torch.channels_last)
        result[:, :, start * k : stop * k] = strip[:, :, (start - top) * k : (stop - top) * k]
    return result
