"""Sample quality: Frechet Inception distance and Inception score, both from torch-fidelity.

FID (Heusel et al. 2017) compares mean and covariance of Inception features with those of real pictures; the Inception
score (Salimans et al. 2016) measures how certain each picture's class is, and how many classes occur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcodec.errors import ConfigError
from diffcodec.evaluation.features import FeatureExtractor
from diffcodec.evaluation.reference_statistics import FeatureStatistics, RunningStatistics

SPLITS = 10
"""Number of parts whose Inception scores are averaged in publications."""


@dataclass(frozen=True)
class SampleQuality:
    """The scores of some pictures.

    Args:
        count: number of pictures.
        inception_score: from 1 to the number of classes; None for fewer pictures than parts.
        inception_score_std: its standard deviation over the parts.
        fid: distance from the reference, at least 0; None without a reference.
        notes: sentences about the reliability of the scores.
    """

    count: int
    inception_score: float | None = None
    inception_score_std: float | None = None
    fid: float | None = None
    notes: tuple[str, ...] = ()


def measure_quality(
    batches: Iterable[Tensor],
    extractor: FeatureExtractor,
    *,
    reference: FeatureStatistics | None = None,
    splits: int = SPLITS,
    progress: Callable[[int], None] = lambda done: None,
) -> SampleQuality:
    """The Inception score of pictures, and their FID if there is a reference, in one pass.

    Args:
        batches: uint8, (B, 3, H, W) each.
        extractor: the network.
        reference: of the real pictures, with the same network.
        splits: number of parts over which the Inception score is averaged.
        progress: called with the number of pictures done.

    Raises:
        ConfigError: if the reference is from another network, or there are too few pictures: fewer than two for FID,
            or, without a reference, fewer than `splits`.
    """
    running, logits = RunningStatistics(), []
    for images in batches:
        features = extractor(images)
        if reference is not None and reference.mean.shape != features.pooled.shape[1:]:
            raise ConfigError(
                f"reference statistics: expected {features.pooled.shape[1]} features, found {len(reference.mean)}: "
                "they are from another network"
            )
        running.add(features.pooled)
        logits.append(features.logits)
        progress(running.count)
    enough = running.count >= splits
    if reference is None and not enough:
        raise ConfigError(
            f"Inception score of {splits} parts: expected at least {splits} pictures, found {running.count}"
        )
    score, spread = inception_score(torch.cat(logits), splits) if enough else (None, None)
    if reference is None:
        return SampleQuality(running.count, score, spread)
    found = running.result()
    notes = tuple(_notes(running.count, "measured", len(found.mean)))
    if reference.count is not None:
        notes += tuple(_notes(reference.count, "reference", len(found.mean)))
    return SampleQuality(running.count, score, spread, frechet_distance(found, reference), notes)


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): the squared Wasserstein distance of two normal distributions."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    moments = ({"mu": statistics.mean, "sigma": statistics.covariance} for statistics in (one, other))
    return float(fid_statistics_to_metric(*moments, False)[KEY_METRIC_FID])


def inception_score(logits: Tensor, splits: int = SPLITS) -> tuple[float, float]:
    """exp of the mean KL(p(class | picture) || p(class)), as mean and standard deviation over parts of the pictures.

    Args:
        logits: (N, classes), N at least `splits`.
        splits: number of parts; the pictures are shuffled before, with torch-fidelity's fixed seed.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(logits, splits)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])


def _notes(count: int, what: str, dims: int) -> Iterator[str]:
    if count <= dims:
        yield (
            f"{count} {what} pictures for {dims} features: their covariance is singular and FID much too high; "
            "compare it only with FIDs of equally many pictures"
        )
