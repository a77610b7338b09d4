"""Pictures to measure on, by name: CIFAR-10's test or training set, a grid of tiles, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from diffcodec.images import Picture, read_picture

TILE = 32
"""Height and width of the tiles of a grid, in pixels: those of CIFAR-10."""

CIFAR10, CIFAR10_TRAIN = "cifar10", "cifar10-train"
"""Names of CIFAR-10's test set and training set, from torchvision."""

PICTURE_SUFFIXES = (".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jpg", ".jpeg")


class Pictures(Protocol):
    """Pictures that can be iterated over several times, in memory or on disk."""

    @property
    def name(self) -> str:
        """Name in results."""

    @property
    def digest(self) -> str:
        """Hex digits of a hash over all pictures."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Picture]: ...


@dataclass(frozen=True)
class Dataset:
    """Named pictures in memory.

    Args:
        name: in results; marks a subset of the pictures.
        pictures: without alpha, because benchmarks compare colours.
        notes: sentences about omissions.
    """

    name: str
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The first 8 hex digits of a SHA-256 of all pixels."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(str(picture.pixels.shape).encode())
            digest.update(picture.pixels.tobytes())
        return digest.hexdigest()[:8]

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)


@dataclass(frozen=True)
class PictureFolder:
    """Pictures below a folder, read on demand.

    Args:
        name: in results.
        files: in order.
    """

    name: str
    files: tuple[Path, ...]

    @cached_property
    def digest(self) -> str:
        """The first 8 hex digits of a SHA-256 of all files."""
        digest = hashlib.sha256()
        for path in self.files:
            data = path.read_bytes()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()[:8]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Picture]:
        return map(read_picture, self.files)


def open_dataset(source: str, *, root: str = "data", limit: int | None = None) -> Pictures:
    """The pictures of a source; those of a folder are read on demand, with their alpha planes.

    Args:
        source, root, limit: as for `load_dataset`.

    Raises:
        ConfigError: if there is no such source, or it holds no picture.
        ImageError: if the picture of a grid cannot be read.
    """
    _check_limit(limit)
    if source in (CIFAR10, CIFAR10_TRAIN) or not Path(source).is_dir():
        return load_dataset(source, root=root, limit=limit)
    files = picture_files(Path(source))
    name = _named(Path(source).resolve().name, len(files[:limit]), len(files))
    return PictureFolder(name, tuple(files[:limit]))


def load_dataset(source: str, *, root: str = "data", limit: int | None = None, name: str | None = None) -> Dataset:
    """The pictures of a source.

    Args:
        source: `cifar10` (torchvision's test set) or `cifar10-train`; a folder, for all pictures below it, of any
            sizes, by name; or a picture file whose sides are multiples of 32, a grid of tiles in row order.
        root: folder of CIFAR-10, to which it is downloaded if necessary.
        limit: use only the first pictures, this many.
        name: of the data set; the source's own name if None.

    Raises:
        ConfigError: if there is no such source, or it holds no picture.
        ImageError: if a picture cannot be read.
    """
    _check_limit(limit)
    path = Path(source)
    if source in (CIFAR10, CIFAR10_TRAIN):
        pixels = _cifar10(root, train=source == CIFAR10_TRAIN)
        total = len(pixels)
        dataset = Dataset(
            CIFAR10_TRAIN if source == CIFAR10_TRAIN else "cifar10-test", tuple(Picture(p) for p in pixels[:limit])
        )
    elif path.is_dir():
        files = picture_files(path)
        total = len(files)
        dataset = _opaque(path.resolve().name, [read_picture(file) for file in files[:limit]])
    elif path.is_file():
        tiles = list(_tiles(path))
        total = len(tiles)
        dataset = Dataset(path.stem, tuple(tiles[:limit]))
    else:
        raise ConfigError(
            f"{source}: no such file or folder; pass one that exists, a grid of {TILE} x {TILE} tiles or a folder "
            f"of pictures, or the name {CIFAR10} or {CIFAR10_TRAIN}"
        )
    return replace(dataset, name=_named(name or dataset.name, len(dataset), total))


def same_size_batches(pictures: Sequence[Picture], size: int, max_pixels: int) -> list[list[int]]:
    """Indices of pictures that can be measured together: of one size and colour mode, in order.

    Args:
        pictures: any.
        size: most pictures in a batch.
        max_pixels: most pixels in a batch of more than one picture.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(picture.pixels.shape, []).append(index)
    batches = []
    for shape, indices in groups.items():
        count = max(1, min(size, max_pixels // (shape[0] * shape[1])))
        batches += [indices[start : start + count] for start in range(0, len(indices), count)]
    return batches


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1, found {limit}")


def _named(name: str, taken: int, total: int) -> str:
    """The name, marked if only the first `taken` pictures are used, so that results do not replace the full ones."""
    return name if taken == total else f"{name}-first-{taken}"


def picture_files(folder: Path) -> list[Path]:
    """All picture files below a folder, by name.

    Raises:
        ConfigError: if there is none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise ConfigError(f"{folder}: expected pictures below this folder ({', '.join(PICTURE_SUFFIXES)}), found none")
    return files


def _opaque(name: str, pictures: Sequence[Picture]) -> Dataset:
    """The pictures without their alpha planes, which not every codec supports."""
    transparent = sum(picture.alpha is not None for picture in pictures)
    notes = (f"alpha planes of {transparent} pictures are left out: colours are compared",) if transparent else ()
    return Dataset(name, tuple(Picture(picture.pixels) for picture in pictures), notes)


def _tiles(path: Path) -> Iterator[Picture]:
    grid = read_picture(path).pixels
    rows, columns = grid.shape[0] // TILE, grid.shape[1] // TILE
    if grid.shape[:2] != (rows * TILE, columns * TILE):
        raise ConfigError(
            f"{path}: expected a grid of {TILE} x {TILE} tiles, found {grid.shape[1]} x {grid.shape[0]} pixels; "
            "for a whole picture pass its folder"
        )
    for row in np.split(grid, rows):
        yield from (Picture(np.ascontiguousarray(tile)) for tile in np.split(row, columns, axis=1))


def _cifar10(root: str, *, train: bool) -> NDArray[np.uint8]:
    """CIFAR-10's 10,000 test or 50,000 training images, (N, 32, 32, 3), from a copy below `root`, or downloaded."""
    try:
        from torchvision.datasets import CIFAR10 as TorchvisionCifar10
    except ImportError as error:
        raise ConfigError(f"{CIFAR10} needs torchvision: pip install 'diffcodec[bench]'") from error
    try:
        data = TorchvisionCifar10(str(_cifar10_parent(Path(root))), train=train, download=True).data
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"CIFAR-10 is not below {root!r} and cannot be downloaded ({error}): name a folder that holds "
            "cifar-10-batches-py or cifar-10-python.tar.gz, or other pictures",
            parameters=["root", "data"],
        ) from error
    return np.asarray(data, np.uint8)


def _cifar10_parent(root: Path) -> Path:
    """The folder to pass to torchvision: the parent of an unpacked or packed copy, if there is one."""
    names = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
    if root.name in names:
        return root.parent
    for name in names:
        found = sorted(root.rglob(name)) if root.is_dir() else []
        if found:
            return found[0].parent
    return root
