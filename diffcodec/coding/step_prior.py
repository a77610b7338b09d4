"""p(x_s | x_t), what the receiver knows of a step before it arrives, in coded coordinates.

p has the mean that the estimate xhat_0 implies. Its variance is q's, or, much better with few steps, also includes the
error of the estimate: in a transform where the error has variance v, with g = SNR(s) - SNR(t), p's variance is
(1 + g v) times that of q. A step then costs 1/2 log(1 + g v) nats per coefficient on average, instead of g v / 2.
docs/method.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel import Groups, PendingGroups, StreamKey, shared_rough_normals
from diffcodec.channel.information import LOG_2
from diffcodec.coding.band_transform import BandTransform
from diffcodec.model.levels import BITS_SCALE, SNR_SCALE, Level, LevelList
from diffcodec.model.tables import INFORMATION_SCALE, MAX_SHIFT, OCTAVE_STEPS, UNSENT_SCALE, Variances

Number = TypeVar("Number", bound=np.generic)

Coordinates = NDArray[np.float32]
"""Of N pictures, shape (N, dims)."""


UNSENT_LANE = 1
"""Lane of the shared noise for coefficients that are not sent."""


class StepPrior(Protocol):
    """p of one step, for a batch of pictures of one size."""

    @property
    def dims(self) -> int:
        """Number of coefficients that are sent."""

    @property
    def expected_bits(self) -> int:
        """The step's information expected by the tables, in 1 / BITS_SCALE bits; integers only."""

    def groups(self, information: Sequence[int]) -> Groups | None:
        """The std of q in units of p for groups of coefficients, given the information each message will deliver.

        Args:
            information: in 1 / BITS_SCALE bits, one per picture.

        Returns:
            None if q and p have equal variances.
        """

    def pending(self, information: int) -> PendingGroups:
        """As `groups`, for one picture; nothing is made for every coefficient yet."""

    def coefficients(self, coordinates: Coordinates) -> Coordinates:
        """Coded coordinates in the transform of p."""

    def divergence(self, errors: Coordinates) -> NDArray[np.float64]:
        """KL(q || p) in bits, (N,), for errors of the estimate (all coefficients), with the best variances for each."""

    def mean(self, errors: Coordinates, groups: Groups | None) -> Coordinates:
        """Mean of q in units of p, for errors of the estimate (all coefficients): of those that are sent."""

    def displacement(self, sample: Coordinates, groups: Groups | None, keys: Sequence[StreamKey]) -> Coordinates:
        """Coded coordinates of x_s - mean of p, in units of q's standard deviation, for a sample in units of p.

        Args:
            sample: of the coefficients that are sent, (N, dims).
            groups: see `groups`.
            keys: of the shared noise of the others: one per picture, or one for all.
        """


@dataclass(frozen=True)
class EqualVariances:
    """p with the variance of q.

    Args:
        levels: the list that the trajectory follows.
        step: running number.
        end: level that it leads to.
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
        """g / 2 times the level list's expected squared error."""
        return self.levels.expected_bits(self.step, self.end, self.dims)

    def groups(self, information: Sequence[int]) -> None:
        """None: q and p have equal variances."""

    def pending(self, information: int) -> PendingGroups:
        """None, when called."""
        return PendingGroups(lambda: None)

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

    def displacement(self, sample: Coordinates, groups: Groups | None, keys: Sequence[StreamKey]) -> Coordinates:
        """The sample itself."""
        return sample


@dataclass(frozen=True)
class BandVariances:
    """p with a variance per band, from the model's table, times one factor per picture.

    The factor is not sent: it is the one that makes the table's expected information equal to what the message's
    length, sent first, announces. Which coefficients form a group, and where the message puts them, depends on
    integers only.

    Args:
        transform: defines the bands.
        variances: the table.
        levels: the list that the trajectory follows.
        step: running number.
        end: level that it leads to.
        gap: g, the SNR it gains.
    """

    transform: BandTransform
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
    def _all_counts(self) -> NDArray[np.int64]:
        """Number of coefficients of every group, sent or not."""
        return np.bincount(self._groups[1], self.transform.counts(self.variances.bands)).astype(np.int64)

    @cached_property
    def _is_sent(self) -> NDArray[np.bool_]:
        """Whether each group is sent: not the weakest ones, which together hold `unsent_share` of the information."""
        information = np.cumsum(self._all_counts * self.variances.expected(self._groups[0]))
        sent: NDArray[np.bool_] = information * UNSENT_SCALE >= information[-1] * self.variances.unsent_share
        return sent

    @cached_property
    def _sent(self) -> NDArray[np.bool_] | None:
        """Whether each coefficient is sent, of all of them; None if all are."""
        return None if self._is_sent.all() else self._is_sent[self._groups[1]][self.transform.band]

    @cached_property
    def _of(self) -> NDArray[np.uint16]:
        """The group of every coefficient that is sent, shape (dims,)."""
        return self._groups[1][self._selected(self.transform.band)]

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Number of coefficients of every group that are sent."""
        return np.where(self._is_sent, self._all_counts, 0)

    @property
    def dims(self) -> int:
        """Number of coefficients of the groups that are sent."""
        return int(self._counts.sum())

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
        """The table's expectation at shift 0."""
        return int(self._expected[MAX_SHIFT]) * BITS_SCALE // INFORMATION_SCALE

    def groups(self, information: Sequence[int]) -> Groups:
        """At the least shift of the variances with which that much is expected, or else the largest."""
        places = self._places(information)
        return Groups(self._of, 1 / np.sqrt(self._variance_ratio(places - MAX_SHIFT)), self._weights[places])

    def pending(self, information: int) -> PendingGroups:
        """As `groups`, from the number of coefficients in every band."""
        (place,) = self._places([information])
        return PendingGroups(partial(self.groups, [information]), self._weights[place], self._counts)

    def _places(self, information: Sequence[int]) -> NDArray[np.int64]:
        """Rows of `_weights` with which that much is expected."""
        wanted = np.array(information, np.int64) * (INFORMATION_SCALE // BITS_SCALE)
        return np.searchsorted(self._expected[:-1], wanted).astype(np.int64)

    def _variance_ratio(self, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
        """1 + g v of every group at some shifts, the ratio of p's variance to q's; (shifts, groups).

        From the exact gap, which the integer octaves round.
        """
        rounding = math.log2(self.gap) * OCTAVE_STEPS - self._gap_octaves
        octaves = self._groups[0] + shifts[:, None] + rounding
        ratio: NDArray[np.float64] = 1 + np.exp2(octaves / OCTAVE_STEPS)
        return ratio

    def coefficients(self, coordinates: Coordinates) -> Coordinates:
        """The band transform."""
        return self.transform.forward(coordinates)

    def divergence(self, errors: Coordinates) -> NDArray[np.float64]:
        """At the shift where the table expects the actual divergence, which is nearly the shift where it is least."""
        ratio = self._variance_ratio(np.arange(-MAX_SHIFT, MAX_SHIFT + 1))
        counts = self._counts
        expected = np.log(ratio) @ counts
        found = []
        for picture in self._selected(errors):
            energy = self.gap * np.bincount(self._of, np.square(picture), len(counts))
            nats = 0.5 * (expected + ((energy - counts * (ratio - 1)) / ratio).sum(axis=1))
            enough = np.flatnonzero(0.5 * expected >= nats)
            found.append(nats[enough[0] if len(enough) else -1] / LOG_2)
        return np.array(found)

    def mean(self, errors: Coordinates, groups: Groups | None) -> Coordinates:
        """sqrt(g) e / sqrt(1 + g v)."""
        assert groups is not None
        scale = (math.sqrt(self.gap) * groups.std).astype(np.float32)
        mean: Coordinates = self._selected(errors) * scale[:, self._of]
        return mean

    def displacement(self, sample: Coordinates, groups: Groups | None, keys: Sequence[StreamKey]) -> Coordinates:
        """The inverse transform of sample * sqrt(1 + g v); shared noise, a draw of p, where nothing is sent."""
        assert groups is not None
        scaled = sample / groups.each_std
        if self._sent is not None:
            complete = np.empty((len(sample), len(self._sent)), np.float32)
            complete[:, self._sent] = scaled
            unsent = ~self._sent
            noise = [shared_rough_normals(key, UNSENT_LANE, int(unsent.sum())) for key in keys]
            complete[:, unsent] = np.stack(noise)
            scaled = complete
        return self.transform.inverse(scaled)

    def _selected(self, of_all: NDArray[Number]) -> NDArray[Number]:
        """The values of the coefficients that are sent, of values of all coefficients, (..., all)."""
        return of_all if self._sent is None else of_all[..., self._sent]


def gap_octaves(start: Level | None, end: Level) -> int:
    """log2(SNR(end) - SNR(start)) in units of 1 / OCTAVE_STEPS, rounded down; start None has SNR 0.

    n lies in 2^(k / 8) to 2^((k + 1) / 8) exactly if n^8 has k + 1 bits.
    """
    gap = max(1, end.snr - (start.snr if start else 0))
    power: int = gap**OCTAVE_STEPS
    return power.bit_length() - 1 - OCTAVE_STEPS * (SNR_SCALE.bit_length() - 1)
