"""Signals: convert pictures to states and back, and select which numbers of a state are coded.

Everything else in `coding` works on signals of C channels on a grid. Colour and grey pictures are kinds of them.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.coding.canvas import GREY, PLANE, RGB, Canvas, SignalKind
from diffcodec.coding.reconstruction import SHORT_FLOW_BELOW, ReconstructionKind
from diffcodec.config import GREY_LEVELS_PER_UNIT
from diffcodec.images import from_unit, to_unit
from diffcodec.lossless.rounding import UNIT
from diffcodec.model.tables import CodecTables

LEAST_SIDE = 113
"""Of pictures whose look is measured, in pixels: SSIMULACRA 2 takes no smaller ones."""


class Signal(Protocol):
    """A kind of signal. States and estimates are float32 tensors of shape (N, *canvas.shape)."""

    kind: SignalKind

    def usual_reconstruction(self, log_snr: float, canvas: Canvas) -> ReconstructionKind:
        """What `auto` stands for, for states at a log SNR."""

    def ceiling(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8] | None:
        """The picture of x_0 itself, where that is not the original: the best that any file can restore."""

    def from_pixels(self, pixels: NDArray[np.uint8], canvas: Canvas) -> Tensor:
        """x_0 of a picture, (C, H, W); zero, and never read, where the canvas is larger."""

    def to_pixels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8]:
        """The picture of an estimate (C, H, W): (height, width, 3), or (height, width) if grey."""

    def grey_levels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.float64]:
        """The picture of an estimate (C, H, W) in unrounded grey levels: (3, height, width), or (1, height, width)."""

    def start(self, tables: CodecTables) -> Tensor | None:
        """The estimate of x_0 from pure noise that tables hold, by channel, (C,); None if they hold none."""

    def restrict(self, x_0: Tensor) -> Tensor:
        """Estimates of x_0 projected onto valid signals."""

    def coded(self, state: Tensor, canvas: Canvas) -> NDArray[np.float32]:
        """Coded coordinates of states, in an orthonormal basis, (N, *canvas.coded_shape)."""

    def with_coded(self, noise: NDArray[Any] | None, coded: NDArray[np.float32], canvas: Canvas) -> Tensor:
        """States with the given coded coordinates, and shared noise everywhere else.

        Args:
            noise: (C, H, W), standard normal, the same for all states; None if every number is coded.
            coded: (N, *canvas.coded_shape).
            canvas: geometry.

        Returns:
            (N, C, H, W), float32.
        """


class ColourPictures:
    """Pixels in [-1, 1]; all channels are coded."""

    kind = RGB

    def usual_reconstruction(self, log_snr: float, canvas: Canvas) -> ReconstructionKind:
        """A short way along the flow cleans coarse photographs; small pictures show no difference."""
        is_coarse = -math.inf < log_snr < SHORT_FLOW_BELOW
        return "short-flow" if is_coarse and min(canvas.width, canvas.height) >= LEAST_SIDE else "mean"

    def ceiling(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8] | None:
        """None: x_0 is the original."""
        return None

    def from_pixels(self, pixels: NDArray[np.uint8], canvas: Canvas) -> Tensor:
        """Pixels scaled to [-1, 1]; grey ones are repeated for all channels."""
        x_0 = torch.zeros(canvas.shape)
        x_0[:, : canvas.height, : canvas.width] = torch.from_numpy(to_unit(pixels))
        return x_0

    def to_pixels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8]:
        """The top left corner, rounded to 8 bits."""
        return from_unit(self._picture(x_0, canvas).numpy())

    def grey_levels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.float64]:
        """The picture of an estimate (3, H, W) in unrounded grey levels: (C, height, width), C = 1 if grey."""
        # In place, as large pictures take much memory.
        picture = self._picture(x_0.to("cpu", torch.float64, copy=True), canvas)
        levels: NDArray[np.float64] = picture.add_(1).mul_(GREY_LEVELS_PER_UNIT).numpy()
        return levels

    def start(self, tables: CodecTables) -> Tensor | None:
        """The mean colour; its mean for grey planes."""
        if tables.start is None:
            return None
        levels = torch.tensor(tables.start, dtype=torch.float32)
        levels = levels if self.kind.channels == len(levels) else levels.mean(dim=0, keepdim=True)
        return levels / (UNIT * GREY_LEVELS_PER_UNIT) - 1

    def restrict(self, x_0: Tensor) -> Tensor:
        """Clips to [-1, 1]."""
        return x_0.clamp(-1, 1)

    def coded(self, state: Tensor, canvas: Canvas) -> NDArray[np.float32]:
        """The top left corner, all channels."""
        return _corner(state, canvas).cpu().numpy()

    def with_coded(self, noise: NDArray[Any] | None, coded: NDArray[np.float32], canvas: Canvas) -> Tensor:
        """Noise with the coded values in the top left corner."""
        values = _float_tensor(coded)
        if noise is None:
            return values
        states = _float_tensor(noise).repeat(len(values), 1, 1, 1)
        _corner(states, canvas).copy_(values)
        return states

    def _picture(self, x_0: Tensor, canvas: Canvas) -> Tensor:
        """(C, height, width), on the CPU."""
        return _corner(x_0, canvas).cpu()


class GreyPictures(ColourPictures):
    """Pictures with three equal channels. Only their normalised sum is coded: their differences are zero."""

    kind = GREY

    def restrict(self, x_0: Tensor) -> Tensor:
        """Clips to [-1, 1] and averages the channels."""
        return super().restrict(x_0).mean(dim=1, keepdim=True).expand_as(x_0)

    def coded(self, state: Tensor, canvas: Canvas) -> NDArray[np.float32]:
        """The normalised sum of the channels in the top left corner."""
        total = _corner(state, canvas).sum(dim=1, keepdim=True) / math.sqrt(self.kind.channels)
        coordinates: NDArray[np.float32] = total.cpu().numpy()
        return coordinates

    def with_coded(self, noise: NDArray[Any] | None, coded: NDArray[np.float32], canvas: Canvas) -> Tensor:
        """Replaces the sum over channels; the differences between them stay noise."""
        assert noise is not None
        values = _float_tensor(coded)
        states = _float_tensor(noise).repeat(len(values), 1, 1, 1)
        corner = _corner(states, canvas)
        corner += values / math.sqrt(self.kind.channels) - corner.mean(dim=1, keepdim=True)
        return states

    def _picture(self, x_0: Tensor, canvas: Canvas) -> Tensor:
        return super()._picture(x_0, canvas).mean(dim=0, keepdim=True)


class PlanePictures(ColourPictures):
    """Grey pictures as networks with one channel see them."""

    kind = PLANE


PICTURES: dict[SignalKind, Signal] = {each.kind: each for each in (ColourPictures(), GreyPictures(), PlanePictures())}
"""The signal of every kind."""


def _corner(state: Tensor, canvas: Canvas) -> Tensor:
    """The part of states (..., H, W) that holds the signal."""
    return state[..., : canvas.height, : canvas.width]


def _float_tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
