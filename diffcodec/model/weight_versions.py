"""Notices that a network's weights have changed since its fingerprint was taken."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class WeightVersions:
    """The versions of weights at one time; every operation in place, such as an optimiser's, makes a new version.

    Args:
        weights: by name.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._seen = {name: (value, _version(value)) for name, value in weights.items()}

    def are_those_of(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether these are the same tensors, unchanged."""
        return weights.keys() == self._seen.keys() and all(
            value is self._seen[name][0] and _version(value) == self._seen[name][1] for name, value in weights.items()
        )


def _version(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version  # inference tensors have none
