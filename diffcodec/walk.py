"""The walk from noise to picture that sender and receiver take together, and the sender's side of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
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
from diffcodec.tables import BITS_SCALE, LOG_SNR_SCALE, CodecTables, Level
from diffcodec.tiling import Tile, by_shape
from diffcodec.transform import BlockTransform

# Shared normals outside of the channel take step numbers that no step has.
START_NOISE_STEP = 1 << 32
REST_NOISE_STEP = 1 << 33

TILE_NUMBER_BITS = 34
"""Step numbers and those of other noise lie below 2 to this; above is the number of the tile."""

LEAST_TILE_BITS = 200
"""A picture is divided while a step is expected to say so much about a tile."""

MOST_TILE_DIMS = 1 << 22
"""A picture is divided, whatever a step says, while its tiles have more coordinates than that."""

PIXELS_AT_ONCE = 1 << 18
"""Tiles of so many pixels go through the channel together: it takes some 600 bytes for each."""


@dataclass(frozen=True)
class TileBatch:
    """Messages of a step that are alike: those of tiles of one shape.

    Args:
        tiles: where they are.
        prior: what the receiver knows of each.
        keys: one for each.
    """

    tiles: Sequence[Tile]
    prior: StepPrior
    keys: Sequence[StreamKey]

    @property
    def size(self) -> int:
        """Pixels of a tile."""
        return math.prod(self.tiles[0].shape)

    def parts(self, pictures: int) -> Iterator[TileBatch]:
        """The same in parts that bound the memory of a batch of pictures. Nobody else can tell."""
        at_once = max(1, PIXELS_AT_ONCE // (self.size * pictures))
        for start in range(0, len(self.tiles), at_once):
            some = slice(start, start + at_once)
            yield TileBatch(self.tiles[some], self.prior, self.keys[some])

    def cut(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates of the tiles: from (N, C, H, W) to (N tiles, dims), picture by picture."""
        cut = np.stack([planes[:, :, tile.rows, tile.columns] for tile in self.tiles], axis=1)
        return cut.reshape(len(planes) * len(self.tiles), -1)

    def paste(self, coordinates: NDArray[np.float32], planes: NDArray[np.float32]) -> None:
        """Undo `cut`, in place."""
        shape = len(planes), len(self.tiles), planes.shape[1], *self.tiles[0].shape
        for index, tile in enumerate(self.tiles):
            planes[:, :, tile.rows, tile.columns] = coordinates.reshape(shape)[:, index]

    def keys_for(self, pictures: int) -> list[StreamKey]:
        """Keys of the messages of a batch of pictures, which share them: one if all have the same."""
        return list(self.keys) * (pictures if len(self.keys) > 1 else 1)


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
        self.division = 0
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

    def batches(self, step: int) -> list[TileBatch]:
        """The messages of a step, in the order in which they are sent; the walk stands where it starts."""
        end = self.stops[step]
        self.division = self._division(step, end)
        return [
            TileBatch(tiles, self._prior(step, end, tiles[0]), [self._key(step, tile) for tile in tiles])
            for tiles in by_shape(self.plane.tiling.tiles(self.division))
        ]

    def divide(self, coders: Iterable[LengthCoder], before: int) -> None:
        """Makes coders go on with the present tiles, where `before` was the division until now."""
        if before != self.division:
            parents = self.plane.tiling.parents(before, self.division)
            for coder in coders:
                coder.divide(parents)

    def _key(self, step: int, tile: Tile) -> StreamKey:
        """Names the shared randomness of a message."""
        return StreamKey(self.seed, step + (tile.number << TILE_NUMBER_BITS))

    def _prior(self, step: int, end: Level, tile: Tile) -> StepPrior:
        """What the receiver knows of the step's outcome in a tile."""
        gap = NoiseLevel(end.log_snr / LOG_SNR_SCALE).snr - self.level.snr
        channels = self.plane.coded_channels
        if self.tables.variances is None:
            return EqualVariances(self.levels, step, end, gap, channels * tile.height * tile.width)
        transform = BlockTransform(channels, tile.width, tile.height)
        return BandVariances(transform, self.tables.variances, self.levels, step, end, gap)

    def _division(self, step: int, end: Level) -> int:
        """The finest division whose messages are long enough to be worth their lengths; never one coarser than before.

        From integers only, as all that is parsed depends on it.
        """
        tiling = self.plane.tiling
        if self.division == tiling.depth:
            return tiling.depth
        shapes = by_shape(tiling.tiles(tiling.depth))
        expected = sum(len(tiles) * self._prior(step, end, tiles[0]).expected_bits for tiles in shapes)
        for division in range(tiling.depth, self.division, -1):
            tiles = math.prod(tiling.counts(division))
            if expected >= tiles * LEAST_TILE_BITS * BITS_SCALE or 4 * self.plane.dims > tiles * MOST_TILE_DIMS:
                return division
        return self.division

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
        self.x_t = coefficients.of_x_0 * estimate + coefficients.of_x_t * self.x_t + coefficients.std * y
        self.level, self._estimate = stop, None


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
        displacement = _send_step(walk, step, walk.plane.coded(x_0 - estimate), channel, messages)
        walk.advance(step, stop, estimate, displacement)


def _send_step(
    walk: Walk, step: int, error: NDArray[np.float32], channel: Channel, messages: list[Message]
) -> NDArray[np.float32]:
    """Write the lengths and samples of one step for errors of the estimate, (N, coded channels, H, W).

    Returns:
        The displacements from the mean of p, which take the place of the errors.
    """
    before = walk.division
    batches = walk.batches(step)
    walk.divide([message.lengths for message in messages], before)
    lengths = [_send_lengths(batch, error, channel, messages) for batch in batches]
    for batch, of_batch in zip(batches, lengths, strict=True):
        done = 0
        for part in batch.parts(len(messages)):
            own = [each for row in of_batch for each in row[done : done + len(part.tiles)]]
            done += len(part.tiles)
            _send_samples(part, error, own, channel, messages)
    return error


def _send_lengths(
    batch: TileBatch, error: NDArray[np.float32], channel: Channel, messages: list[Message]
) -> list[list[int]]:
    """Write the lengths of a batch; returns those of every picture."""
    dims = error.shape[1] * batch.size
    expected, longest = expected_length(batch.prior, channel), max_length(channel, dims)
    divergences = [
        batch.prior.divergence(batch.prior.coefficients(part.cut(error))).reshape(len(messages), -1)
        for part in batch.parts(len(messages))
    ]
    lengths = []
    for message, row in zip(messages, np.concatenate(divergences, axis=1).tolist(), strict=True):
        before = message.writer.information_bits
        wanted = [min(channel.length_for(kl, dims), longest) for kl in row]
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


def expected_length(prior: StepPrior, channel: Channel) -> int:
    """What the static tables expect of a step, in 1 / LENGTH_SCALE of the channel's unit of length."""
    # The trellis pays about 1.1 bits for one: the static part of that is worth knowing from the first step.
    return prior.expected_bits * 9 // 8 // channel.bits_per_length


def max_length(channel: Channel, dims: int) -> int:
    """The longest message that the encoder sends in a step: 8 bits for every number, and a little."""
    return GRID[bisect_right(GRID, (8 * dims + 64) // channel.bits_per_length) - 1]
