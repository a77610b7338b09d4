"""Folders of photographs of any size, larger than memory: read, cropped and resized one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diffcodec.errors import ConfigError, ImageError

CropKind = Literal["random", "centre"]


class Photographs:
    """Square crops of pictures, read on demand.

    Args:
        files: the pictures.
        size: height and width of a crop, in pixels.
        crop: `random` takes a new position in every epoch, `centre` always the middle.
        resize: length of the shorter side after resizing, before the crop. By default a `centre` crop is as large as
            possible, as in the paper's 256 x 256 data sets, and a `random` crop is from the unscaled picture.

    Raises:
        ConfigError: if there are no pictures, or `resize` is less than the size of a crop.
        ImageError: if a picture cannot be opened or is smaller than a crop.
    """

    def __init__(self, files: Sequence[Path], *, size: int, crop: CropKind, resize: int | None = None) -> None:
        if not files:
            raise ConfigError("there are no pictures to take crops of: name a folder", parameters=["data"])
        if resize is None and crop == "centre":
            resize = size
        if resize is not None and resize < size:
            raise ConfigError(f"resize: expected at least the size of a crop, {size}, found {resize}")
        self.files = list(files)
        self.size, self.crop, self.resize = size, crop, resize
        for file in self.files:
            self._check(file)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, size, size), the shape of a tensor of all crops of an epoch."""
        return len(self), 3, self.size, self.size

    def take(self, indices: Tensor, places: Tensor) -> Tensor:
        """Crops of some pictures.

        Args:
            indices: (B,), of the pictures.
            places: (B, 2), positions of `random` crops, from (0, 0), top left, to just below (1, 1), bottom right.

        Returns:
            (B, 3, size, size), uint8.

        Raises:
            ImageError: if a picture is damaged.
        """
        if self.crop == "centre":
            places = torch.full_like(places, 0.5)
        pairs = zip(indices.tolist(), places.tolist(), strict=True)
        return torch.stack([self._crop(self.files[index], *place) for index, place in pairs])

    def _check(self, file: Path) -> None:
        """Check a picture's header, in a fraction of a millisecond, so that a run does not fail after hours."""
        with opened(file) as image:
            width, height = image.size
        if self.resize is None and min(width, height) < self.size:
            raise ImageError(
                f"{file}: expected at least {self.size} x {self.size} pixels, found {width} x {height}: "
                "remove it, or resize pictures",
                parameters=["resize"],
            )

    def _crop(self, file: Path, down: float, right: float) -> Tensor:
        """(3, size, size), uint8."""
        with opened(file) as image:
            if self.resize is not None:
                # JPEG files can be decoded at a half, a quarter or an eighth of the size, in a fraction of the time.
                scale = self.resize / min(image.size)
                image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            pixels = upright(image)
        if self.resize is None:
            x, y = int(right * (pixels.width - self.size + 1)), int(down * (pixels.height - self.size + 1))
            pixels = pixels.crop((x, y, x + self.size, y + self.size))
        else:
            # The crop's side in pixels of the unscaled picture: crop and resize in one operation.
            cut = min(pixels.size) * self.size / self.resize
            left, top = int(right * (pixels.width - cut)), int(down * (pixels.height - cut))
            box = (left, top, min(left + cut, pixels.width), min(top + cut, pixels.height))
            pixels = pixels.resize((self.size, self.size), Image.Resampling.BICUBIC, box)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """A picture of 8 bits per sample, in any mode; only its header has been read.

    Raises:
        ImageError: if it is not one, or is found to be damaged while it is used.
    """
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip values above 255
                raise ValueError("it has more than 8 bits per sample")
            yield image
    except Exception as error:  # Pillow raises almost anything on damaged files
        reason = str(error) or type(error).__name__
        raise ImageError(f"{file}: cannot be read as a picture ({reason}): repair or remove it") from error


def upright(image: Image.Image) -> Image.Image:
    """The picture's first frame in RGB, turned according to its EXIF orientation."""
    return ImageOps.exif_transpose(image).convert("RGB")
