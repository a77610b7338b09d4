"""Pictures of the codec, and their conversion to Pillow images and to the networks' unit range."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.config import GREY_LEVELS_PER_UNIT
from diffcodec.errors import ImageError, WrongTypeError, kind_of
from diffcodec.images.metadata import Metadata


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of 8 bits per sample.

    Args:
        pixels: uint8, shape (H, W, 3) for colour or (H, W) for grey.
        alpha: uint8, shape (H, W); None if the picture is opaque everywhere.
        metadata: to keep with the pixels; empty if there is none.
        notes: on conversions of the pixels, a phrase each, for people; empty if they are a file's own.

    Raises:
        ImageError: if a shape or type is wrong, or there are no pixels.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, np.ndarray):
            raise WrongTypeError(f"pixels: expected an array, found {kind_of(self.pixels)}")
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
            raise ImageError(f"pixels must be uint8 (H, W, 3) or (H, W), not {self.pixels.dtype} {shape}")
        if 0 in shape:
            raise ImageError(f"a picture needs at least one pixel, not {self.width} x {self.height}")
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]):
            raise ImageError(f"alpha must be uint8 {shape[:2]}, not {self.alpha.dtype} {self.alpha.shape}")

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def mode(self) -> str:
        """Pillow's name of the mode: RGB, L, RGBA or LA."""
        return ("RGB" if self.pixels.ndim == 3 else "L") + ("" if self.alpha is None else "A")


def check_picture(value: object) -> None:
    """Check that an argument is a picture.

    Raises:
        WrongTypeError: if it is not.
    """
    if not isinstance(value, Picture):
        raise WrongTypeError(f"expected a Picture, as read_picture returns, found {kind_of(value)}")


def picture_to_pil(picture: Picture) -> Image.Image:
    """The picture as a Pillow image of its mode."""
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    return image


def to_unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps 0..255 to [-1, 1] by v / 127.5 - 1: shape (H, W, 3) or (H, W) to (C, H, W)."""
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    unit = np.array(planes, np.float32, order="C")
    unit /= GREY_LEVELS_PER_UNIT
    unit -= 1
    return unit


def from_unit(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Undoes `to_unit`, rounding to the nearest level and clipping: (C, H, W) to (H, W, 3) or (H, W).

    Raises:
        ValueError: if there are neither one nor three channels, or a value is NaN.
    """
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        raise ValueError(f"x must have shape (1, H, W) or (3, H, W), not {x.shape}")
    if np.isnan(x).any():
        raise ValueError("x holds NaN")
    # In place, to save memory with large pictures.
    values = x + 1
    values *= GREY_LEVELS_PER_UNIT
    levels = np.rint(values.clip(0, 255, out=values), out=values).astype(np.uint8)
    return np.ascontiguousarray(levels[0] if levels.shape[0] == 1 else np.moveaxis(levels, 0, 2))
