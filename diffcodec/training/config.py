"""Training settings."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from diffcodec.json_config import JsonConfig, require

LossKind = Literal["simple", "vlb"]
TimeKind = Literal["continuous", "discrete"]
OptimizerKind = Literal["adamw", "muon"]
WeightingKind = Literal["bound", "balanced"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig(JsonConfig):
    """Training settings.

    Args:
        loss: `simple` is the unweighted squared error of the network's prediction (L_simple of Ho et al. 2020 if it
            predicts eps), plus, for learned variances, a small multiple of the bound (Nichol & Dhariwal 2021,
            L_hybrid); `vlb` is the variational bound. docs/objectives.md has the equations.
        time: of `vlb`: `continuous` is the limit of ever finer steps, for `fixedsmall` variances; `discrete` the bound
            of the schedule's timesteps, with its decoder L_0. `simple` always draws timesteps.
        optimizer: `adamw`, or `muon` for the convolutions with AdamW for the rest.
        learning_rate: peak learning rate (of AdamW; Muon's is `muon_learning_rate`).
        muon_weight_decay: of Muon, decoupled. It bounds the norms of kernels by about its inverse, which keeps networks
            without normalisation well conditioned, and the relative size of steps constant.
        weight_decay: of AdamW, decoupled.
        warmup_images: images over which the learning rate rises linearly.
        final_learning_rate: fraction of the peak at the end of the cosine decay; 1 means no decay.
        adam_beta2: AdamW's decay of the mean squared gradient, per step.
        gradient_clip: maximum norm of the gradient.
        ema_decay: of the weights' exponential moving average, per step.
        coarse_weight: factor of the vlb loss at log SNRs below `coarse_below`. These levels hold few bits, and so
            little of the bound, but everything that is visible of a picture at low rates.
        coarse_share: share of the images that get a log SNR below `coarse_below`, in continuous time; 0: proportional
            to that part of the range.
        log_snr_range: range of log SNRs, in nats, that levels are drawn from in continuous time, for a network that
            becomes one of several experts; empty: all of the model's.
        weighting: of the vlb loss in continuous time. `bound`: uniform. `balanced`: the error at every level relative
            to its running mean, so that an improvement in dB has the same weight at all levels.
        decay_share: share of the run, at its end, over which the learning rate falls along a cosine; before, it is
            constant. A run with a share of 0 can be resumed to any later end.
        flips: mirror images left to right with probability 1/2.
        rotations: rotate images by random multiples of 90 degrees; with `flips`, all eight symmetries of the square.
        average_widths: relative widths of further averages over the run, as in EDM2 (Karras et al. 2024): averages of
            any width can be made from their snapshots afterwards (`training.averages`).
    """

    loss: LossKind = "vlb"
    time: TimeKind = "continuous"
    optimizer: OptimizerKind = "adamw"
    batch_size: int = 64
    learning_rate: float = 8e-4
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.0
    weight_decay: float = 0.0
    warmup_images: int = 20_000
    final_learning_rate: float = 0.0
    adam_beta2: float = 0.99
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    coarse_weight: float = 1.0
    coarse_below: float = 3.0
    coarse_share: float = 0.0
    log_snr_range: tuple[float, ...] = ()
    weighting: WeightingKind = "bound"
    decay_share: float = 1.0
    flips: bool = True
    rotations: bool = False
    average_widths: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"batch_size: expected at least 1, found {self.batch_size}")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip", "coarse_weight"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name}: expected a positive number, found {value}")
        for name in ("weight_decay", "muon_weight_decay"):
            require(0 <= getattr(self, name) < math.inf, f"{name}: expected 0 or more, found {getattr(self, name)}")
        require(self.warmup_images >= 0, f"warmup_images: expected 0 or more, found {self.warmup_images}")
        require(math.isfinite(self.coarse_below), f"coarse_below: expected a log SNR, found {self.coarse_below}")
        require(
            not self.log_snr_range or (len(self.log_snr_range) == 2 and self.log_snr_range[0] < self.log_snr_range[1]),
            f"log_snr_range: expected two increasing log SNRs, found {self.log_snr_range}",
        )
        for name in ("coarse_share", "decay_share"):
            require(0 <= (value := getattr(self, name)) <= 1, f"{name}: expected 0 to 1, found {value}")
        require(
            all(0.01 <= width <= 0.28 for width in self.average_widths),
            f"average_widths: expected widths from 0.01 to 0.28, found {self.average_widths}",
        )
        require(0 <= self.seed < 1 << 32, f"seed: expected 0 to {(1 << 32) - 1}, found {self.seed}")
        require(0 <= self.adam_beta2 < 1, f"adam_beta2: expected 0 <= adam_beta2 < 1, found {self.adam_beta2}")
        require(0 <= self.ema_decay < 1, f"ema_decay: expected 0 <= ema_decay < 1, found {self.ema_decay}")
        require(
            0 <= self.final_learning_rate <= 1,
            f"final_learning_rate: expected a fraction, found {self.final_learning_rate}",
        )
