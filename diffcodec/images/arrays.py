"""Pictures of Pillow images, arrays and tensors, and back.

Does not import torch: who passes a tensor has loaded it, and the tensor's own methods suffice.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ImageError, WrongTypeError, kind_of
from diffcodec.images.error import PEAK
from diffcodec.images.picture import Picture, picture_to_pil
from diffcodec.images.reading import read_picture


@runtime_checkable
class TensorLike(Protocol):
    """A `torch.Tensor`, as far as it is needed here."""

    @property
    def shape(self) -> Any:
        """Lengths of the axes."""

    def detach(self) -> Any:
        """The tensor without gradients."""

    def cpu(self) -> Any:
        """The tensor in main memory."""

    def is_floating_point(self) -> bool:
        """Whether it holds real numbers."""


PictureLike = Picture | Image.Image | NDArray[Any] | TensorLike
"""What `as_picture` takes."""


def as_picture(value: object) -> Picture:
    """The picture that a value is.

    Args:
        value: a `Picture`; a Pillow image, converted as by `read_picture`; a uint8 array (H, W, 3), (H, W, 1) or
            (H, W); or a tensor (3, H, W) or (1, H, W) on any device, of uint8, or of floats in [0, 1], which are
            rounded to the nearest of 256 levels. One channel makes a grey picture.

    Raises:
        WrongTypeError: if it is none of these, or an array or tensor of another shape or type of numbers.
        ImageError: if floats are outside of [0, 1] or NaN, there are no pixels, or `read_picture` refuses the Pillow
            image.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, Image.Image):
        return read_picture(value)
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if isinstance(value, TensorLike):
        return _of_tensor(value)
    hint = ": read_picture reads files" if isinstance(value, str | bytes | PathLike) else ""
    raise WrongTypeError(
        "expected a Picture, a Pillow image, a uint8 array (H, W, 3), (H, W, 1) or (H, W), or a tensor (3, H, W) or "
        f"(1, H, W), found {kind_of(value)}{hint}"
    )


def is_single(value: object) -> bool:
    """Whether a value can be only one picture: batches are lists, arrays (B, H, W, C) and tensors (B, C, H, W)."""
    if isinstance(value, np.ndarray | TensorLike):
        return len(value.shape) != 4
    return isinstance(value, Picture | Image.Image)


def _of_array(array: NDArray[Any]) -> Picture:
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)):
        hint = ": use compress_batch for several pictures" if len(shape) == 4 else ""
        raise WrongTypeError(
            f"expected an array of uint8, (H, W, 3), (H, W, 1) or (H, W), found {array.dtype} {shape}{hint}"
        )
    return Picture(np.ascontiguousarray(array[:, :, 0] if shape[2:] == (1,) else array))


def _of_tensor(tensor: TensorLike) -> Picture:
    shape = tuple(tensor.shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        hint = ": use compress_batch for several pictures" if len(shape) == 4 else ""
        raise WrongTypeError(f"expected a tensor (3, H, W) or (1, H, W), found {shape}{hint}")
    values = tensor.detach().cpu()
    # numpy has no bfloat16.
    planes: NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    if planes.dtype == np.float32:
        planes = _levels(planes)
    if planes.dtype != np.uint8:
        raise WrongTypeError(f"expected a tensor of uint8, or of floats in [0, 1], found {planes.dtype}")
    return Picture(np.ascontiguousarray(planes[0] if shape[0] == 1 else np.moveaxis(planes, 0, 2)))


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels of values in [0, 1].

    Raises:
        ImageError: if a value is outside, or NaN.
    """
    if np.isnan(values).any():
        raise ImageError("expected floats in [0, 1], found NaN")
    if values.size and not 0 <= values.min() <= values.max() <= 1:
        found = f"{values.min():g} to {values.max():g}"
        raise ImageError(f"expected floats in [0, 1], found {found}: scale or clamp them first")
    levels: NDArray[np.uint8] = np.rint(values * np.float32(PEAK)).astype(np.uint8)
    return levels


def to_pil(picture: Picture) -> Image.Image:
    """The picture as a Pillow image of its mode; `info` holds its colour profile and EXIF block, if it has any."""
    image, metadata = picture_to_pil(picture), picture.metadata
    items = {"icc_profile": metadata.icc_profile, "exif": metadata.exif}
    image.info |= {name: item for name, item in items.items() if item is not None}
    return image


def to_planes(picture: Picture) -> NDArray[np.float32]:
    """The picture in [0, 1], without its alpha plane: (3, H, W), or (1, H, W) if grey."""
    pixels = picture.pixels
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return np.ascontiguousarray(planes, np.float32) / np.float32(PEAK)
