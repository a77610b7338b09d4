"""How good samples look, as numbers: FID and Inception score, and a distance that needs no trained network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffcodec.diffusion.units import to_unit
from diffcodec.evaluation.features import FeatureExtractor, load_inception
from diffcodec.evaluation.reference_statistics import FeatureStatistics, statistics_of
from diffcodec.evaluation.sample_quality import measure_quality

BATCH = 64


class RandomFeatures(nn.Module):
    """A convolutional network whose weights were never trained: fixed random filters of three sizes.

    Embeddings of random networks tell sets of samples apart about as well as trained ones where no label matters
    (Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models").

    Args:
        widths: channels after each halving of the resolution; each gives as many features.
        seed: of the weights.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 24, 32), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        layers = []
        for before, width in zip((3, *widths), widths, strict=False):
            layer = nn.Conv2d(before, width, 4, stride=2, padding=1)
            for parameter in layer.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / (16 * before)) ** 0.5
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8, (B, 3, H, W) -> (B, features): means over the picture of what each layer answers."""
        x, means = to_unit(images), []
        for layer in self.layers:
            x = layer(x).relu()
            means.append(x.mean(dim=(2, 3)))
        return torch.cat(means, dim=1)


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and covariance (D, D) of features."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def random_moments(images: Tensor, seed: int = 0) -> Moments:
    """Of the random features of images, uint8, (N, 3, H, W)."""
    network = RandomFeatures(seed=seed)
    features = torch.cat([network(batch) for batch in _batches(images)]).double().numpy()
    return Moments(features.mean(axis=0), np.cov(features, rowvar=False))


def frechet_random(images: Tensor, reference: Moments) -> float:
    """Frechet distance of the random features from those of real images, each divided by its std there, per feature.

    |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), the squared Wasserstein distance of two normal distributions. It
    is no FID: only values with the same number of images and the same reference may be compared.

    Args:
        images: uint8, (N, 3, H, W).
        reference: moments of the real images.
    """
    found = random_moments(images)
    alive = np.flatnonzero(np.diag(reference.covariance))  # a random filter may be below zero on all real images
    std = np.sqrt(np.diag(reference.covariance))[alive]
    shift = (found.mean - reference.mean)[alive] / std
    one, other = (m.covariance[np.ix_(alive, alive)] / np.outer(std, std) for m in (found, reference))
    # The eigenvalues of a product of covariances are real and not negative, up to rounding.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(one @ other).real, 0))
    return float((shift @ shift + np.trace(one) + np.trace(other) - 2 * roots.sum()) / len(std))


@dataclass(frozen=True, eq=False)
class InceptionTest:
    """FID and Inception score; the network and the reference are gone through once for all cells.

    Args:
        weights: file with those of torch-fidelity's Inception.
        reference: real images, uint8, (N, 3, H, W).
        device: where the network runs.
    """

    weights: Path
    reference: Tensor
    device: str = "cpu"

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        return load_inception(self.weights, device=self.device)

    @cached_property
    def _statistics(self) -> FeatureStatistics:
        return statistics_of(_batches(self.reference), self._extractor)

    def scores(self, images: Tensor) -> dict[str, float | None]:
        """Of images, uint8, (N, 3, H, W)."""
        quality = measure_quality(_batches(images), self._extractor, reference=self._statistics)
        return {"fid": quality.fid, "inception_score": quality.inception_score}


def _batches(images: Tensor) -> Iterator[Tensor]:
    yield from torch.split(images, BATCH)
