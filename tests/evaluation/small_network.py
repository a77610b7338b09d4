"""A stand-in for Inception: a torch-fidelity feature extractor of a few seeded weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase

from diffcodec.evaluation.features import FeatureExtractor

LAYERS = ["pooled", "logits"]
DIMS, CLASSES = 12, 5


class SmallNetwork(FeatureExtractorBase):  # type: ignore[misc]  # the library has no types
    """Two convolutions, 12 features, 5 classes."""

    def __init__(self, name: str = "small", features_list: list[str] = LAYERS, seed: int = 0, **options: Any) -> None:
        super().__init__(name, features_list)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2),
                nn.ReLU(),
                nn.Conv2d(8, DIMS, 3),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.head = nn.Linear(DIMS, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        assert images.dtype == torch.uint8
        pooled = 20 * self.body(images.float() / 127.5 - 1)
        outputs = {"pooled": pooled, "logits": 5 * self.head(pooled)}
        return tuple(outputs[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return tuple(LAYERS)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"fid": "pooled", "isc": "logits"}[metric]


def small_extractor(seed: int = 0) -> FeatureExtractor:
    return FeatureExtractor(SmallNetwork(seed=seed))
