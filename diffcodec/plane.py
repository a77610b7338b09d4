"""Between pictures and the coded coordinates of the diffusion state.

The network works on a canvas whose sides are multiples of its stride. Only what the picture determines is
coded: the canvas around the picture is left to the model and to shared noise, and costs no bits; the colour
differences of a grey picture are known to be zero, and cost none either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import ColourMode
from diffcodec.images import from_unit, to_unit
from diffcodec.tiling import Tiling

CHANNELS = 3


@dataclass(frozen=True)
class Plane:
    """Geometry of one picture size.

    Args:
        colour: colour mode of the picture.
        width, height: of the picture, in pixels.
        stride: the canvas has the next multiples of this.
        tile_side: of the finest tiles, about; see `Tiling`.
    """

    colour: ColourMode
    width: int
    height: int
    stride: int
    tile_side: int = 0

    @property
    def canvas_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of the canvas; the picture lies in its top left corner."""
        rows = -(-self.height // self.stride) * self.stride
        columns = -(-self.width // self.stride) * self.stride
        return CHANNELS, rows, columns

    @property
    def coded_channels(self) -> int:
        """Coded coordinates of a pixel."""
        return 1 if self.colour is ColourMode.L else CHANNELS

    @property
    def dims(self) -> int:
        """Number of coded coordinates of a picture."""
        return self.width * self.height * self.coded_channels

    @cached_property
    def tiling(self) -> Tiling:
        """The divisions of the picture."""
        return Tiling(self.width, self.height, self.tile_side)

    @property
    def is_all_coded(self) -> bool:
        """Whether every number of the canvas is a coded coordinate."""
        return math.prod(self.canvas_shape) == self.dims

    def place(self, pixels: NDArray[np.uint8]) -> Tensor:
        """A picture on its canvas, (3, H, W) in [-1, 1]; zero around it, where it is never looked at."""
        canvas = torch.zeros(self.canvas_shape)
        canvas[:, : self.height, : self.width] = torch.from_numpy(to_unit(pixels))
        return canvas

    def pixels(self, canvas: Tensor) -> NDArray[np.uint8]:
        """The picture on a canvas (3, H, W): (height, width, 3), or (height, width) if grey."""
        picture = canvas[:, : self.height, : self.width].cpu()
        if self.colour is ColourMode.L:
            picture = picture.mean(dim=0, keepdim=True)
        return from_unit(picture.numpy())

    def grey_levels(self, canvas: Tensor) -> NDArray[np.float64]:
        """The picture on a canvas (3, H, W) in grey levels, not rounded: (C, height, width), C = 1 if grey."""
        picture = canvas[:, : self.height, : self.width].cpu().to(torch.float64, copy=True)
        if self.colour is ColourMode.L:
            picture = picture.mean(dim=0, keepdim=True)
        # In place, as large pictures take much memory here.
        levels: NDArray[np.float64] = picture.add_(1).mul_(127.5).numpy()
        return levels

    def with_what_is_known(self, estimate: Tensor) -> Tensor:
        """An estimate of x_0 (N, 3, H, W) moved to the pictures that are possible: in range, and grey if grey."""
        estimate = estimate.clamp(-1, 1)
        if self.colour is ColourMode.L:
            estimate = estimate.mean(dim=1, keepdim=True).expand_as(estimate)
        return estimate

    def coded(self, canvas: Tensor) -> NDArray[np.float32]:
        """Coded coordinates of canvases (N, 3, H, W), in an orthonormal basis: (N, coded channels, height, width).

        For a grey picture that is the normalised sum of the channels.
        """
        picture = canvas[:, :, : self.height, : self.width]
        if self.colour is ColourMode.L:
            picture = picture.sum(dim=1, keepdim=True) / math.sqrt(CHANNELS)
        coordinates: NDArray[np.float32] = picture.cpu().numpy()
        return coordinates

    def with_coded(self, noise: NDArray[Any] | None, coordinates: NDArray[np.float32]) -> Tensor:
        """Canvases whose coded coordinates are given and whose others come from shared noise.

        Args:
            noise: (3, H, W), standard normal, the same for all; None if every number is coded.
            coordinates: (N, coded channels, height, width).

        Returns:
            (N, 3, H, W), float32.
        """
        values = torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float32))
        if noise is None:
            return values
        canvas = torch.from_numpy(np.asarray(noise, np.float32)).repeat(len(values), 1, 1, 1)
        corner = canvas[:, :, : self.height, : self.width]
        if self.colour is ColourMode.L:
            # The sum over channels is replaced, the differences between them stay.
            corner += values / math.sqrt(CHANNELS) - corner.mean(dim=1, keepdim=True)
        else:
            corner.copy_(values)
        return canvas
