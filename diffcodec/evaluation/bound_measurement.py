"""Result of measuring the bound of images: every term, and the rates and distortions that follow.

Ho et al. (2020), section 4.3, Figure 5 and Table 4. All rates are ideal, in bits per subpixel (`bpd`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffcodec.config import GREY_LEVELS_PER_UNIT, VarianceKind
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import ConfigError
from diffcodec.evaluation.records import Row, summarise
from diffcodec.images.error import psnr_db

FloatArray = NDArray[np.float64]
RateKind = Literal["fixedsmall", "fixedlarge", "learned", "fine"]

"""[-1, 1] is 255 grey levels wide."""


@dataclass(frozen=True, eq=False)
class BoundMeasurement:
    """The bound of some images, every term of every image.

    Arrays have shape (T + 1, N) and are indexed by the timestep, like those of the schedule; x_0 is the image.

    Args:
        schedule: of the measurement, T timesteps.
        dims: subpixels of one image.
        seed: of the noise.
        clip_denoised: whether the x_0 estimates were clipped to [-1, 1], as the paper does.
        terms_fixedsmall: `[t]` is L_t in bits/dim, from L_0 (the decoder) to L_T (the prior term), with variances
            beta_tilde in p, equal to q's. L_0 uses beta_tilde of step 2.
        terms_fixedlarge: the same with variances beta_t; L_0 with beta_1.
        rate_fine: `[t]` is the rate up to level t with ever finer steps, 1/2 integral of ||x_0 - xhat_0||^2 d(SNR) over
            SNR 0 to SNR(t), in bits/dim; `[0]` is that of t = 1 plus L_0 of `fixedsmall`.
        mse: `[t]` is the mean squared error of the x_0 estimate from x_t, clipped but not rounded, in [-1, 1] units,
            as in the terms, the rates and the paper's RMSE. `[0]` is 0: x_0 is known.
        grey_mse_rounded: of the same estimate as an 8-bit picture, clipped to 0...255 and rounded, in squared grey
            levels. Only for comparison with files.
        terms_learned: the terms with learned variances; None if the model has none.
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
        """Terms by variance: the two fixed ones, and the learned one if there is one."""
        fixed: dict[VarianceKind, FloatArray]
        fixed = {"fixedsmall": self.terms_fixedsmall, "fixedlarge": self.terms_fixedlarge}
        return fixed if self.terms_learned is None else {**fixed, "learned": self.terms_learned}

    @property
    def rate_kinds(self) -> tuple[RateKind, ...]:
        """Valid arguments of `rates`."""
        return (*self.terms, "fine")

    @property
    def grey_mse(self) -> FloatArray:
        """`mse` in squared grey levels; the paper's RMSE is its root. (T + 1, N)."""
        return np.asarray(self.mse * GREY_LEVELS_PER_UNIT**2)

    def rates(self, kind: RateKind) -> FloatArray:
        """Bits/dim spent until x_t is known: L_T + ... + L_t; at t = 0 the bound on the codelength. (T + 1, N)."""
        return self.rate_fine if kind == "fine" else np.cumsum(self.terms[kind][::-1], axis=0)[::-1]

    def timestep_after(self, steps_done: int) -> int:
        """The t of a row of Table 4, whose first column is T - t + 1.

        That row has the rate L_T + ... + L_t and the distortion of the estimate from x_t. The last row proves this:
        at 1,000 steps the rate is 1.776, section 4.3's L_1 + ... + L_T = 1.78; it does not include L_0 = 1.97 of the
        bound of 3.75, so x_1 is known but not x_0: t = 1.

        Raises:
            ConfigError: if there are fewer than `steps_done` steps.
        """
        steps = self.schedule.steps
        if not 1 <= steps_done <= steps:
            raise ConfigError(f"steps done: expected 1 to {steps}, found {steps_done}")
        return steps - steps_done + 1

    def rows(self, timestep: int) -> list[Row]:
        """Rates and distortions of every image at x_t, t >= 1.

        `ideal_bits` and `ideal_bpd` are the paper's rate (`fixedlarge`); `mse`, `rmse` and `psnr_db` are those of the
        clipped estimate in grey levels, as in the paper; the `_rounded` ones those of the 8-bit picture.
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
                "psnr_db": psnr_db(clipped[image]) if clipped[image] else None,
                "mse_rounded": float(rounded[image]),
                "rmse_rounded": math.sqrt(rounded[image]),
            }
            for image in range(self.mse.shape[1])
        ]

    def bound_rows(self) -> list[Row]:
        """Every image's bound and its parts in bits/dim.

        `L_fixedsmall`, `L_fixedlarge` and, if the model has it, `L_learned` are L_1 + ... + L_{T-1}. Totals add L_T
        and L_0 of the same kind, except `total_fine`, the fine limit and `L_0_fixedsmall`, and `total_paper`, steps of
        `fixedlarge` but `L_0_fixedsmall`: the paper's code uses that decoder, the better one, for both kinds.
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
        """Means over the images for t = T...1, as in Figure 5; `bpd_` is L_{t-1}, `rate_` is up to x_t.

        The paper does not say whether its RMSE is the root of the mean or the mean of the roots, so both are included.
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
            steps_done: T - t + 1 of the points, rising; None: ten points, as in Table 4.

        Raises:
            ConfigError: if there are fewer than `steps_done` steps.
        """
        points = []
        for done in steps_done or table_4_steps(self.schedule.steps):
            rows = self.rows(self.timestep_after(done))
            points.append(
                {
                    "setting": f"{done} steps done",
                    "parameter": float(done),
                    "timestep": self.timestep_after(done),
                    "rows": rows,
                    "summary": summarise(rows, seed=self.seed),
                }
            )
        return {"points": points, **self.without_points(self.seed)}

    def without_points(self, seed: int) -> dict[str, Any]:
        """`terms`, and `bound` with its summary and rows; `seed` is that of the bootstrap."""
        bound = self.bound_rows()
        return {"bound": {**summarise(bound, seed=seed), "rows": bound}, "terms": self.term_means()}


def table_4_steps(steps: int) -> list[int]:
    """T - t + 1 of the rows of Table 4 for T steps: every tenth of them, rising."""
    return sorted({round(steps * tenth / 10) for tenth in range(1, 11)} - {0})
