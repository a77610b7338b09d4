"""Configurations of schedules and models."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from diffcodec.config.latent import LatentConfig
from diffcodec.config.networks import ExternalNetworkConfig, PlainUNetConfig, UNetConfig
from diffcodec.json_config import JsonConfig, require

PredictionKind = Literal["eps", "mean", "x0", "v"]
VarianceKind = Literal["fixedsmall", "fixedlarge", "learned"]
ScheduleKind = Literal["linear", "scaled_linear", "cosine", "betas"]

LEAST_BETA = 1e-30
"""Smallest beta: far below that of any schedule, but large enough for a finite SNR of the first timestep."""

SMALL_PICTURE_MARGIN = 2.0
"""How far below `ModelConfig.half_resolution_below` the network's training range extends, in nats."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(JsonConfig):
    """The noise added by each step of the forward process (`diffcodec.diffusion.betas`).

    Args:
        steps: T, the number of betas.
        beta_start, beta_end: the first and the last, for `linear` and `scaled_linear`.
        kind: `linear` as in Ho et al. (2020); `scaled_linear` betas have linear square roots (Rombach et al. 2022);
            `cosine` as in Nichol & Dhariwal (2021), eq. 17; `betas` are listed explicitly.
        betas: T values for the kind `betas`, else empty.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    kind: ScheduleKind = "linear"
    betas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        kinds = get_args(ScheduleKind)
        require(self.kind in kinds, f"kind: expected one of {', '.join(kinds)}, found {self.kind!r}")
        require(
            isinstance(self.steps, int) and 1 <= self.steps <= 4095,
            f"steps: expected an integer from 1 to 4095, found {self.steps!r}",
        )
        require(
            0 < self.beta_start <= self.beta_end < 1,
            f"betas: expected 0 < beta_start <= beta_end < 1, found {self.beta_start} and {self.beta_end}",
        )
        given = self.steps if self.kind == "betas" else 0
        require(len(self.betas) == given, f"betas: expected {given} for {self.kind!r}, found {len(self.betas)}")
        for beta in (self.beta_start, *self.betas):
            require(LEAST_BETA <= beta < 1, f"betas: expected numbers between {LEAST_BETA:g} and 1, found {beta}")


@dataclasses.dataclass(frozen=True)
class ModelConfig(JsonConfig):
    """A diffusion model: network, schedule, and parametrisation of the network's raw output.

    Args:
        prediction: the raw output is the noise `eps`, the image `x0`, `v = alpha eps - sigma x_0` (Salimans & Ho
            2022), or the `mean` of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 8).
        variance: of p(x_s | x_t) in sampling and in the bound: `fixedsmall` is that of q, beta_tilde; `fixedlarge` is
            beta; `learned` is interpolated between the two in log space by a second half of the network's channels
            (Nichol & Dhariwal 2021, eq. 15). The codec measures its own variances.
        data_std: `v` refers to a process whose data have unit variance: pixels in [-1, 1] divided by
            this. With it the raw output has unit variance at every noise level (as in EDM,
            Karras et al. 2022); 1 is the plain v.
        log_snr_min, log_snr_max: range of the network's noise levels, in nats; levels outside are clipped to it
            (beyond these ends the estimate hardly changes).
        half_resolution_below: log SNR below which pictures are estimated at half their resolution, where the log SNR is
            larger by ln 4; repeated as long as it is below this (`diffusion.pyramid`); None: never.
        latent: the signal, if the network works on latents of an autoencoder; None: it works on pixels.
    """

    network: UNetConfig | PlainUNetConfig | ExternalNetworkConfig
    schedule: ScheduleConfig = ScheduleConfig()
    prediction: PredictionKind = "eps"
    variance: VarianceKind = "fixedsmall"
    data_std: float = 1.0
    log_snr_min: float = -8.5
    log_snr_max: float = 9.6
    half_resolution_below: float | None = None
    latent: LatentConfig | None = None

    def __post_init__(self) -> None:
        require(1e-6 <= self.data_std <= 1e6, f"data_std: expected a positive number, found {self.data_std}")
        require(
            -64 <= self.log_snr_min < self.log_snr_max <= 64,
            f"log_snr: expected min < max within 64 of zero, found {self.log_snr_min} and {self.log_snr_max}",
        )
        require(
            self.latent is None or self.latent.channels == self.network.image_channels,
            f"latent.channels: expected {self.network.image_channels}, as the network has",
        )
        if self.half_resolution_below is not None:
            require(
                self.log_snr_min <= self.half_resolution_below < self.log_snr_max,
                f"half_resolution_below: expected a log SNR in the model's range, found {self.half_resolution_below}",
            )
            require(
                self.network.conditioning == "log_snr" and self.variance != "learned",
                "half_resolution_below: needs a network with log SNR as input, and variances that are not learned",
            )
            require(
                self.network.stride % 2 == 0,
                f"half_resolution_below: needs a network with an even stride, found {self.network.stride}",
            )

    @property
    def network_log_snr_min(self) -> float:
        """The noisiest level that the network itself is trained on, in nats.

        Pictures that are too small to be halved again are evaluated slightly below `half_resolution_below`.
        """
        if self.half_resolution_below is None:
            return self.log_snr_min
        return max(self.log_snr_min, self.half_resolution_below - SMALL_PICTURE_MARGIN)
