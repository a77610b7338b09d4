"""Training images as one uint8 tensor: CIFAR-10 by name, grids of tiles, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcodec.errors import ConfigError, ImageError

IMAGE_SUFFIXES = (".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jpg", ".jpeg")


def load_images(source: str, *, size: int = 32, root: str = "data") -> Tensor:
    """All training images of a source.

    Args:
        source: `cifar10` (torchvision's training set, downloaded below `root` where there is a network), or
            one or more paths joined by commas: a file whose sides are multiples of `size` is read as a grid
            of tiles in row order, a folder as all pictures below it, each cut into size x size tiles.
        size: height and width of a training image, in pixels.
        root: where torchvision keeps its data sets.

    Returns:
        (N, 3, size, size), uint8.

    Raises:
        ConfigError: if the source does not exist or holds no image of that size.
        ImageError: if a picture cannot be read.
    """
    if source == "cifar10":
        return _load_torchvision_cifar10(root)
    tiles = [_tiles(path, size) for part in source.split(",") for path in _image_files(Path(part))]
    images = torch.cat(tiles) if tiles else torch.empty(0)
    if len(images) == 0:
        raise ConfigError(f"{source}: no picture of at least {size} x {size} pixels found")
    return images


def _image_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; pass an existing one, or `cifar10`")
    return [path]


def _tiles(path: Path, size: int) -> Tensor:
    """The size x size tiles of a picture in row order, (N, 3, size, size); an incomplete rim is left out."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    grid = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size, 3)
    return torch.from_numpy(grid.transpose(0, 2, 4, 1, 3).copy()).reshape(-1, 3, size, size)


def _load_torchvision_cifar10(root: str) -> Tensor:
    try:
        from torchvision.datasets import CIFAR10
    except ImportError as error:
        raise ConfigError("cifar10 needs torchvision: pip install 'diffcodec[train]'") from error
    try:
        data = CIFAR10(root, train=True, download=True).data
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"CIFAR-10 is not below {root!r} and cannot be downloaded ({error}): "
            "pass a local copy with --root, or a .webp grid or a folder of pictures with --data"
        ) from error
    return torch.from_numpy(data).permute(0, 3, 1, 2).contiguous()


def to_unit(images: Tensor) -> Tensor:
    """uint8 pixels -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


class Batches(Iterator[Tensor]):
    """Endless shuffled batches; its state can be saved, so that a resumed run sees the same images.

    Args:
        images: (N, 3, H, W), uint8.
        batch_size: images in a batch; the last ones of an epoch are joined with the next epoch's first.
        flips: mirror every image left to right with probability 1/2.
        seed: of order and flips.
    """

    def __init__(self, images: Tensor, batch_size: int, *, flips: bool, seed: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.flips = flips
        self.seed = seed
        self.drawn = 0

    def __next__(self) -> Tensor:
        """The next batch, (batch_size, 3, H, W), float32 in [-1, 1]."""
        running = torch.arange(self.drawn, self.drawn + self.batch_size)
        self.drawn += self.batch_size
        epochs, places = running // len(self.images), running % len(self.images)
        parts = []
        for epoch in torch.unique(epochs).tolist():
            order, flips = self._epoch(epoch)
            chosen = order[places[epochs == epoch]]
            batch = to_unit(self.images[chosen])
            parts.append(torch.where(flips[chosen][:, None, None, None], batch.flip(3), batch))
        return torch.cat(parts)

    def _epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Order and flips of an epoch: a function of seed and epoch alone, so nothing else need be saved."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        flips = torch.rand(len(self.images), generator=generator) < (0.5 if self.flips else -1.0)
        return order, flips
