"""Evaluates local layers strip by strip, so that what lies between them stays in the processor's cache.

Large tensors are slow on a CPU: every pass goes to main memory, and the operating system clears every page of every new
one. Between the layers of a block nothing larger than a strip needs to exist.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STRIP_ELEMENTS = 1 << 22
"""Numbers in a strip of the input, about: 16 MiB."""


def in_strips(
    layers: Callable[..., Tensor], inputs: tuple[Tensor, ...], margin: int, *, unit: int = 1, growth: int = 1
) -> Tensor:  # fmt: skip
    """`layers(*inputs)`, evaluated in strips of rows where pictures are large and nothing is to be learnt.

    Args:
        layers: all inputs to one output, (B, C, H, W) each. Heights may differ by integer factors; to an output
            pixel only rows matter that lie at most `margin` units away.
        inputs: at least one.
        margin: see `layers`, in units.
        unit: rows of the coarsest input that are not divided, as where layers turn them into one row.
        growth: how many times as many numbers as in the inputs lie between the layers.

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
