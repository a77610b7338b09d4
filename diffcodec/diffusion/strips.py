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

WIDE = 4
"""Pictures more than this many times as wide as high are cut into strips of columns: they have too few rows."""


def in_strips(
    layers: Callable[..., Tensor], inputs: tuple[Tensor, ...], margin: int, *, unit: int = 1, growth: int = 1
) -> Tensor:
    """`layers(*inputs)`, evaluated in strips if pictures are large and gradients are off.

    Args:
        layers: function from all inputs to one output, (B, C, H, W) each. Sizes may differ by integer factors; an
            output pixel may depend only on rows and columns at most `margin` units away.
        inputs: at least one.
        margin: see `layers`, in units.
        unit: number of rows, and of columns, of the coarsest input that must stay together, for example if layers merge
            them.
        growth: size of intermediate tensors relative to the inputs.

    Returns:
        (B, C, H, W), channels last.
    """
    height, width = inputs[0].shape[2:]
    along = 3 if width > WIDE * height else 2
    lines = min(x.shape[along] for x in inputs) // unit
    core = max(1, 4 * margin, STRIP_ELEMENTS * lines // (growth * sum(x[0].numel() for x in inputs)))
    if torch.is_grad_enabled() or inputs[0].device.type != "cpu" or lines <= core + 2 * margin:
        return layers(*inputs)
    result = torch.empty(0)
    for start in range(0, lines, core):
        stop, first, end = min(start + core, lines), max(start - margin, 0), min(start + core + margin, lines)
        factors = [x.shape[along] // lines for x in inputs]
        strip = layers(*(x.narrow(along, first * k, (end - first) * k) for x, k in zip(inputs, factors, strict=True)))
        k = strip.shape[along] // (end - first)
        if not start:
            shape = list(strip.shape)
            shape[along] = lines * k
            result = torch.empty(shape, dtype=strip.dtype, memory_format=torch.channels_last)
        size = (stop - start) * k
        result.narrow(along, start * k, size).copy_(strip.narrow(along, (start - first) * k, size))
    return result
