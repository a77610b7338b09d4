"""FID and Inception score: closed forms, what they should feel, and the library's own whole computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.linalg import sqrtm
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from diffcodec.errors import ConfigError
from diffcodec.evaluation.reference_statistics import FeatureStatistics, statistics_of
from diffcodec.evaluation.sample_quality import frechet_distance, inception_score, measure_quality
from tests.conftest import smooth_pixels
from tests.evaluation.small_network import CLASSES, DIMS, SmallNetwork, small_extractor

COUNT = 60


def to_images(pixels: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())


PIXELS = [smooth_pixels(16, 16, seed) for seed in range(2 * COUNT)]
IMAGES, OTHERS = to_images(PIXELS[:COUNT]), to_images(PIXELS[COUNT:])


def fid(images: Tensor, reference: Tensor = IMAGES) -> float:
    real = statistics_of(torch.split(reference, 16), small_extractor())
    found = measure_quality(torch.split(images, 16), small_extractor(), reference=real).fid
    assert found is not None
    return found


def test_distance_of_normal_distributions_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    means, stds = rng.normal(size=(2, 6)), rng.uniform(0.5, 2, (2, 6))
    independent = [FeatureStatistics(mean, np.diag(std**2)) for mean, std in zip(means, stds, strict=True)]
    expected = ((means[0] - means[1]) ** 2).sum() + ((stds[0] - stds[1]) ** 2).sum()
    assert frechet_distance(*independent) == pytest.approx(expected, rel=1e-9)
    roots = rng.normal(size=(2, 6, 6))
    one, other = (root @ root.T for root in roots)  # they do not commute
    middle = sqrtm(sqrtm(one) @ other @ sqrtm(one))
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(one + other - 2 * middle)
    assert frechet_distance(FeatureStatistics(means[0], one), FeatureStatistics(means[1], other)) == pytest.approx(
        expected, rel=1e-6
    )


def test_a_set_is_at_no_distance_from_itself() -> None:
    assert abs(fid(IMAGES)) < 1e-5 < fid(OTHERS)


def test_distance_rises_with_noise() -> None:
    noise = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(0))
    distances = [fid((IMAGES + std * noise).round().clamp(0, 255).to(torch.uint8)) for std in (0, 10, 30, 90)]
    assert np.all(np.diff(distances) > 1e-3)


def test_distance_rises_with_blur() -> None:
    def blurred(radius: float) -> Tensor:
        blur = ImageFilter.GaussianBlur(radius)
        return to_images([np.asarray(Image.fromarray(pixels).filter(blur)) for pixels in PIXELS[:COUNT]])

    assert np.all(np.diff([fid(blurred(radius)) for radius in (0, 1, 2, 4)]) > 1e-3)


@pytest.mark.parametrize("classes", [2, 7])
def test_inception_score_lies_between_one_and_the_classes(classes: int) -> None:
    assert inception_score(torch.zeros(40, classes)) == pytest.approx((1, 0))
    sure = 100.0 * torch.eye(classes).repeat(10, 1)  # of all classes alike
    assert inception_score(sure, splits=1) == pytest.approx((classes, 0))
    logits = torch.randn(100, classes, generator=torch.Generator().manual_seed(0))
    score, spread = inception_score(logits)
    assert 1 < score < classes
    assert spread > 0


class AsDataset(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_both_scores_are_those_of_the_library() -> None:
    register_feature_extractor("small", SmallNetwork)
    try:
        expected = calculate_metrics(
            input1=AsDataset(OTHERS),
            input2=AsDataset(IMAGES),
            fid=True,
            isc=True,
            feature_extractor="small",
            cuda=False,
            cache=False,
            verbose=False,
            save_cpu_ram=True,
        )
    finally:
        del FEATURE_EXTRACTORS_REGISTRY["small"]
    real = statistics_of(torch.split(IMAGES, 7), small_extractor())
    found = measure_quality(torch.split(OTHERS, 11), small_extractor(), reference=real)
    assert found.fid == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)  # it takes means in float32
    assert found.inception_score == pytest.approx(expected["inception_score_mean"], rel=1e-6)
    assert found.inception_score_std == pytest.approx(expected["inception_score_std"], rel=1e-4)


def test_one_pass_gives_both_and_reports_progress() -> None:
    ticks: list[int] = []
    found = measure_quality(torch.split(IMAGES, 25), small_extractor(), progress=ticks.append)
    assert ticks == [25, 50, 60]
    assert (found.count, found.fid) == (60, None)
    assert found.inception_score is not None
    assert 1 < found.inception_score < CLASSES


def test_few_pictures_are_reported() -> None:
    extractor = small_extractor()
    real = statistics_of([IMAGES], extractor)
    assert measure_quality([OTHERS], extractor, reference=real).notes == ()
    (note,) = measure_quality([OTHERS[:DIMS]], extractor, reference=real).notes
    assert f"{DIMS} measured pictures for {DIMS} features" in note
    (note,) = measure_quality([OTHERS], extractor, reference=statistics_of([IMAGES[:5]], extractor)).notes
    assert "5 reference pictures" in note
    few = measure_quality([OTHERS[:9]], extractor, reference=real)
    assert few.inception_score is None
    assert few.fid is not None
    assert math.isfinite(few.fid)


def test_what_cannot_be_measured_is_refused() -> None:
    extractor = small_extractor()
    with pytest.raises(ConfigError, match="Inception score of 10 parts: expected at least 10 pictures, found 9"):
        measure_quality([IMAGES[:9]], extractor)
    with pytest.raises(ConfigError, match="expected 12 features, found 3: they are from another network"):
        measure_quality([IMAGES], extractor, reference=FeatureStatistics(np.zeros(3), np.eye(3)))
