"""Training images, and endless shuffled batches of them.

Small images are in memory as one uint8 tensor: CIFAR-10 by name, grids of tiles, folders cut into tiles. Crops of
photographs are read on demand (`diffcodec.training.photographs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffcodec.diffusion.units import to_unit
from diffcodec.errors import ConfigError, ImageError
from diffcodec.training.photographs import CropKind, Photographs, opened, upright

IMAGE_SUFFIXES = (".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jpg", ".jpeg")


def load_images(source: str, *, size: int = 32, root: str = "data") -> Tensor:
    """All training images of a source.

    Args:
        source: `cifar10` (torchvision's training set, downloaded to `root` if necessary) or a path, or several of
            these separated by commas: a file whose sides are multiples of `size` is read as a grid of tiles in row
            order, a folder as all pictures below it, each cut into size x size tiles, a .npy file as an array
            (N, size, size, C): of uint8, or, for latents x_0 of about unit variance, of float16 or float32.
        size: height and width of a training image, in pixels.
        root: folder of torchvision's data sets.

    Returns:
        (N, C, size, size), uint8, or floats for latents.

    Raises:
        ConfigError: if the source does not exist or holds no image of that size.
        ImageError: if a picture cannot be read.
    """
    tiles: list[Tensor] = []
    for part in source.split(","):
        if part == "cifar10":
            tiles.append(_load_torchvision_cifar10(root, size))
        elif part.endswith(".npy"):
            tiles.append(_load_array(Path(part), size))
        else:
            tiles += [_tiles(path, size) for path in _image_files(Path(part))]
    images = torch.cat(tiles) if tiles else torch.empty(0)
    if len(images) == 0:
        raise ConfigError(f"{source}: no picture of at least {size} x {size} pixels found")
    return images


def open_images(
    source: str,
    *,
    size: int = 32,
    root: str = "data",
    crop: CropKind | Literal["tiles"] = "tiles",
    resize: int | None = None,
    tile_size: int | None = None,
) -> Tensor | Photographs:
    """Training images: `tiles` in memory, or crops of photographs, which are read on demand.

    Args:
        source, size, root: see `load_images`.
        crop, resize: see `Photographs`.
        tile_size: side of the tiles if images of `size` are random crops of larger tiles.

    Raises:
        ConfigError: if the source does not exist or holds no picture, or options contradict each other.
        ImageError: if a picture cannot be read or is too small.
    """
    if crop == "tiles":
        if resize is not None:
            raise ConfigError("resize: tiles are cut from unscaled pictures; choose crop `random` or `centre`")
        if tile_size is not None and tile_size < size:
            raise ConfigError(f"tile_size: expected at least the size of an image, {size}, found {tile_size}")
        return load_images(source, size=tile_size or size, root=root)
    if "cifar10" in source.split(","):
        raise ConfigError(
            f"crop: cifar10 cannot be cropped, found {crop!r}: name a folder of pictures", parameters=["data"]
        )
    files = [path for part in source.split(",") for path in _image_files(Path(part))]
    if not files:
        raise ConfigError(f"{source}: no picture found")
    return Photographs(files, size=size, crop=crop, resize=resize)


def _image_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; pass an existing one, or `cifar10`")
    return [path]


def _tiles(path: Path, size: int) -> Tensor:
    """The size x size tiles of a picture in row order, (N, 3, size, size); incomplete tiles are left out."""
    with opened(path) as image:
        pixels = np.asarray(upright(image))
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    grid = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size, 3)
    return torch.from_numpy(grid.transpose(0, 2, 4, 1, 3).copy()).reshape(-1, 3, size, size)


def _load_array(path: Path, size: int) -> Tensor:
    """Tiles of a .npy file, memory-mapped: pages are read on demand."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as an array ({error})") from error
    is_of_pictures = array.dtype == np.uint8 and array.shape[-1:] == (3,)
    is_of_latents = array.dtype in (np.float16, np.float32)
    if array.ndim != 4 or array.shape[1:3] != (size, size) or not (is_of_pictures or is_of_latents):
        raise ConfigError(
            f"{path}: expected uint8 of shape (N, {size}, {size}, 3), or latents, floats (N, {size}, {size}, C), found "
            f"{array.dtype} {array.shape}"
        )
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def _load_torchvision_cifar10(root: str, size: int) -> Tensor:
    if size != 32:
        raise ConfigError(
            f"cifar10: its images are 32 x 32, found size {size}: name a folder of pictures", parameters=["data"]
        )
    try:
        from torchvision.datasets import CIFAR10
    except ImportError as error:
        raise ConfigError("cifar10 needs torchvision: pip install 'diffcodec[train]'") from error
    try:
        data = CIFAR10(root, train=True, download=True).data
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"CIFAR-10 is not in {root!r} and cannot be downloaded ({error}): "
            "name the folder of a local copy, or other pictures",
            parameters=["root", "data"],
        ) from error
    return torch.from_numpy(data).permute(0, 3, 1, 2).contiguous()


class Batches(Iterator[Tensor]):
    """Endless shuffled batches, or one process's shares of them.

    Order, flips and crops are a function of the seed and of the number of images drawn so far, so a resumed run needs
    only these two to see the same images.

    Args:
        images: (N, C, H, W), uint8 or, for latents, floats; or photographs.
        batch_size: images in a batch; a batch may span two epochs.
        flips: mirror every image left to right with probability 1/2.
        seed: of order, flips, rotations and crops.
        rotations: rotate every image by a random multiple of 90 degrees.
        size: side of the random crops of images in memory; None: whole images.
        share: of every batch, the images of this process.
        workers: number of processes that prepare batches in advance; 0: none.
    """

    def __init__(
        self,
        images: Tensor | Photographs,
        batch_size: int,
        *,
        flips: bool,
        seed: int,
        rotations: bool = False,
        size: int | None = None,
        share: slice = slice(None),
        workers: int = 0,
    ) -> None:
        self.batch_size = batch_size
        self.drawn = 0
        self._shuffled = ShuffledImages(
            images, batch_size, flips=flips, rotations=rotations, size=size, seed=seed, share=share
        )
        self._workers = workers
        self._ahead: Iterator[Tensor] | None = None

    def resume_at(self, drawn: int) -> None:
        """Continue as if `drawn` images had been drawn."""
        self.drawn = drawn
        self._ahead = None

    def __next__(self) -> Tensor:
        """The next batch of x_0, (batch_size, C, H, W), or this share of it, float32; pictures in [-1, 1]."""
        try:
            batch = next(self._prefetched()) if self._workers else self._shuffled[self.drawn]
        except ImageError as error:
            raise ImageError(str(error).rpartition("ImageError: ")[2].strip()) from None  # without a worker's traceback
        self.drawn += self.batch_size
        return batch.float() if batch.is_floating_point() else to_unit(batch)

    def _prefetched(self) -> Iterator[Tensor]:
        if self._ahead is None:
            self._ahead = iter(
                DataLoader(
                    self._shuffled,
                    batch_size=None,
                    sampler=count(self.drawn, self.batch_size),
                    num_workers=self._workers,
                    generator=torch.Generator(),  # its own, so that it does not advance the global generator
                )
            )
        return self._ahead


class ShuffledImages(Dataset[Tensor]):
    """Random access to batches: `shuffled[drawn]` is (a share of) the batch that follows `drawn` images.

    Args: see `Batches`.
    """

    def __init__(
        self,
        images: Tensor | Photographs,
        batch_size: int,
        *,
        flips: bool,
        rotations: bool,
        size: int | None,
        seed: int,
        share: slice,
    ) -> None:
        self.images, self.batch_size, self.size = images, batch_size, size
        self.flips, self.rotations, self.seed, self.share = flips, rotations, seed, share
        self._present: tuple[int, tuple[Tensor, Tensor, Tensor, Tensor]] | None = None

    def __getitem__(self, drawn: int) -> Tensor:
        """The batch after `drawn` images, (B, 3, H, W), uint8."""
        numbers = torch.arange(drawn, drawn + self.batch_size)[self.share]
        epochs, places = numbers // len(self.images), numbers % len(self.images)
        parts = []
        for epoch in torch.unique(epochs).tolist():
            order, flips, crops, turns = self._epoch(epoch)
            chosen = order[places[epochs == epoch]]
            part = self._take(chosen, crops[chosen])
            part = torch.where(flips[chosen][:, None, None, None], part.flip(3), part)
            if self.rotations:
                part = torch.stack(
                    [image.rot90(turn, (1, 2)) for image, turn in zip(part, turns[chosen].tolist(), strict=True)]
                )
            parts.append(part)
        return torch.cat(parts)

    def _take(self, chosen: Tensor, crops: Tensor) -> Tensor:
        """Images, (B, 3, size, size)."""
        if not isinstance(self.images, Tensor):
            return self.images.take(chosen, crops)
        if self.size is None:
            return self.images[chosen]
        room = torch.tensor(self.images.shape[2:]) - self.size + 1
        corners = (crops * room).long().tolist()
        return torch.stack(
            [
                self.images[index, :, top : top + self.size, left : left + self.size]
                for index, (top, left) in zip(chosen.tolist(), corners, strict=True)
            ]
        )

    def _epoch(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Order, flips, crop positions and rotations of an epoch: a function of seed and epoch only."""
        if self._present is None or self._present[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.images), generator=generator)
            flips = torch.rand(len(self.images), generator=generator) < (0.5 if self.flips else -1.0)
            crops = torch.rand(len(self.images), 2, generator=generator)
            turns = torch.randint(4, (len(self.images),), generator=generator)
            self._present = epoch, (order, flips, crops, turns)
        return self._present[1]
