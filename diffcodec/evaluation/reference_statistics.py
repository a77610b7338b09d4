"""Mean and covariance of features, for FID: computed from pictures, cached, or published."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.errors import ConfigError
from diffcodec.evaluation.datasets import Pictures
from diffcodec.evaluation.features import FeatureExtractor, image_batches
from diffcodec.files import atomic_write

CACHE_VERSION = 1
"""Version of the cached files: increased with any change of their content or its computation."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Moments of the features of some pictures.

    Args:
        mean: (D,).
        covariance: (D, D), unbiased.
        count: number of pictures; None if unknown.
    """

    mean: FloatArray
    covariance: FloatArray
    count: int | None = None


class RunningStatistics:
    """Moments of batches of features, in float64.

    Uses the update of Chan, Golub and LeVeque (1979), which is accurate even for a large mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(())
        self._scatter = torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Add the features of a batch, (B, D)."""
        features = features.double()
        mean = features.mean(dim=0)
        centred, shift = features - mean, mean - self._mean
        total = self.count + len(features)
        self._scatter = self._scatter + centred.T @ centred
        self._scatter += torch.outer(shift, shift) * (self.count * len(features) / total)
        self._mean = self._mean + shift * (len(features) / total)
        self.count = total

    def result(self) -> FeatureStatistics:
        """The moments of all features.

        Raises:
            ConfigError: if there are fewer than two pictures.
        """
        if self.count < 2:
            raise ConfigError(f"a covariance needs at least 2 pictures, found {self.count}")
        return FeatureStatistics(self._mean.numpy(), (self._scatter / (self.count - 1)).numpy(), self.count)


def statistics_of(batches: Iterable[Tensor], extractor: FeatureExtractor) -> FeatureStatistics:
    """Moments of the features of images.

    Args:
        batches: uint8, (B, 3, H, W) each.
        extractor: the network.

    Raises:
        ConfigError: if there are fewer than two pictures.
    """
    running = RunningStatistics()
    for images in batches:
        running.add(extractor(images).pooled)
    return running.result()


def reference_statistics(
    pictures: Pictures,
    extractor: FeatureExtractor,
    *,
    cache: Path,
    batch_size: int = 50,
    progress: Callable[[int], None] = lambda done: None,
    warn: Callable[[str], None] = lambda text: None,
) -> FeatureStatistics:
    """Moments of the features of a data set, cached by data set and network.

    The name of the cached file contains a digest of the pictures, their number, the network with its weights, and the
    version of the format. It is an .npz file with `mu` and `sigma`, which `read_statistics` and other tools can read.

    Args:
        pictures: read only if there is no cached file.
        extractor: the network.
        cache: folder of the cached files; created if it does not exist.
        batch_size: pictures at a time.
        progress: called with the number of pictures done.
        warn: called with a message if a cached file is damaged and is computed again.

    Raises:
        ConfigError: if there are fewer than two pictures, or the cache cannot be written.
        ImageError: if a picture cannot be read.
    """
    identity = f"{CACHE_VERSION} {pictures.digest} {len(pictures)} {extractor.digest}"
    path = cache / f"{pictures.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        try:
            return read_statistics(path)
        except ConfigError as error:
            warn(f"{error}; computing it again")

    running, done = RunningStatistics(), 0
    for images in image_batches(pictures, batch_size):
        running.add(extractor(images).pooled)
        progress(done := done + len(images))
    found = running.result()
    try:
        os.makedirs(cache, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{cache}: cannot be created ({error.strerror or error}): name another folder", parameters=["cache"]
        ) from error
    with atomic_write(path, overwrite=True) as file:
        np.savez(file, mu=found.mean, sigma=found.covariance, count=np.int64(running.count))
    return found


def read_statistics(path: Path) -> FeatureStatistics:
    """Moments from an .npz file with `mu` and `sigma`, as written by pytorch-fid and others; never a pickle.

    Raises:
        ConfigError: if it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = (np.asarray(file[name], np.float64) for name in ("mu", "sigma"))
            count = int(file["count"]) if "count" in file else None
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: not a file of statistics, an .npz with `mu` and `sigma` ({error})") from error
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not np.isfinite(covariance).all():
        raise ConfigError(
            f"{path}: expected finite `mu` (D,) and `sigma` (D, D), found shapes {mean.shape} and {covariance.shape}"
        )
    return FeatureStatistics(mean, covariance, count)


def default_cache() -> Path:
    """The folder for cached statistics: `$XDG_CACHE_HOME/diffcodec`, or `~/.cache/diffcodec`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffcodec"
