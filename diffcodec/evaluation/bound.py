"""The paper's measurement: the variational bound term by term, and rate against distortion without a coder.

Ho et al. (2020), section 4.3, Figure 5 and Table 4: at every timestep an independent x_t ~ q(x_t | x_0), never the
chain that a codec walks. No file is written; all rates are ideal ones, in bits per subpixel (`bpd`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffcodec.config import VarianceKind
from diffcodec.diffusion.denoiser import Denoiser, Estimate, Estimator, NoisePredictor
from diffcodec.diffusion.gaussian import GaussianDiffusion
from diffcodec.diffusion.schedule import NoiseLevel, NoiseSchedule
from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.records import Row, summarise

FloatArray = NDArray[np.float64]
RateKind = Literal["fixedsmall", "fixedlarge", "learned", "fine"]

GREY_LEVELS_PER_UNIT = 127.5
"""[-1, 1] is 255 grey levels wide."""

FINE_RATIO = 1.1
"""Where the SNR grows by more than this from a timestep to the next, levels are put between them."""


@dataclass(frozen=True, eq=False)
class BoundMeasurement:
    """The bound of some images, every term of every image.

    Arrays have shape (T + 1, N) and are indexed by the timestep, as the schedule's are; x_0 is the image.

    Args:
        schedule: that of the measurement, T timesteps.
        dims: subpixels of one image.
        seed: of the noise.
        clip_denoised: whether the x_0 estimates were clipped to [-1, 1], as the paper does.
        terms_fixedsmall: `[t]` is L_t in bits/dim, from L_0 (the decoder) to L_T (the prior term), with variances
            beta_tilde in p, equal to q's. L_0 is taken with beta_tilde of the second step.
        terms_fixedlarge: the same with variances beta_t; L_0 with beta_1.
        rate_fine: `[t]` is the rate up to level t with ever finer steps, 1/2 integral of ||x_0 - xhat_0||^2 d(SNR) over
            SNR 0 to SNR(t), in bits/dim; `[0]` is the one of t = 1 and L_0 of `fixedsmall`.
        mse: `[t]` is the mean squared error of the x_0 estimate from x_t, clipped but not rounded, in [-1, 1] units:
            the one in the terms, the rates and the paper's RMSE. `[0]` is 0: x_0 is known.
        grey_mse_rounded: of the same estimate as an 8-bit picture: clipped to 0...255 and rounded, in squared grey
            levels. To be compared with files; nothing else here is made from it.
        terms_learned: the terms with the variances that the model has learned, if it has.
    """

    schedule: NoiseSchedule
    dims: int
    seed: int
    clip_denoised: bool
    terms_fixedsmall: FloatArray
    terms_fixedlarge: FloatArray
    rate_fine: FloatArray
    mse: FloatArray
    grey_mse_rounded: FloatArray
    terms_learned: FloatArray | None = None

    @property
    def terms(self) -> dict[VarianceKind, FloatArray]:
        """Those of each variance: two that every model has, and the learned one."""
        fixed: dict[VarianceKind, FloatArray]
        fixed = {"fixedsmall": self.terms_fixedsmall, "fixedlarge": self.terms_fixedlarge}
        return fixed if self.terms_learned is None else {**fixed, "learned": self.terms_learned}

    @property
    def rate_kinds(self) -> tuple[RateKind, ...]:
        """What `rates` takes."""
        return (*self.terms, "fine")

    @property
    def grey_mse(self) -> FloatArray:
        """`mse` in squared grey levels; the paper's RMSE is the root of it. (T + 1, N)."""
        return np.asarray(self.mse * GREY_LEVELS_PER_UNIT**2)

    def rates(self, kind: RateKind) -> FloatArray:
        """Bits/dim spent until x_t is known: L_T + ... + L_t; at t = 0 the bound on the codelength. (T + 1, N)."""
        return self.rate_fine if kind == "fine" else np.cumsum(self.terms[kind][::-1], axis=0)[::-1]

    def timestep_after(self, steps_done: int) -> int:
        """The t of a row of Table 4, whose first column is T - t + 1.

        That row has the rate L_T + ... + L_t and the distortion of the estimate from x_t. The last row settles it:
        at 1,000 steps the rate is 1.776, section 4.3's L_1 + ... + L_T = 1.78; the L_0 = 1.97 that is missing from the
        bound of 3.75 is not yet spent, so x_1 is known and not x_0: t = 1.

        Raises:
            ConfigError: if there are not so many steps.
        """
        steps = self.schedule.steps
        if not 1 <= steps_done <= steps:
            raise ConfigError(f"steps done: expected 1 to {steps}, found {steps_done}: ask for fewer")
        return steps - steps_done + 1

    def rows(self, timestep: int) -> list[Row]:
        """What is known of every image at x_t, t >= 1.

        `ideal_bits` and `ideal_bpd` are the paper's rate (`fixedlarge`); `mse`, `rmse` and `psnr_db` are of the
        clipped estimate in grey levels, as in the paper; the `_rounded` ones of the 8-bit picture.
        """
        rates = {kind: self.rates(kind)[timestep] for kind in self.rate_kinds}
        clipped, rounded = self.grey_mse[timestep], self.grey_mse_rounded[timestep]
        return [
            {
                "image": image,
                "timestep": timestep,
                "ideal_bits": float(rates["fixedlarge"][image] * self.dims),
                "ideal_bpd": float(rates["fixedlarge"][image]),
                **{f"rate_{kind}": float(rate[image]) for kind, rate in rates.items()},
                "mse": float(clipped[image]),
                "rmse": math.sqrt(clipped[image]),
                "psnr_db": 10 * math.log10(255**2 / clipped[image]) if clipped[image] else None,
                "mse_rounded": float(rounded[image]),
                "rmse_rounded": math.sqrt(rounded[image]),
            }
            for image in range(self.mse.shape[1])
        ]

    def bound_rows(self) -> list[Row]:
        """Every image's bound and its parts in bits/dim.

        `L_fixedsmall`, `L_fixedlarge` and, of a model that has it, `L_learned` are L_1 + ... + L_{T-1}. Totals add L_T
        and L_0 of the same kind, except `total_fine`, the fine limit and `L_0_fixedsmall`, and `total_paper`, steps of
        `fixedlarge` but `L_0_fixedsmall`: the paper's code takes that decoder for both kinds, as it is the better one.
        """
        terms = self.terms
        columns = {
            "L_T": self.terms_fixedsmall[-1],
            **{f"L_{kind}": of_kind[1:-1].sum(axis=0) for kind, of_kind in terms.items()},
            "rate_fine": self.rate_fine[1],
            **{f"L_0_{kind}": of_kind[0] for kind, of_kind in terms.items()},
            **{f"total_{kind}": self.rates(kind)[0] for kind in self.rate_kinds},
            "total_paper": self.rates("fixedlarge")[1] + self.terms_fixedsmall[0],
        }
        return [
            {"image": image, **{name: float(column[image]) for name, column in columns.items()}}
            for image in range(self.mse.shape[1])
        ]

    def term_means(self) -> list[dict[str, float | int]]:
        """Means over the images for t = T...1, as Figure 5 draws them; `bpd_` is L_{t-1}, `rate_` is up to x_t.

        The paper does not say whether its RMSE is the root of the mean or the mean of the roots: both are here.
        """
        columns = {
            "mse": self.mse[1:].mean(axis=1),
            **{f"bpd_{kind}": terms[:-1].mean(axis=1) for kind, terms in self.terms.items()},
            **{f"rate_{kind}": self.rates(kind)[1:].mean(axis=1) for kind in self.rate_kinds},
            "rmse_of_mean": np.sqrt(self.grey_mse[1:].mean(axis=1)),
            "mean_of_rmse": np.sqrt(self.grey_mse[1:]).mean(axis=1),
        }
        steps = self.schedule.steps
        return [
            {"timestep": t, "steps_done": steps - t + 1, **{name: float(c[t - 1]) for name, c in columns.items()}}
            for t in range(steps, 0, -1)
        ]

    def to_json(self, steps_done: Sequence[int] | None = None) -> dict[str, Any]:
        """The measurement's part of a result file: `points`, `terms`, and `bound` with its summary and rows.

        Args:
            steps_done: T - t + 1 of the points, rising; ten of them, as in Table 4, if not given.

        Raises:
            ConfigError: if there are not so many steps.
        """
        points = []
        for done in steps_done or table_4_steps(self.schedule.steps):
            rows = self.rows(self.timestep_after(done))
            points.append({
                "setting": f"{done} steps done", "parameter": float(done), "timestep": self.timestep_after(done),
                "rows": rows, "summary": summarise(rows, seed=self.seed),
            })  # fmt: skip
        return {"points": points, **self.without_points(self.seed)}

    def without_points(self, seed: int) -> dict[str, Any]:
        """`terms`, and `bound` with its summary and rows; `seed` is that of the bootstrap."""
        bound = self.bound_rows()
        return {"bound": {**summarise(bound, seed=seed), "rows": bound}, "terms": self.term_means()}


def table_4_steps(steps: int) -> list[int]:
    """T - t + 1 of the rows of Table 4 for T steps: every tenth of them, rising."""
    return sorted({round(steps * tenth / 10) for tenth in range(1, 11)} - {0})


def evaluation_levels(schedule: NoiseSchedule, ratio: float = FINE_RATIO) -> list[tuple[NoiseLevel, int | None]]:
    """Where the network is evaluated, from noise to image: the timesteps T...1, and levels between them without one.

    Levels in between are spaced evenly in log SNR, so that no gap is wider than `ratio`. The error of a Gaussian
    source falls as 1 / (c + SNR), for which the trapezoid over such a gap is at most 0.15 % too high, and never too
    low, as the curve is convex. The paper's schedule has 1,034 levels.

    Raises:
        ConfigError: if the ratio is not above 1.
    """
    if not ratio > 1:
        raise ConfigError(f"ratio of SNRs: expected more than 1, found {ratio}")
    levels: list[tuple[NoiseLevel, int | None]] = [(schedule.level(schedule.steps), schedule.steps)]
    for t in range(schedule.steps - 1, 0, -1):
        start, end = float(schedule.log_snr[t + 1]), float(schedule.log_snr[t])
        gaps = math.ceil((end - start) / math.log(ratio))
        levels += [(NoiseLevel(float(value)), None) for value in np.linspace(start, end, gaps + 1)[1:-1]]
        levels.append((schedule.level(t), t))
    return levels


@torch.no_grad()
def measure_bound(
    predictor: NoisePredictor, schedule: NoiseSchedule, images: Tensor, *, seed: int = 0, batch_size: int = 50,
    clip_denoised: bool = True, progress: Callable[[int], None] = lambda done: None,
) -> BoundMeasurement:  # fmt: skip
    """The bound of every image with an independent x_t ~ q(x_t | x_0) at every timestep (section 4.3).

    One evaluation for each image and level of `evaluation_levels` serves all variances, the fine limit and the
    distortion. The noise does not depend on the batch size or the device.

    Args:
        predictor: the model, such as a `Denoiser`, or any function of the kind; a module is fed on its own device.
        schedule: timesteps and their noise levels.
        images: (N, 3, H, W), uint8, of a size that the model takes.
        seed: of the noise.
        batch_size: images at a time; few images are evaluated at several levels at a time.
        clip_denoised: clip the x_0 estimate to [-1, 1], as the paper does.
        progress: told the number of levels done, of `len(evaluation_levels(schedule))`.

    Raises:
        ImageError: if the images are of another type or shape, or none.
        ConfigError: if the batch size is not positive.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ImageError(
            f"expected uint8 images (N, 3, H, W), found {images.dtype} {tuple(images.shape)}: pass 8-bit pixels"
        )
    if batch_size < 1:
        raise ConfigError(f"batch size: expected at least 1, found {batch_size}")
    parameter = next(predictor.parameters(), None) if isinstance(predictor, nn.Module) else None
    device = torch.device("cpu") if parameter is None else parameter.device
    processes = processes_of(schedule, predictor, clip_denoised=clip_denoised)
    generator = torch.Generator().manual_seed(seed)
    # The network works in float32; everything after it in float64, on the CPU.
    x_0 = images.cpu().double() / GREY_LEVELS_PER_UNIT - 1
    shape = (schedule.steps + 1, len(images))
    rate_fine, mse, rounded = (np.zeros(shape) for _ in range(3))
    terms = {kind: np.zeros(shape) for kind in processes}
    for of_kind in terms.values():
        of_kind[-1] = processes["fixedsmall"].prior_term(x_0).bpd.numpy()

    area = np.zeros(len(images))
    snr_before = 0.0
    error_before: FloatArray | None = None
    levels = evaluation_levels(schedule)
    only_levels = [level for level, _ in levels]
    estimates = estimates_at(processes["fixedsmall"], only_levels, x_0, generator, batch_size, device)
    for done, ((level, t), (x_t, estimate)) in enumerate(zip(levels, estimates, strict=True), start=1):
        error = ((x_0 - estimate.x_0) ** 2).mean(dim=(1, 2, 3)).numpy()
        if error_before is None:
            error_before = error  # from SNR 0 to the noisiest timestep, where x_t says next to nothing
        area += 0.5 * (error_before + error) * (level.snr - snr_before)
        snr_before, error_before = level.snr, error
        if t is not None:
            for kind, process in processes.items():
                terms[kind][t - 1] = process.bound_term_given(estimate, x_0, x_t.double(), t).bpd.numpy()
            rate_fine[t] = 0.5 * area / math.log(2)
            mse[t] = error
            grey = ((estimate.x_0 + 1) * GREY_LEVELS_PER_UNIT).round().clamp(0, 255)
            rounded[t] = ((grey - images.cpu()) ** 2).mean(dim=(1, 2, 3)).numpy()
        progress(done)
    rate_fine[0] = rate_fine[1] + terms["fixedsmall"][0]
    return BoundMeasurement(
        schedule, images[0].numel(), seed, clip_denoised, terms["fixedsmall"], terms["fixedlarge"], rate_fine, mse,
        rounded, terms.get("learned"),
    )  # fmt: skip


def processes_of(
    schedule: NoiseSchedule, predictor: NoisePredictor, *, clip_denoised: bool
) -> dict[VarianceKind, GaussianDiffusion]:
    """The process of each variance: two that every model has, and the learned one."""
    kinds: list[VarianceKind] = ["fixedsmall", "fixedlarge"]
    if isinstance(predictor, Denoiser) and predictor.config.variance == "learned":
        kinds.append("learned")
    return {kind: GaussianDiffusion(schedule, predictor, clip_denoised=clip_denoised, variance=kind) for kind in kinds}


def estimates_at(
    diffusion: GaussianDiffusion, levels: Sequence[NoiseLevel], x_0: Tensor, generator: torch.Generator,
    batch_size: int, device: torch.device,
) -> Iterator[tuple[Tensor, Estimate]]:  # fmt: skip
    """x_t ~ q(x_t | x_0) (float32) and what the model makes of it (float64) at every level, for all images.

    Args:
        diffusion: the model, and whether its estimates are clipped.
        levels: where to ask it.
        x_0: (N, 3, H, W), float64 in [-1, 1].
        generator: of the noise, level by level.
        batch_size: images at a time, of one level or of several.
        device: where the model is; results are on the CPU.
    """
    at_once = max(1, batch_size // len(x_0))
    for start in range(0, len(levels), at_once):
        block = levels[start : start + at_once]
        x_t = torch.cat(
            [level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=generator) for level in block]
        ).float()
        # alpha, sigma and log SNR of every row; in float64 until they meet the network's numbers.
        rows = [(level.alpha, level.sigma, level.log_snr) for level in block for _ in x_0]
        coefficients = torch.tensor(rows, dtype=torch.float64).float()
        batches = zip(torch.split(x_t, batch_size), torch.split(coefficients, batch_size), strict=True)
        parts = [_estimate(diffusion.predictor, part.to(device), values.to(device)) for part, values in batches]
        estimates = torch.cat(parts, dim=1)
        if diffusion.clip_denoised:
            estimates[0].clamp_(-1, 1)
        for x, found in zip(torch.split(x_t, len(x_0)), torch.split(estimates, len(x_0), dim=1), strict=True):
            yield x, Estimate(*found)


def _estimate(predictor: NoisePredictor, x_t: Tensor, coefficients: Tensor) -> Tensor:
    """x_0 and, of a model that learns them, where its variances lie; (1 or 2, B, 3, H, W), float64 on the CPU."""
    alpha, sigma, log_snr = coefficients.unbind(dim=1)
    if isinstance(predictor, Estimator):
        estimate = predictor.estimate(x_t, log_snr)
        parts = [estimate.x_0] if estimate.variance_mix is None else [estimate.x_0, estimate.variance_mix]
    else:
        parts = [(x_t - sigma[:, None, None, None] * predictor(x_t, log_snr)) / alpha[:, None, None, None]]
    return torch.stack(parts).cpu().double()
