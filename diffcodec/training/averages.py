"""Averages of the weights over a run whose width can be chosen afterwards (EDM2, Karras et al. 2024, section 3).

An average with a power-function profile gives the weights after t steps the factor t^gamma: its width is a fixed share
of the run so far. Least squares combines snapshots of two of them into an average of any other width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffcodec.errors import ConfigError


def gamma_of(width: float) -> float:
    """The exponent whose profile has a standard deviation of `width` times the length of the run: EDM2, eq. 14."""
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(roots.real.max())


class PowerAverage:
    """Averages a module's parameters with the profile t^gamma.

    Args:
        module: with the parameters.
        width: standard deviation of the profile, relative to the length of the run.
    """

    def __init__(self, module: nn.Module, width: float) -> None:
        self.width, self.gamma = width, gamma_of(width)
        self.average = {name: p.detach().clone().float() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, images: int, batch: int) -> None:
        """Add the current parameters, after `images` images, `batch` more than at the last update."""
        kept = max(0.0, 1 - batch / images) ** (self.gamma + 1)
        parameters = dict(module.named_parameters())
        torch._foreach_lerp_(
            list(self.average.values()), [parameters[name].detach().float() for name in self.average], 1 - kept
        )


@dataclass(frozen=True)
class Snapshot:
    """An average at a point of the run.

    Args:
        images: number of training images so far.
        width: of its profile.
        weights: by parameter name.
    """

    images: int
    width: float
    weights: Mapping[str, Tensor]


def profile_products(
    images_a: NDArray[np.float64],
    gamma_a: NDArray[np.float64],
    images_b: NDArray[np.float64],
    gamma_b: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Inner products of profiles p(t) = (gamma + 1) t^gamma / T^(gamma + 1) on [0, T]; arrays broadcast.

    EDM2, eq. 117: (a + 1)(b + 1) / (a + b + 1) times min(T_a, T_b)^(a + b + 1) / (T_a^(a + 1) T_b^(b + 1)).
    """
    least = np.minimum(images_a, images_b)
    ratio_a = (least / images_a) ** gamma_a / images_a
    ratio_b = (least / images_b) ** gamma_b
    result: NDArray[np.float64] = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * ratio_a * ratio_b
    return result * least / images_b


def combination(snapshots: Sequence[tuple[int, float]], images: int, width: float) -> NDArray[np.float64]:
    """Coefficients of snapshots whose weighted sum is nearest to an average of another width.

    Args:
        snapshots: (images, width) of each.
        images: end of the wanted average.
        width: of its profile.

    Returns:
        One per snapshot; least squares of the profiles.
    """
    ends = np.array([float(each[0]) for each in snapshots])
    gammas = np.array([gamma_of(each[1]) for each in snapshots])
    matrix = profile_products(ends[:, None], gammas[:, None], ends, gammas)
    wanted = profile_products(ends, gammas, np.array(float(images)), np.array(gamma_of(width)))
    scale = np.sqrt(np.diag(matrix))
    found: NDArray[np.float64] = (
        np.linalg.lstsq(matrix / np.outer(scale, scale), wanted / scale, rcond=1e-10)[0] / scale
    )
    return found


def combine(snapshots: Sequence[Snapshot], images: int, width: float) -> dict[str, Tensor]:
    """The average with a profile of `width` over the first `images` of a run, from snapshots of other averages.

    Raises:
        ConfigError: if the width lies outside those of the snapshots: extrapolated averages are useless.
    """
    low, high = (pick(each.width for each in snapshots) for pick in (min, max))
    if not low <= width <= high:
        raise ConfigError(f"width: expected {low:g} to {high:g}, as the snapshots have, found {width:g}")
    chosen = [each for each in snapshots if each.images <= images]
    factors = combination([(each.images, each.width) for each in chosen], images, width)
    return {
        name: sum(
            (float(factor) * each.weights[name].double() for factor, each in zip(factors, chosen, strict=True)),
            torch.zeros_like(value, dtype=torch.float64),
        ).float()
        for name, value in chosen[0].weights.items()
    }
