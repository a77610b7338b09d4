"""The walk from noise to picture that sender and receiver take together, and the sender's side of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder, LengthWeights
from diffcodec.channel import Channel, StreamKey, delivered_bits, kl_bits, shared_normals
from diffcodec.devices import full_precision
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, posterior
from diffcodec.diffusion.windows import check_numbers, predict_x_0
from diffcodec.messages import MessagePlan, TileBatch
from diffcodec.plane import Plane
from diffcodec.results import Stopwatch
from diffcodec.tables import LOG_SNR_SCALE, CodecTables, Level

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
        self.plan = MessagePlan(tables, self.levels, plane, seed)
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
        """x_s = mean of p + std of q * displacement, (N, coded channels, H, W) where coded, shared noise elsewhere."""
        coefficients = posterior(self.level, stop)
        rest = None
        if not self.plane.is_all_coded:
            shape = self.plane.canvas_shape
            rest = shared_normals(StreamKey(self.seed, REST_NOISE_STEP + step), 0, math.prod(shape)).reshape(shape)
        y = self.plane.with_coded(rest, displacement).to(self.device)
        x_s = coefficients.of_x_0 * estimate  # not in place of x_t, which forks may share
        x_s += coefficients.of_x_t * self.x_t
        x_s += coefficients.std * y
        self.x_t, self.level, self._estimate = x_s, stop, None


@dataclass
class Message:
    """What the encoder sends for one picture of a batch, and what it cost.

    Args:
        lengths: code of the step lengths.
        writer: takes all symbols.
        side_bits, path_bits, ideal_bits, delivered_bits: see `Report`.
    """

    lengths: LengthCoder
    writer: SymbolWriter = field(default_factory=SymbolWriter)
    side_bits: float = 0.0
    path_bits: float = 0.0
    ideal_bits: float = 0.0
    delivered_bits: float = 0.0

    def copy(self) -> Message:
        """The message as it is now; either may grow without the other."""
        return replace(self, lengths=deepcopy(self.lengths), writer=self.writer.copy())


@dataclass(frozen=True)
class Transmission:
    """A batch of pictures sent through a channel, down to where the walk is.

    Args:
        messages: one for each picture.
        walk: moves on when the next step is taken: states of large pictures need not be there twice.
        steps: number of steps taken.
    """

    messages: list[Message]
    walk: Walk
    steps: int

    @property
    def x_t(self) -> Tensor:
        """The state, (N, 3, H, W)."""
        return self.walk.x_t

    @property
    def level(self) -> NoiseLevel:
        """Its noise level."""
        return self.walk.level

    @property
    def estimate(self) -> Tensor:
        """The x_0 estimate there, (N, 3, H, W): what the decoder shows. The network may have to be asked."""
        return self.walk.estimate()


def transmit(walk: Walk, x_0: Tensor, channel: Channel, length_weights: LengthWeights) -> Iterator[Transmission]:
    """Send pictures: walk down the levels and write what the receiver needs to follow.

    Args:
        walk: at its start, for as many pictures.
        x_0: on their canvases, (N, 3, H, W).
        channel: simulates the samples.
        length_weights: the model's tables for the code of step lengths.

    Yields:
        After every step what was sent until then. Messages and walk are always the same objects, which go on.
    """
    messages = [Message(LengthCoder(length_weights)) for _ in x_0]
    for step, stop in walk.steps():
        take_step(walk, step, stop, x_0, channel, messages)
        yield Transmission(messages, walk, step + 1)


def take_step(
    walk: Walk, step: int, stop: NoiseLevel, x_0: Tensor, channel: Channel, messages: list[Message]
) -> None:  # fmt: skip
    """Send one step of pictures (N, 3, H, W), and move the walk."""
    estimate = walk.estimate()
    with walk.watch.coding():
        displacement = _send_step(walk, step, walk.plane.coded(x_0 - estimate), channel, messages)
        walk.advance(step, stop, estimate, displacement)


def _send_step(
    walk: Walk, step: int, error: NDArray[np.float32], channel: Channel, messages: list[Message]
) -> NDArray[np.float32]:
    """Write the lengths and samples of one step for errors of the estimate, (N, coded channels, H, W).

    Returns:
        The displacements from the mean of p, which take the place of the errors.
    """
    end = walk.stops[step]
    batches = walk.plan.batches(step, end)
    walk.plan.divide([message.lengths for message in messages], step, end)
    lengths = [_send_lengths(batch, error, channel, messages) for batch in batches]
    for batch, of_batch in zip(batches, lengths, strict=True):
        for part, own in batch.parts_with(of_batch):
            _send_samples(part, error, own, channel, messages)
    return error


def _send_lengths(
    batch: TileBatch, error: NDArray[np.float32], channel: Channel, messages: list[Message]
) -> list[list[int]]:
    """Write the lengths of a batch; returns those of every picture."""
    expected, longest = batch.expected_length(channel), batch.max_length(channel)
    divergences = [
        batch.prior.divergence(batch.prior.coefficients(part.cut(error))).reshape(len(messages), -1)
        for part in batch.parts(len(messages))
    ]
    lengths = []
    for message, row in zip(messages, np.concatenate(divergences, axis=1).tolist(), strict=True):
        before = message.writer.information_bits
        wanted = [min(channel.length_for(kl, batch.dims), longest) for kl in row]
        lengths.append([
            message.lengths.encode(length, expected, message.writer, tile.number)
            for tile, length in zip(batch.tiles, wanted, strict=True)
        ])  # fmt: skip
        message.side_bits += message.writer.information_bits - before
    return lengths


def _send_samples(
    part: TileBatch, error: NDArray[np.float32], lengths: list[int], channel: Channel, messages: list[Message]
) -> None:
    """Write the samples of some tiles, and put the displacements where their errors were."""
    prior, tiles = part.prior, len(part.tiles)
    writers = [message.writer for message in messages for _ in range(tiles)]
    errors = prior.coefficients(part.cut(error))
    groups = prior.groups([channel.information_in(length) for length in lengths])
    mean, std = prior.mean(errors, groups), 1.0 if groups is None else groups.each_std
    before = [message.writer.information_bits for message in messages]
    sample = channel.encode(mean, groups, lengths, part.keys_for(len(messages)), writers)
    kl = kl_bits(mean, std).reshape(-1, tiles).sum(axis=1)
    arrived = delivered_bits(sample, mean, std).reshape(-1, tiles).sum(axis=1)
    for index, message in enumerate(messages):
        message.path_bits += message.writer.information_bits - before[index]
        message.ideal_bits += float(kl[index])
        message.delivered_bits += float(arrived[index])
    part.paste(prior.displacement(sample, groups), error)
