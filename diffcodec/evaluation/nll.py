"""The bound on the codelength of pictures in bits/dim, from all terms or from weighted random terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.config import GREY_LEVELS_PER_UNIT
from diffcodec.devices import full_precision
from diffcodec.diffusion.denoiser import Denoiser, NoisePredictor
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.diffusion.windows import MAX_WINDOW_PIXELS
from diffcodec.errors import ConfigError
from diffcodec.evaluation.bound import estimates_at, evaluation_levels, measure_bound, processes_of
from diffcodec.evaluation.bound_measurement import BoundMeasurement
from diffcodec.evaluation.datasets import same_size_batches
from diffcodec.evaluation.records import Row
from diffcodec.images import Picture

BOUND_BATCH = 2
"""Pictures whose bound is measured together; few, because a batch of the network contains many levels of each."""

BATCH_PIXELS = 1 << 16
"""Most pixels of several pictures that are measured together."""

Progress = Callable[[int], None]


def evaluations_per_picture(schedule: NoiseSchedule, terms: int | None = None) -> int:
    """Number of network evaluations for the bound of a picture.

    Args:
        schedule: of the model.
        terms: as for `measure_nll`.

    Raises:
        ConfigError: if there are too few terms.
    """
    levels = evaluation_levels(schedule)
    return len(levels if terms is None else level_strata(levels, terms))


def measure_nll(
    denoiser: Denoiser,
    pictures: Sequence[Picture],
    *,
    terms: int | None = None,
    seed: int = 0,
    batch_size: int = 24,
    progress: Progress = lambda done: None,
) -> list[Row]:
    """The bound of every picture and its parts.

    Args:
        denoiser: the model, with its schedule of any number of timesteps.
        pictures: of any sizes that the network supports.
        terms: number of random terms to evaluate per picture (see `sample_bound`); all terms if None.
        seed: of the noise, and of the choice of terms. Results do not depend on the batch size.
        batch_size: rows of a network evaluation; it may contain several levels of a picture.
        progress: called with the number of evaluations done, over all pictures.

    Returns:
        A row for each picture with the columns of `BoundMeasurement.bound_rows`.

    Raises:
        ConfigError: if a picture does not fit the network, or an option is out of range.
    """
    check_pictures(pictures, denoiser.config.network.stride)
    each = evaluations_per_picture(denoiser.schedule, terms)
    rows: list[Row] = []
    if terms is not None:
        for index, picture in enumerate(pictures):
            with full_precision(_device(denoiser)):
                row = sample_bound(
                    denoiser,
                    denoiser.schedule,
                    _stack([picture])[0],
                    terms=terms,
                    seed=derived_seed(seed, 2, index),
                    batch_size=batch_size,
                )
            rows.append({**row, "image": index})
            progress((index + 1) * each)
        return rows
    for indices in same_size_batches(pictures, BOUND_BATCH, BATCH_PIXELS):

        def report(levels: int, done: int = len(rows) * each, count: int = len(indices)) -> None:
            progress(done + levels * count)

        batch = [pictures[index] for index in indices]
        part = bound_of_batch(denoiser, batch, first=indices[0], seed=seed, batch_size=batch_size, progress=report)
        rows += [{**row, "image": index} for index, row in zip(indices, part.bound_rows(), strict=True)]
    return sorted(rows, key=lambda row: row["image"] or 0)


def bound_of_batch(
    denoiser: Denoiser,
    pictures: Sequence[Picture],
    *,
    first: int,
    seed: int,
    batch_size: int,
    progress: Progress = lambda done: None,
) -> BoundMeasurement:
    """The bound of a few pictures of one size, with their own noise.

    Args:
        denoiser: the model.
        pictures: a batch of `same_size_batches`.
        first: index of the first one in the data set, from which the noise's seed is derived.
        seed, batch_size: as for `measure_nll`.
        progress: called with the number of levels done.
    """
    with full_precision(_device(denoiser)):
        return measure_bound(
            denoiser,
            denoiser.schedule,
            _stack(pictures),
            seed=derived_seed(seed, 0, first),
            batch_size=batch_size,
            progress=progress,
        )


@torch.no_grad()
def sample_bound(
    predictor: NoisePredictor,
    schedule: NoiseSchedule,
    image: Tensor,
    *,
    terms: int,
    seed: int = 0,
    batch_size: int = 24,
    clip_denoised: bool = True,
) -> Row:
    """An unbiased estimate of an image's bound from some of its terms.

    All parts of the bound are sums over the levels of `evaluation_levels`: of the terms L_t, and in the fine limit of
    weighted errors (trapezoid rule). The levels are divided into `terms` groups (`level_strata`); from each group one
    level is drawn and counts for the whole group. With as many terms as levels it is the complete measurement.

    Args:
        predictor: the model; a module is evaluated on its own device.
        schedule: timesteps and their noise levels.
        image: uint8, (3, H, W).
        terms: number of evaluations, 3 or more; at most those of the complete measurement.
        seed: of the choice and of the noise.
        batch_size: levels at a time.
        clip_denoised: clip the x_0 estimate to [-1, 1], as the paper does.

    Returns:
        The columns of `BoundMeasurement.bound_rows`, except `image`.

    Raises:
        ConfigError: if there are too few terms.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = evaluation_levels(schedule)
    bits_per_error = _fine_weights(np.array([level.snr for level, _ in levels]))
    strata = level_strata(levels, terms)
    chosen = [group[int(torch.randint(len(group), (), generator=generator))] for group in strata]
    processes = processes_of(schedule, predictor, clip_denoised=clip_denoised)
    small = processes["fixedsmall"]
    x_0 = image.cpu().double()[None] / GREY_LEVELS_PER_UNIT - 1
    prior = float(small.prior_term(x_0).bpd)
    row = {"L_T": prior, "rate_fine": 0.0, **{f"{part}_{kind}": 0.0 for part in ("L", "L_0") for kind in processes}}
    noisy = [levels[place][0] for place in chosen]
    estimates = estimates_at(small, noisy, x_0, generator, batch_size, _device(predictor))
    for place, group, (x_t, estimate) in zip(chosen, strata, estimates, strict=True):
        row["rate_fine"] += len(group) * bits_per_error[place] * float(((x_0 - estimate.x_0) ** 2).mean())
        if (t := levels[place][1]) is not None:
            for kind, diffusion in processes.items():
                term = float(diffusion.bound_term_given(estimate, x_0, x_t.double(), t).bpd)
                row[f"{'L_0' if t == 1 else 'L'}_{kind}"] += len(group) * term
    return {
        **row,
        **{f"total_{kind}": prior + row[f"L_{kind}"] + row[f"L_0_{kind}"] for kind in processes},
        "total_fine": row["rate_fine"] + row["L_0_fixedsmall"],
        "total_paper": prior + row["L_fixedlarge"] + row["L_0_fixedsmall"],
    }


def _fine_weights(snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of the squared error at each level in 1/2 the integral over SNR, in bits, by the trapezoid rule.

    The first trapezoid starts at SNR 0 with the error of the noisiest level, as in `measure_bound`.
    """
    left, right = np.diff(snr, prepend=0.0), np.diff(snr, append=snr[-1])
    left[0] *= 2
    return np.asarray(0.25 * (left + right) / math.log(2))


def level_strata(levels: Sequence[tuple[NoiseLevel, int | None]], count: int) -> list[list[int]]:
    """Indices of levels in groups of neighbours, for stratified sampling of one level per group.

    t = 1 is its own group, because most of the bound is there. The other timesteps, and the levels between them,
    which have no L_t, are grouped separately: the group that is widest in log SNR is halved until there are enough,
    because the rate of natural images is spread most evenly over the log SNR.

    Args:
        levels: of `evaluation_levels`.
        count: number of groups, limited to the number of levels.

    Raises:
        ConfigError: if it is too small for one group of each kind.
    """
    last = len(levels) - 1
    timesteps = [place for place, (_, t) in enumerate(levels) if t is not None and t > 1]
    between = [place for place, (_, t) in enumerate(levels) if t is None]
    groups = [group for group in (timesteps, between, [last]) if group]
    if count < len(groups):
        raise ConfigError(f"terms: expected at least {len(groups)}, found {count}")

    def width(group: Sequence[int]) -> float:
        return levels[group[-1]][0].log_snr - levels[group[0]][0].log_snr

    while len(groups) < min(count, len(levels)):
        widest = max(groups, key=width)
        middle = levels[widest[0]][0].log_snr + width(widest) / 2
        groups.remove(widest)
        groups.append([place for place in widest if levels[place][0].log_snr <= middle])
        groups.append([place for place in widest if levels[place][0].log_snr > middle])
    return sorted(groups)


def check_pictures(pictures: Sequence[Picture], stride: int) -> None:
    """Check that a network can evaluate pictures as a whole, without padding or windows.

    Args:
        pictures: any.
        stride: of the network, in pixels.

    Raises:
        ConfigError: if it cannot evaluate all of them.
    """
    odd = sum(
        p.mode != "RGB" or p.width % stride > 0 or p.height % stride > 0 or p.width * p.height > MAX_WINDOW_PIXELS
        for p in pictures
    )
    if odd:
        raise ConfigError(
            f"expected colour pictures whose sides are multiples of {stride}, of at most {MAX_WINDOW_PIXELS} pixels; "
            f"{odd} of {len(pictures)} are not: crop or remove them"
        )


def derived_seed(seed: int, *place: int) -> int:
    """A distinct seed for a part of the work, so that no two parts have the same noise."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _device(predictor: NoisePredictor) -> torch.device:
    parameter = next(predictor.parameters(), None) if isinstance(predictor, torch.nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _stack(pictures: Sequence[Picture]) -> Tensor:
    """Pixels of RGB pictures of one size, (N, 3, H, W), uint8."""
    return torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2)
