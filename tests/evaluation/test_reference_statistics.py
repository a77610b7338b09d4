"""Moments of features: against numpy's, through the cache, and from files of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.errors import ConfigError
from diffcodec.evaluation import reference_statistics as module
from diffcodec.evaluation.datasets import Dataset
from diffcodec.evaluation.reference_statistics import (
    FeatureStatistics,
    RunningStatistics,
    default_cache,
    read_statistics,
    reference_statistics,
)
from diffcodec.images import Picture
from tests.conftest import smooth_pixels
from tests.evaluation.small_network import DIMS, small_extractor


def dataset(count: int = 9, first_seed: int = 0) -> Dataset:
    return Dataset("smooth", tuple(Picture(smooth_pixels(16, 16, first_seed + seed)) for seed in range(count)))


@dataclass(frozen=True)
class Unreadable:
    """Claims to be a data set, and cannot be read."""

    name: str
    digest: str
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Picture]:
        raise AssertionError("the pictures were read")

    @classmethod
    def like(cls, pictures: Dataset) -> Unreadable:
        return cls(pictures.name, pictures.digest, len(pictures))


def same(one: FeatureStatistics, other: FeatureStatistics) -> bool:
    return (
        np.array_equal(one.mean, other.mean)
        and np.array_equal(one.covariance, other.covariance)
        and one.count == other.count
    )


@given(cuts=st.lists(st.integers(1, 7), min_size=2, max_size=6), offset=st.sampled_from([0.0, 1e6]))
def test_moments_do_not_depend_on_batches(cuts: list[int], offset: float) -> None:
    features = np.random.default_rng(0).normal(offset, 1, (sum(cuts), 4))
    running = RunningStatistics()
    for batch in torch.split(torch.from_numpy(features), cuts):
        running.add(batch)
    found = running.result()
    assert found.count == len(features)
    assert np.allclose(found.mean, features.mean(axis=0), rtol=1e-14)
    assert np.allclose(found.covariance, np.cov(features, rowvar=False), atol=1e-8)


def test_one_picture_has_no_covariance() -> None:
    running = RunningStatistics()
    running.add(torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="at least 2 pictures, found 1"):
        running.result()


def test_second_time_they_come_from_the_cache(tmp_path: Path) -> None:
    pictures, ticks = dataset(), list[int]()
    first = reference_statistics(
        pictures, small_extractor(), cache=tmp_path / "new", batch_size=4, progress=ticks.append
    )
    assert ticks == [4, 8, 9]
    assert (first.mean.shape, first.covariance.shape, first.count) == ((DIMS,), (DIMS, DIMS), 9)
    again = reference_statistics(Unreadable.like(pictures), small_extractor(), cache=tmp_path / "new")
    assert same(first, again)


def test_other_pictures_networks_and_versions_miss_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = dataset()
    reference_statistics(pictures, small_extractor(), cache=tmp_path)
    kept = Unreadable.like(pictures)
    with pytest.raises(AssertionError, match="were read"):
        reference_statistics(Unreadable.like(dataset(first_seed=1)), small_extractor(), cache=tmp_path)
    with pytest.raises(AssertionError, match="were read"):
        reference_statistics(kept, small_extractor(seed=1), cache=tmp_path)
    monkeypatch.setattr(module, "CACHE_VERSION", module.CACHE_VERSION + 1)
    with pytest.raises(AssertionError, match="were read"):
        reference_statistics(kept, small_extractor(), cache=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_damaged_cache_is_computed_anew_with_a_warning(tmp_path: Path, damage: str) -> None:
    first = reference_statistics(dataset(), small_extractor(), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    half = len(data) // 2
    flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    path.write_bytes({"cut": data[:half], "flipped": flipped, "empty": b"", "other": b"mu, sigma"}[damage])
    warnings: list[str] = []
    assert same(first, reference_statistics(dataset(), small_extractor(), cache=tmp_path, warn=warnings.append))
    assert len(warnings) == 1
    assert path.name in warnings[0]
    assert "computing it again" in warnings[0]
    assert same(first, read_statistics(path))  # mended
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be created .* name another folder") as error:
        reference_statistics(dataset(), small_extractor(), cache=tmp_path / "file")
    assert error.value.parameters == ("cache",)


def test_published_moments_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "published.npz", mu=np.ones(3, np.float32), sigma=np.eye(3))
    found = read_statistics(tmp_path / "published.npz")
    assert found.mean.dtype == found.covariance.dtype == np.float64
    assert found.count is None


def test_files_without_moments_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    contents: list[dict[str, np.ndarray]] = [
        {"mu": np.ones(3)},
        {"mu": np.array([object()]), "sigma": np.eye(1)},  # a pickle
        {"mu": np.ones(3), "sigma": np.eye(2)},
        {"mu": np.ones((3, 3)), "sigma": np.eye(3)},
        {"mu": np.ones(2), "sigma": np.full((2, 2), np.nan)},
    ]
    for content in contents:
        np.savez(path, **content)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"file\.npz: .*mu.*sigma"):
            read_statistics(path)
    np.save(tmp_path / "array.npz.npy", np.ones(3))
    for other in (tmp_path / "array.npz.npy", tmp_path, tmp_path / "nothing"):
        with pytest.raises(ConfigError, match="not a file of statistics"):
            read_statistics(other)


def test_cache_lies_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/diffcodec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "diffcodec"
