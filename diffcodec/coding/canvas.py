"""Geometry of a signal: the grid that the network works on, and the part of it that is coded. Torch-free.

The network works on a canvas whose sides are multiples of its stride; the signal lies in its top left corner. Only
coordinates that the signal determines are coded. The model and shared noise fill the rest at no cost in bits: the
canvas around the signal, and channels that it cannot use, such as the colour differences of a grey picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from diffcodec.bitstream.container import ColourMode
from diffcodec.coding.band_transform import BANDS_OF_CHANNEL, BandTransform
from diffcodec.coding.tiling import Tiling
from diffcodec.config import ModelConfig


@dataclass(frozen=True)
class SignalKind:
    """What the numbers of a state represent, as far as coding depends on it.

    Args:
        name: of the kind.
        channels: of a state.
        coded_channels: coordinates sent per grid point.
        mixes_channels: whether the transform includes a DCT over the channels.
    """

    name: str
    channels: int
    coded_channels: int
    mixes_channels: bool

    @property
    def bands(self) -> int:
        """Number of bands of the transform. Grey pictures use those of the first channel."""
        return self.channels * BANDS_OF_CHANNEL

    def transform(self, width: int, height: int) -> BandTransform:
        """The transform that defines the bands, for a part of a signal of this size."""
        return BandTransform(self.coded_channels, width, height, self.mixes_channels)


RGB = SignalKind("RGB", channels=3, coded_channels=3, mixes_channels=True)
GREY = SignalKind("grey", channels=3, coded_channels=1, mixes_channels=False)
PLANE = SignalKind("grey, one channel", channels=1, coded_channels=1, mixes_channels=False)

PIXEL_KINDS = {RGB.channels: {ColourMode.RGB: RGB, ColourMode.L: GREY}, PLANE.channels: {ColourMode.L: PLANE}}
"""For networks of so many channels, the kind of signal of the colour modes of the file format that they can code."""


def kinds_of(config: ModelConfig) -> Mapping[ColourMode, SignalKind]:
    """The kinds of signals that a model codes, by colour mode; empty if there are none."""
    if config.latent is None:
        return PIXEL_KINDS.get(config.network.image_channels, {})
    channels = config.latent.channels
    return {
        mode: SignalKind(f"latents of {mode.name}", channels, channels, mixes_channels=False)
        for mode in (ColourMode.RGB, ColourMode.L)
    }


@dataclass(frozen=True)
class Canvas:
    """Geometry of signals of one size.

    Args:
        kind: of the signal.
        width, height: of the signal, in grid points (for pictures: pixels).
        stride: the canvas's sides are the next multiples of this.
        tile_side: approximate side of the finest tiles, see `Tiling`.
        picture_shape: height and width of the picture in pixels, where a grid point is more than a pixel; None: those
            of the signal.
    """

    kind: SignalKind
    width: int
    height: int
    stride: int
    tile_side: int = 0
    picture_shape: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a state."""
        rows = -(-self.height // self.stride) * self.stride
        columns = -(-self.width // self.stride) * self.stride
        return self.kind.channels, rows, columns

    @property
    def area(self) -> int:
        """H W: pixels on which the network is evaluated."""
        return math.prod(self.shape[1:])

    @property
    def coded_shape(self) -> tuple[int, int, int]:
        """(coded channels, height, width) of the coordinates that are sent."""
        return self.kind.coded_channels, self.height, self.width

    @property
    def dims(self) -> int:
        """Number of coded coordinates."""
        return math.prod(self.coded_shape)

    @cached_property
    def tiling(self) -> Tiling:
        """The divisions of the signal."""
        return Tiling(self.width, self.height, self.tile_side)

    @property
    def is_all_coded(self) -> bool:
        """Whether every number of a state is a coded coordinate."""
        return math.prod(self.shape) == self.dims
