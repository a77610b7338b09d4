"""The walk from noise to picture that sender and receiver take together, and the sender's side of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import GRID, LengthCoder, LengthWeights
from diffcodec.channel import Channel, StreamKey, delivered_bits, kl_bits, shared_normals
from diffcodec.devices import full_precision
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, posterior
from diffcodec.diffusion.windows import check_numbers, predict_x_0
from diffcodec.plane import Plane
from diffcodec.prior import BandVariances, EqualVariances, StepPrior
from diffcodec.results import Stopwatch
from diffcodec.tables import LOG_SNR_SCALE, CodecTables, Level, LevelList

# Shared normals outside of the channel take step numbers that no step has.
START_NOISE_STEP = 1 << 32
REST_NOISE_STEP = 1 << 33


class Walk:
    """The state that sender and receiver share, moved from level to level.

    Args:
        denoiser: the network.
        tables: of the model.
        plane: geometry.
        level_list: index of the level list.
        end: where the walk ends.
        seed: of the shared noise.
        count: pictures in the batch.
        watch: is given the network's time.
    """

    def __init__(
        self, denoiser: Denoiser, tables: CodecTables, plane: Plane, level_list: int, end: Level, seed: int, count: int,
        watch: Stopwatch,
    ) -> None:  # fmt: skip
        self.denoiser, self.tables, self.plane, self.seed, self.watch = denoiser, tables, plane, seed, watch
        self.levels = tables.lists[level_list]
        self.stops = self.levels.steps_to(end)
        self.device = next(denoiser.parameters()).device
        self.level = NoiseLevel(-math.inf)
        size = math.prod(plane.canvas_shape)
        noise = shared_normals(StreamKey(seed, START_NOISE_STEP), 0, size).reshape(plane.canvas_shape)
        self.x_t = torch.from_numpy(noise).repeat(count, 1, 1, 1).to(self.device)
        self._estimate: Tensor | None = None  # at the present state, once it has been asked for
        if tables.start is not None:
            colour = torch.tensor(tables.start, dtype=torch.float32, device=self.device) / (128 * 127.5) - 1
            self._estimate = plane.with_what_is_known(colour[None, :, None, None].expand_as(self.x_t))

    def fork(self, end: Level) -> Walk:
        """A walk that goes on from here to another end; either may move without the other."""
        self.estimate()  # once for all that go on from here
        other = copy(self)
        other.stops = self.levels.steps_to(end)
        return other

    def steps(self) -> Iterator[tuple[int, NoiseLevel]]:
        """Running number and stop of every step."""
        for step, stop in enumerate(self.stops):
            yield step, NoiseLevel(stop.log_snr / LOG_SNR_SCALE)

    def key(self, step: int) -> StreamKey:
        """Names the shared randomness of a step."""
        return StreamKey(self.seed, step)

    def prior(self, step: int) -> StepPrior:
        """What the receiver knows of the step's outcome; the walk stands where it starts."""
        return step_prior(self.tables, self.levels, self.plane, step, self.stops[step])

    @torch.no_grad()
    def estimate(self) -> Tensor:
        """The x_0 estimate at the present state, (N, 3, H, W), moved to the pictures that are possible.

        Raises:
            CheckpointError: if the network returns what are not numbers.
        """
        if self._estimate is not None:
            return self._estimate
        with self.watch.network(), full_precision(self.device):
            # Pure noise has no finite log SNR; the network answers for the noisiest level it knows.
            log_snr = max(self.level.log_snr, self.denoiser.config.log_snr_min)
            estimate = self.plane.with_what_is_known(predict_x_0(self.denoiser, self.x_t, log_snr))
        check_numbers(estimate)
        self._estimate = estimate
        return estimate

    def advance(self, step: int, stop: NoiseLevel, estimate: Tensor, displacement: NDArray[np.float32]) -> None:
        """x_s = mean of p + std of q * displacement, (N, dims) where coded, with shared noise elsewhere."""
        coefficients = posterior(self.level, stop)
        rest = None
        if not self.plane.is_all_coded:
            shape = self.plane.canvas_shape
            rest = shared_normals(StreamKey(self.seed, REST_NOISE_STEP + step), 0, math.prod(shape)).reshape(shape)
        y = self.plane.with_coded(rest, displacement).to(self.device)
        self.x_t = coefficients.of_x_0 * estimate + coefficients.of_x_t * self.x_t + coefficients.std * y
        self.level, self._estimate = stop, None


@dataclass
class Message:
    """What the encoder sends for one picture of a batch, and what it cost.

    Args:
        lengths: code of the step lengths.
        writer: takes all symbols.
        wanted: for every step, the length that was wanted and the one that was expected.
        side_bits, path_bits, ideal_bits, delivered_bits: see `Report`.
    """

    lengths: LengthCoder
    writer: SymbolWriter = field(default_factory=SymbolWriter)
    wanted: list[tuple[int, int]] = field(default_factory=list)
    side_bits: float = 0.0
    path_bits: float = 0.0
    ideal_bits: float = 0.0
    delivered_bits: float = 0.0

    def copy(self) -> Message:
        """The message as it is now; either may grow without the other."""
        return replace(self, lengths=deepcopy(self.lengths), writer=self.writer.copy(), wanted=list(self.wanted))


@dataclass(frozen=True)
class Transmission:
    """A batch of pictures sent through a channel.

    Args:
        messages: one for each picture.
        x_t: the final state, (N, 3, H, W).
        level: its noise level.
        estimate: the x_0 estimate there, (N, 3, H, W): what the decoder shows.
        steps: number of steps taken.
    """

    messages: list[Message]
    x_t: Tensor
    level: NoiseLevel
    estimate: Tensor
    steps: int


def transmit(walk: Walk, x_0: Tensor, channel: Channel, length_weights: LengthWeights) -> Iterator[Transmission]:
    """Send pictures: walk down the levels and write what the receiver needs to follow.

    Args:
        walk: at its start, for as many pictures.
        x_0: on their canvases, (N, 3, H, W).
        channel: simulates the samples.
        length_weights: the model's tables for the code of step lengths.

    Yields:
        After every step what was sent until then. The messages are always the same objects, which grow.
    """
    messages = [Message(LengthCoder(length_weights)) for _ in x_0]
    for step, stop in walk.steps():
        take_step(walk, step, stop, x_0, channel, messages)
        yield Transmission(messages, walk.x_t, walk.level, walk.estimate(), step + 1)


def take_step(
    walk: Walk, step: int, stop: NoiseLevel, x_0: Tensor, channel: Channel, messages: list[Message]
) -> None:  # fmt: skip
    """Send one step of pictures (N, 3, H, W), and move the walk."""
    estimate = walk.estimate()
    with walk.watch.coding():
        prior = walk.prior(step)
        displacement = _send_step(walk, step, prior, walk.plane.coded(x_0 - estimate), channel, messages)
        walk.advance(step, stop, estimate, displacement)


def _send_step(
    walk: Walk, step: int, prior: StepPrior, error: NDArray[np.float32], channel: Channel, messages: list[Message]
) -> NDArray[np.float32]:
    """Write the lengths and samples of one step; returns the displacements from the mean of p, (N, dims)."""
    dims = walk.plane.dims
    expected = expected_length(prior, channel)
    errors = prior.coefficients(error)
    lengths = []
    for message, kl in zip(messages, prior.divergence(errors), strict=True):
        before = message.writer.information_bits
        wanted = min(channel.length_for(float(kl), dims), max_length(channel, dims))
        message.wanted.append((wanted, expected))
        lengths.append(message.lengths.encode(wanted, expected, message.writer))
        message.side_bits += message.writer.information_bits - before
        message.path_bits -= message.writer.information_bits
    groups = prior.groups([channel.information_in(length) for length in lengths])
    mean, std = prior.mean(errors, groups), 1.0 if groups is None else groups.each_std
    sample = channel.encode(mean, groups, lengths, walk.key(step), [message.writer for message in messages])
    costs = zip(messages, kl_bits(mean, std), delivered_bits(sample, mean, std), strict=True)
    for message, kl, arrived in costs:
        message.path_bits += message.writer.information_bits
        message.ideal_bits += float(kl)
        message.delivered_bits += float(arrived)
    return prior.displacement(sample, groups)


def step_prior(tables: CodecTables, levels: LevelList, plane: Plane, step: int, end: Level) -> StepPrior:
    """What the receiver knows of the outcome of a step that leaves the step-th level (0: pure noise) for `end`."""
    start = levels.start_of(step)
    from_snr = 0.0 if start is None else NoiseLevel(start.log_snr / LOG_SNR_SCALE).snr
    gap = NoiseLevel(end.log_snr / LOG_SNR_SCALE).snr - from_snr
    if tables.variances is None:
        return EqualVariances(levels, step, end, gap, plane.dims)
    return BandVariances(plane.transform, tables.variances, levels, step, end, gap)


def expected_length(prior: StepPrior, channel: Channel) -> int:
    """What the static tables expect of a step, in 1 / LENGTH_SCALE of the channel's unit of length."""
    # The trellis pays about 1.1 bits for one: the static part of that is worth knowing from the first step.
    return prior.expected_bits * 9 // 8 // channel.bits_per_length


def max_length(channel: Channel, dims: int) -> int:
    """The longest message that the encoder sends in a step: 8 bits for every number, and a little."""
    return GRID[bisect_right(GRID, (8 * dims + 64) // channel.bits_per_length) - 1]
