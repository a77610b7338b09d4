"""What steps cost when p(x_s | x_t) has variances of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from step_variances.transforms import Floats, Labels

SCALE_OCTAVES = (2.0, 1.0, 0.5, 0.25, 0.125)
"""Halvings that find a scale within 4 octaves, to a quarter octave: about the grid of the codec's step lengths."""


@dataclass(frozen=True)
class StepModel:
    """Errors in groups of coefficients of equal assumed variance, for every node and picture.

    With g = SNR(s) - SNR(t), error e of the estimate at t and variance v, a coefficient of a step costs

        1/2 [ln(1 + g v) + g (e^2 - v) / (1 + g v)]   nats.

    Args:
        energy: sum of e^2 over a group, [-1, 1] units, (nodes, N, groups).
        counts: coefficients in a group, (nodes or 1, N or 1, groups).
        variance: assumed, (nodes, N or 1, groups); zeros mean a p of q's own variances.
        own_scale: whether every picture's variances are multiplied by the scale that its step's length tells.
    """

    energy: Floats
    counts: Floats
    variance: Floats
    own_scale: bool = False

    def bits(self, node: int, gap: float) -> NDArray[np.float64]:
        """KL of the step from a node over a gap in SNR, (N,) in bits."""
        energy, counts = self.energy[node], self.counts[node % len(self.counts)]
        growth = gap * self.variance[node]
        if self.own_scale:
            growth = growth * _scale_from_length(gap * energy, counts, growth)
        terms = counts * np.log1p(growth) + (gap * energy - counts * growth) / (1 + growth)
        return np.asarray(terms.sum(axis=-1, dtype=np.float64) / (2 * math.log(2)))

    def first(self, pictures: int) -> StepModel:
        """The model of the first pictures only."""
        kept = slice(pictures)
        return replace(self, energy=self.energy[:, kept], counts=self.counts[:, kept], variance=self.variance[:, kept])

    def mean_picture(self) -> StepModel:
        """One picture that costs what all cost on average, where all have the same variances."""
        energy, counts = (values.mean(axis=1, keepdims=True) for values in (self.energy, self.counts))
        return replace(self, energy=energy, counts=counts)

    @property
    def is_alike(self) -> bool:
        """Whether all pictures have the same variances."""
        return self.variance.shape[1] == 1 and not self.own_scale


def _scale_from_length(energy: Floats, counts: Floats, growth: Floats) -> Floats:
    """The scale at which a step costs what its variances expect, (N, 1), by bisection.

    The receiver knows it without being told: it is the one at which 1/2 sum ln(1 + g v) is the length of the step.

    Args:
        energy, growth: g e^2 and g v at scale 1.
    """
    octaves = np.zeros((len(energy), 1), np.float32)
    for half in SCALE_OCTAVES:
        scaled = growth * 2**octaves
        excess = ((energy - counts * scaled) / (1 + scaled)).sum(axis=-1, keepdims=True)
        octaves += np.float32(half) * np.sign(excess)
    return 2**octaves


def group_energy(squares: Floats, labels: Labels) -> Floats:
    """Sums of squares (..., 3, H, W) over coefficients of equal label (3, H, W), counted from 0: (..., groups)."""
    flat = squares.reshape(*squares.shape[:-3], -1)
    order = np.argsort(labels, axis=None, kind="stable")
    starts = np.searchsorted(labels.reshape(-1)[order], np.arange(labels.max() + 1))
    return np.add.reduceat(flat[..., order], starts, axis=-1)


def group_counts(labels: Labels) -> Floats:
    """Coefficients of each label, (1, 1, groups)."""
    return np.bincount(labels.reshape(-1)).astype(np.float32)[None, None]


def picture_labels(bands: Labels) -> Labels:
    """Bands (H, W) of one channel -> labels (3, H, W), for every channel its own."""
    return np.asarray(np.arange(3)[:, None, None] * (bands.max() + 1) + bands)


def class_energy(squares: Floats, activity: Floats, bounds: Floats, labels: Labels) -> tuple[Floats, Floats]:
    """Energy and counts for each class of activity and each label.

    Args:
        squares: (nodes, N, 3, H, W).
        activity: of blocks, (nodes, N, rows, columns).
        bounds: of the classes at each node, rising, (nodes, classes - 1).
        labels: of coefficients, (3, H, W).

    Returns:
        Sums of squares and numbers of coefficients, (nodes, N, classes * labels), classes first.
    """
    nodes, pictures, _, height, width = squares.shape
    bands = labels.max() + 1
    groups = (bounds.shape[1] + 1) * bands
    block = np.ones((height // activity.shape[2], width // activity.shape[3]), int)
    energy = np.empty((nodes, pictures, groups), np.float32)
    counts = np.empty_like(energy)
    for node in range(nodes):
        classes = np.kron(np.searchsorted(bounds[node], activity[node]), block[None])[:, None]
        places = np.arange(pictures)[:, None, None, None] * groups + classes * bands + labels
        size = pictures * groups
        counts[node] = np.bincount(places.reshape(-1), minlength=size).reshape(pictures, groups)
        energy[node] = np.bincount(places.reshape(-1), squares[node].reshape(-1), size).reshape(pictures, groups)
    return energy, counts
