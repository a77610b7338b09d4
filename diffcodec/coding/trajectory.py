"""The trajectory from noise to signal that encoder and decoder follow together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.channel import StreamKey, shared_rough_normals
from diffcodec.coding.context import StreamContext
from diffcodec.coding.reconstruction import MIRRORED_FROM_STEPS, ReconstructionKind
from diffcodec.coding.report import Stopwatch
from diffcodec.coding.signals import Signal
from diffcodec.coding.step_coding import StepCoder
from diffcodec.devices import device_of, evaluation_precision
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, posterior
from diffcodec.diffusion.windows import check_numbers, predict_x_0
from diffcodec.lossless.coder import LosslessCoder
from diffcodec.model.evaluation_profile import FLOAT32, EvaluationProfile
from diffcodec.model.levels import LOG_SNR_SCALE, Level

# Shared normals outside of the channel use step numbers that no step has.
START_NOISE_STEP = 1 << 32
REST_NOISE_STEP = 1 << 33


@dataclass(frozen=True)
class CodecContext(StreamContext):
    """What encoder and decoder of one kind of stream depend on.

    Args:
        denoiser: the network.
        signal: converts between pictures and states.
        half_precision: the levels at which the network is evaluated in bfloat16. Parsing does not depend on it.
        profile: what calibration measured of the network.
    """

    denoiser: Denoiser
    signal: Signal
    half_precision: EvaluationProfile = FLOAT32
    profile: EvaluationProfile = FLOAT32

    @property
    def steps(self) -> StepCoder:
        """Codes the steps."""
        return StepCoder(self)

    @property
    def lossless_coder(self) -> LosslessCoder:
        """The coder of the last step to t = 0, for a model with lossless tables."""
        assert self.tables.lossless is not None
        return LosslessCoder(self.tables.lossless, self.canvas.kind.coded_channels == 1, self.levels)

    def usual_reconstruction(self, log_snr: float) -> ReconstructionKind:
        """What `auto` stands for, for states at a log SNR.

        With a long level list, three more evaluations add little time.
        """
        usual = self.signal.usual_reconstruction(log_snr, self.canvas)
        waits = len(self.levels.levels) >= MIRRORED_FROM_STEPS
        return "mirrored" if usual == "mean" and waits and self.profile.gains_from_mirroring(log_snr) else usual

    def level_near(self, log_snr: float) -> NoiseLevel:
        """The level of a log SNR, or the nearest that the network was trained on."""
        schedule, config = self.denoiser.schedule, self.denoiser.config
        if config.network.conditioning == "timestep":
            return schedule.level(max(1, round(schedule.timestep(log_snr))))
        return NoiseLevel(min(log_snr, config.log_snr_max))

    def dtype_at(self, log_snr: float) -> torch.dtype:
        """Type of the numbers in which the network is evaluated at a level."""
        return torch.bfloat16 if self.half_precision.allows_bf16(log_snr) else torch.float32


class Trajectory:
    """The state that encoder and decoder share, moved from level to level.

    Args:
        context: network, tables, geometry, shared randomness.
        end: where the trajectory ends.
        count: signals in the batch.
        watch: measures the network's time.
    """

    def __init__(self, context: CodecContext, end: Level, count: int, watch: Stopwatch) -> None:
        self.context, self.watch = context, watch
        self.stops = context.levels.steps_to(end)
        self.device = device_of(context.denoiser)
        self.level = NoiseLevel(-math.inf)
        self._count = count
        self._x_t: Tensor | None = None
        self._estimate: Tensor | None = None  # at the current state, once computed

    @property
    def x_t(self) -> Tensor:
        """The current state, (N, C, H, W). The noise at the start is drawn when it is first needed.

        So a decoder that finds the first step damaged has drawn none. Never modified: the pictures of a batch, and
        forks, may share its memory.
        """
        if self._x_t is None:
            noise = torch.from_numpy(self._shared_noise(START_NOISE_STEP))
            self._x_t = noise.to(self.device).expand(self._count, -1, -1, -1)
        return self._x_t

    def _start_estimate(self) -> Tensor | None:
        """The constant that stands for the first estimate, (N, C, H, W); None if the network is to make it."""
        constant = self.context.signal.start(self.context.tables)
        if constant is None:
            return None
        start = self.context.signal.restrict(constant.to(self.device)[None, :, None, None])
        return start.expand(self._count, *self.context.canvas.shape)

    @property
    def timestep(self) -> float:
        """t of the current level, rounded to thousandths."""
        return round(float(self.context.denoiser.schedule.timestep_nearby(self.level.log_snr)), 3)

    def fork(self, end: Level) -> Trajectory:
        """An independent trajectory from the current state to another end."""
        self.estimate()  # computed once for all forks
        other = copy(self)
        other.stops = self.context.levels.steps_to(end)
        return other

    def steps(self) -> Iterator[tuple[int, Level]]:
        """Running number and end level of every step."""
        yield from enumerate(self.stops)

    @torch.no_grad()
    def estimate(self) -> Tensor:
        """The x_0 estimate at the current state, (N, C, H, W), restricted to valid signals.

        It is not checked for NaN, which would wait for a GPU in every step: the encoder checks the errors that it
        sends, and a decoder its last estimate.
        """
        if self._estimate is not None:
            return self._estimate
        start = self._start_estimate() if math.isinf(self.level.log_snr) else None
        self._estimate = self.estimate_at(self.x_t, self.level.log_snr) if start is None else start
        return self._estimate

    @torch.no_grad()
    def estimate_at(self, x_t: Tensor, log_snr: float) -> Tensor:
        """The x_0 estimate of any state, (N, C, H, W), restricted to valid signals."""
        denoiser = self.context.denoiser
        # Pure noise has no finite log SNR; the network takes the noisiest level that it was trained on.
        log_snr = max(log_snr, denoiser.config.log_snr_min)
        with self.watch.network(), evaluation_precision(self.device, self.context.dtype_at(log_snr)):
            return self.context.signal.restrict(predict_x_0(denoiser, x_t, log_snr, self.watch.evaluated))

    def checked_estimate(self) -> Tensor:
        """`estimate`, for use outside of the trajectory.

        Raises:
            CheckpointError: if the network returned NaN.
        """
        check_numbers(estimate := self.estimate())
        return estimate

    def advance(self, step: int, end: Level, displacement: NDArray[np.float32]) -> None:
        """Move to the end of a step: x_s = mean of p + std of q * displacement; shared noise where nothing is coded.

        Args:
            step: running number.
            end: the level that it leads to.
            displacement: (N, *canvas.coded_shape). It is overwritten.
        """
        estimate, level = self.estimate(), NoiseLevel(end.log_snr / LOG_SNR_SCALE)
        coefficients = posterior(self.level, level)
        canvas = self.context.canvas
        rest = None if canvas.is_all_coded else self._shared_noise(REST_NOISE_STEP + step)
        x_s = self.context.signal.with_coded(rest, displacement, canvas).to(self.device)
        x_s *= coefficients.std
        # In the displacements' memory, as forks may share x_t; the mean of one channel at a time.
        for channel, x_0, x_t in zip(x_s.unbind(1), estimate.unbind(1), self.x_t.unbind(1), strict=True):
            channel += coefficients.of_x_0 * x_0 + coefficients.of_x_t * x_t
        self._x_t, self.level, self._estimate = x_s, level, None

    def _shared_noise(self, step: int) -> NDArray[np.float32]:
        """Standard normals for a whole canvas, (C, H, W)."""
        shape = self.context.canvas.shape
        return shared_rough_normals(StreamKey(self.context.seed, step), 0, math.prod(shape)).reshape(shape)
