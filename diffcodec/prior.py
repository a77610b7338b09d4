"""What the receiver knows of a step before it is told anything: p(x_s | x_t), in the coordinates that are coded.

p has the mean that the estimate xhat_0 gives it. Its variance is q's own, or, with few steps much better, that plus
what the error of the estimate adds: in a transform where the error has variance v, with g = SNR(s) - SNR(t), p's
variance is (1 + g v) times that of q. A step then costs 1/2 log(1 + g v) nats a coefficient on average, where it would
cost g v / 2. docs/method.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel import Groups
from diffcodec.channel.base import LOG_2
from diffcodec.tables import (
    BITS_SCALE,
    INFORMATION_SCALE,
    MAX_SHIFT,
    OCTAVE_STEPS,
    Level,
    LevelList,
    Variances,
    gap_octaves,
)
from diffcodec.transform import BlockTransform

Coordinates = NDArray[np.float32]
"""Of N pictures, shape (N, dims)."""


class StepPrior(Protocol):
    """p of one step, for a batch of pictures of one size."""

    @property
    def expected_bits(self) -> int:
        """The step's information as the tables expect it, in 1 / BITS_SCALE bits; integers only."""

    def groups(self, information: Sequence[int]) -> Groups | None:
        """Targets in units of p, when the information that each picture's message is to deliver is known.

        Args:
            information: in 1 / BITS_SCALE bits, one for each picture.

        Returns:
            None if q and p have equal variances.
        """

    def coefficients(self, coordinates: Coordinates) -> Coordinates:
        """Coded coordinates in the transform of p."""

    def divergence(self, errors: Coordinates) -> NDArray[np.float64]:
        """KL(q || p) in bits, (N,), for errors of the estimate (coefficients), at the best variances for each."""

    def mean(self, errors: Coordinates, groups: Groups | None) -> Coordinates:
        """Mean of q in units of p, for errors of the estimate (coefficients)."""

    def displacement(self, sample: Coordinates, groups: Groups | None) -> Coordinates:
        """Coded coordinates of x_s - mean of p, in units of q's standard deviation, for a sample in units of p."""


@dataclass(frozen=True)
class EqualVariances:
    """p with the variance of q.

    Args:
        levels: the list that the walk follows.
        step: running number.
        end: where the step goes.
        gap: g, the SNR it gains.
        dims: coded coordinates.
    """

    levels: LevelList
    step: int
    end: Level
    gap: float
    dims: int

    @property
    def expected_bits(self) -> int:
        """See `StepPrior`."""
        return self.levels.expected_bits(self.step, self.end, self.dims)

    def groups(self, information: Sequence[int]) -> None:
        """See `StepPrior`."""

    def coefficients(self, coordinates: Coordinates) -> Coordinates:
        """The coordinates themselves."""
        return coordinates

    def divergence(self, errors: Coordinates) -> NDArray[np.float64]:
        """g / 2 times the squared error: VDM (Kingma et al. 2021), eq. 13."""
        energy: NDArray[np.float64] = np.sum(np.square(errors, dtype=np.float64), axis=1)
        return energy * (self.gap / (2 * LOG_2))

    def mean(self, errors: Coordinates, groups: Groups | None) -> Coordinates:
        """The mean of q lies sqrt(g) (x_0 - xhat_0) standard deviations away from that of p."""
        return np.float32(math.sqrt(self.gap)) * errors

    def displacement(self, sample: Coordinates, groups: Groups | None) -> Coordinates:
        """See `StepPrior`."""
        return sample


@dataclass(frozen=True)
class BandVariances:
    """p with a variance for every band, from the model's table, and one factor on all of them for every picture.

    The factor costs nothing: it is the one with which the table expects the information that the step's length, sent
    before, says is coming. Which coefficients are alike, and where the message puts them, follows from integers.

    Args:
        transform: in which the bands lie.
        variances: the table.
        levels: the list that the walk follows.
        step: running number.
        end: where the step goes.
        gap: g, the SNR it gains.
    """

    transform: BlockTransform
    variances: Variances
    levels: LevelList
    step: int
    end: Level
    gap: float

    @cached_property
    def _gap_octaves(self) -> int:
        """log2(g), rounded down, in 1 / OCTAVE_STEPS."""
        return gap_octaves(self.levels.start_of(self.step), self.end)

    @cached_property
    def _groups(self) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
        """log2(g v) of every group, ascending, in 1 / OCTAVE_STEPS; and the group of every band."""
        octaves = np.array(self.variances.at(self.levels.start_of(self.step)), np.int64) + self._gap_octaves
        of_groups, of_bands = np.unique(octaves, return_inverse=True)
        return of_groups, of_bands.astype(np.uint16)

    @cached_property
    def _of(self) -> NDArray[np.uint16]:
        """The group of every coefficient, shape (dims,)."""
        return self._groups[1][self.transform.band]

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Coefficients of every group."""
        return np.bincount(self._groups[1], self.transform.counts).astype(np.int64)

    @cached_property
    def _weights(self) -> NDArray[np.int64]:
        """Information of a coefficient in 1 / INFORMATION_SCALE bits, at all shifts, by group: (shifts, groups)."""
        shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
        return self.variances.expected(self._groups[0] + shifts[:, None])

    @cached_property
    def _expected(self) -> NDArray[np.int64]:
        """Information in 1 / INFORMATION_SCALE bits at all shifts, (shifts,)."""
        expected: NDArray[np.int64] = self._weights @ self._counts
        return expected

    @property
    def expected_bits(self) -> int:
        """See `StepPrior`."""
        return int(self._expected[MAX_SHIFT]) * BITS_SCALE // INFORMATION_SCALE

    def groups(self, information: Sequence[int]) -> Groups:
        """See `StepPrior`. The least shift with which as much is expected, or else the largest."""
        wanted = np.array(information, np.int64) * (INFORMATION_SCALE // BITS_SCALE)
        places = np.searchsorted(self._expected[:-1], wanted)
        return Groups(self._of, 1 / np.sqrt(self._variance_ratio(places - MAX_SHIFT)), self._weights[places])

    def _variance_ratio(self, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
        """1 + g v of every group at some shifts: how many times p's variance is that of q; (shifts, groups).

        From the gap itself: the integer octaves round it.
        """
        rounding = math.log2(self.gap) * OCTAVE_STEPS - self._gap_octaves
        octaves = self._groups[0] + shifts[:, None] + rounding
        ratio: NDArray[np.float64] = 1 + np.exp2(octaves / OCTAVE_STEPS)
        return ratio

    def coefficients(self, coordinates: Coordinates) -> Coordinates:
        """See `StepPrior`."""
        return self.transform.forward(coordinates)

    def divergence(self, errors: Coordinates) -> NDArray[np.float64]:
        """At the shift with which the table expects what there is: there, nearly, the divergence is least."""
        ratio = self._variance_ratio(np.arange(-MAX_SHIFT, MAX_SHIFT + 1))
        counts = self._counts
        expected = np.log(ratio) @ counts
        found = []
        for picture in errors:
            energy = self.gap * np.bincount(self._of, np.square(picture, dtype=np.float64), len(counts))
            nats = 0.5 * (expected + ((energy - counts * (ratio - 1)) / ratio).sum(axis=1))
            enough = np.flatnonzero(0.5 * expected >= nats)
            found.append(nats[enough[0] if len(enough) else -1] / LOG_2)
        return np.array(found)

    def mean(self, errors: Coordinates, groups: Groups | None) -> Coordinates:
        """See `StepPrior`: sqrt(g) e / sqrt(1 + g v)."""
        assert groups is not None
        mean: Coordinates = errors * (math.sqrt(self.gap) * groups.each_std).astype(np.float32)
        return mean

    def displacement(self, sample: Coordinates, groups: Groups | None) -> Coordinates:
        """See `StepPrior`."""
        assert groups is not None
        return self.transform.inverse((sample / groups.each_std).astype(np.float32))
