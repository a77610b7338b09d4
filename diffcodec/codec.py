"""The codec: where diffusion, channel simulation and bitstream meet.

Sender and receiver share the network and a seed. For every noise level of a static list the sender conveys one
sample of q(x_s | x_t, x_0) to the receiver, who only knows p(x_s | x_t) (Ho et al. 2020, algorithms 3 and 4), so
both hold the same x_s. Nothing that is parsed depends on a network's floats: docs/method.md, "Why it is safe".
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import (
    DEFAULT_MAX_PIXELS,
    ColourMode,
    Container,
    Header,
    read_container,
    read_header,
    read_partial,
    write_container,
)
from diffcodec.bitstream.entropy import PrefixReader, SymbolReader, SymbolWriter
from diffcodec.bitstream.lengths import GRID, LengthCoder
from diffcodec.channel import (
    Channel,
    ChannelId,
    StreamKey,
    delivered_bits,
    kl_bits,
    make_channel,
    shared_normals,
)
from diffcodec.checkpoint import Checkpoint, bundled_models, load_checkpoint
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel, posterior
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ModelMismatchError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from diffcodec.files import atomic_write
from diffcodec.images import Picture, decode_alpha, encode_alpha
from diffcodec.plane import Plane
from diffcodec.tables import LOG_SNR_SCALE, CodecTables, Level, LevelList

# Shared normals outside of the channel take step numbers that no step has.
START_NOISE_STEP = 1 << 32
REST_NOISE_STEP = 1 << 33

MIN_EFFORT, DEFAULT_EFFORT, MAX_EFFORT = 8, 12, 16


@dataclass
class Stopwatch:
    """Seconds spent in the network and in everything else."""

    network_s: float = 0.0
    coding_s: float = 0.0

    @contextmanager
    def network(self) -> Iterator[None]:
        """Counts the time inside as the network's."""
        start = time.perf_counter()
        yield
        self.network_s += time.perf_counter() - start

    @contextmanager
    def coding(self) -> Iterator[None]:
        """Counts the time inside as the coding's."""
        start = time.perf_counter()
        yield
        self.coding_s += time.perf_counter() - start


@dataclass(frozen=True)
class Report:
    """What became of one picture.

    Rates are of the whole file: `bpd` per subpixel, `bpp` per pixel. `ideal_bits` is the sum of the KL
    divergences at the states really visited, `delivered_bits` the information that arrived (log2 q/p at the
    samples sent), `path_bits` and `side_bits` what was paid for samples and for step lengths. Seconds are
    shares of a batch's.
    """

    width: int
    height: int
    mode: str
    timestep: int
    steps: int
    channel: str
    effort: int
    file_bytes: int
    header_bytes: int
    alpha_bytes: int
    side_bits: float
    path_bits: float
    ideal_bits: float
    delivered_bits: float
    bpd: float
    bpp: float
    psnr_db: float
    rmse: float
    network_seconds: float
    coding_seconds: float


@dataclass(frozen=True)
class Bitstream:
    """A compressed picture: the bytes of a .dfc file, and what the encoder has to say about them."""

    data: bytes = field(repr=False)
    report: Report

    def __bytes__(self) -> bytes:
        return self.data

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file, whole or not at all.

        Raises:
            ConfigError: if it exists and `overwrite` is not set, or cannot be written.
        """
        with atomic_write(Path(path), overwrite=overwrite) as file:
            file.write(self.data)


@dataclass(frozen=True)
class Preview:
    """What a prefix of a stream restores.

    Args:
        picture: the restored picture.
        step: number of steps received.
        steps: number of steps in the stream.
        timestep: the schedule's timestep reached, fractional between integers.
        payload_bits: information received so far.
        verified: whether the stream's checksum was checked.
    """

    picture: Picture
    step: int
    steps: int
    timestep: float
    payload_bits: float
    verified: bool = True


@dataclass
class _Sent:
    """What the encoder keeps for one picture of a batch."""

    lengths: LengthCoder
    writer: SymbolWriter = field(default_factory=SymbolWriter)
    wanted: list[tuple[int, int]] = field(default_factory=list)
    side_bits: float = 0.0
    path_bits: float = 0.0
    ideal_bits: float = 0.0
    delivered_bits: float = 0.0


class DiffusionCodec:
    """Compresses pictures with a trained diffusion model.

    Args:
        checkpoint: a calibrated model.
        device: where the network runs.
        denoiser: the network, if it is not to be made from the checkpoint.

    Raises:
        CheckpointError: if the model has not been calibrated.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: str | torch.device = "cpu", denoiser: Denoiser | None = None
    ) -> None:
        if checkpoint.tables is None:
            raise CheckpointError(f"{checkpoint.card.name} has no level lists: run `diffcodec calibrate` on it first")
        self.checkpoint = checkpoint
        self.tables: CodecTables = checkpoint.tables
        self.device = torch.device(device)
        self.denoiser = denoiser if denoiser is not None else checkpoint.denoiser(device)
        self.fingerprint = checkpoint.fingerprint

    @classmethod
    def from_pretrained(cls, model: str | Path | None = None, *, device: str | torch.device = "cpu") -> DiffusionCodec:
        """The codec with a bundled model (by name; the default one if None) or a model file (by path).

        Raises:
            CheckpointError: if there is no such model, or it is damaged or not calibrated.
        """
        if model is None:
            model = next(iter(bundled_models()), "the default model")
        return cls(load_checkpoint(model), device=device)

    @classmethod
    def for_stream(cls, data: bytes, *, device: str | torch.device = "cpu", name: str = "the stream") -> DiffusionCodec:
        """The codec with the bundled model that made a stream.

        Raises:
            StreamError: if it is not a .dfc stream.
            ModelMismatchError: if no bundled model made it.
        """
        needed = read_header(data, name=name).header.fingerprint
        available = []
        for path in bundled_models().values():
            checkpoint = load_checkpoint(path)
            if checkpoint.fingerprint == needed:
                return cls(checkpoint, device=device)
            available.append(checkpoint.fingerprint.hex())
        raise ModelMismatchError(needed.hex(), available, name)

    # ---------------------------------------------------------------------------------------- compress

    def compress(
        self,
        picture: Picture,
        *,
        timestep: int,
        channel: str = "trellis",
        effort: int = DEFAULT_EFFORT,
        seed: int = 0,
    ) -> Bitstream:
        """Compress one picture.

        Args:
            picture: any size, RGB or grey, with or without alpha (kept losslessly).
            timestep: noise level t at which to stop, 1 (finest) to T (nothing).
            channel: `trellis` or `poisson`.
            effort: 8 to 16; the trellis has 2^effort states.
            seed: of the shared randomness, below 2^64; 0 costs no bytes.

        Raises:
            ConfigError: if an option is out of range.
        """
        return self.compress_batch([picture], timestep=timestep, channel=channel, effort=effort, seed=seed)[0]

    def compress_batch(
        self,
        pictures: Sequence[Picture],
        *,
        timestep: int,
        channel: str = "trellis",
        effort: int = DEFAULT_EFFORT,
        seed: int = 0,
    ) -> list[Bitstream]:
        """Compress pictures of one size and colour mode together; see `compress`.

        Raises:
            ConfigError: if an option is out of range, or the pictures differ in size or mode.
        """
        if not pictures:
            return []
        header, chosen, end = self._prepare(pictures, timestep, channel, effort, seed)
        watch = Stopwatch()
        sent, final = self._send([picture.pixels for picture in pictures], header, chosen, end, watch)
        plane = self._plane(header)
        streams = []
        for picture, canvas, one in zip(pictures, final, sent, strict=True):
            with watch.coding():
                alpha = None if picture.alpha is None else encode_alpha(picture.alpha)
                payload = one.writer.getvalue()
                data = write_container(Container(header, payload, alpha))
            streams.append((picture, plane.pixels(canvas), one, payload, alpha, data))
        return [
            Bitstream(data, self._report(header, picture, restored, one, payload, alpha, data, watch, len(pictures)))
            for picture, restored, one, payload, alpha, data in streams
        ]

    def _prepare(
        self, pictures: Sequence[Picture], timestep: int, channel: str, effort: int, seed: int
    ) -> tuple[Header, Channel, Level]:
        """Check the request; returns the header of its files, the channel, and the level where they end."""
        end = self.tables.level(timestep)
        first = pictures[0]
        if any(picture.pixels.shape != first.pixels.shape for picture in pictures):
            raise ConfigError("a batch holds pictures of one size and colour mode")
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed: expected 0 to 2^64 - 1, found {seed}")
        chosen = _channel(channel, effort)
        header = Header(
            fingerprint=self.fingerprint, colour=ColourMode.L if first.pixels.ndim == 2 else ColourMode.RGB,
            channel=int(chosen.channel_id), effort=effort,
            level_list=self.tables.list_for(first.width * first.height), timestep=timestep,
            width=first.width, height=first.height, seed=seed,
        )  # fmt: skip
        return header, chosen, end

    def _send(
        self, pixels: list[NDArray[np.uint8]], header: Header, channel: Channel, end: Level, watch: Stopwatch
    ) -> tuple[list[_Sent], Tensor]:
        """Walk down the levels, writing; returns what was sent and the final x_0 estimates (N, 3, H, W)."""
        plane, levels = self._plane(header), self.tables.lists[header.level_list]
        sent = [_Sent(LengthCoder(self.tables.length_weights)) for _ in pixels]
        x_0 = torch.stack([plane.place(image) for image in pixels]).to(self.device)
        walk = _Walk(self, plane, levels, header, end, len(pixels), watch)
        for step, start, stop in walk.steps():
            estimate = walk.estimate()
            with watch.coding():
                gain = math.sqrt(stop.snr - start.snr)
                mean = gain * plane.coded(x_0 - estimate)
                expected = walk.expected_length(step, channel)
                divergence = kl_bits(mean, 1.0)
                lengths = []
                for one, kl in zip(sent, divergence, strict=True):
                    before = one.writer.information_bits
                    wanted = min(channel.length_for(float(kl), plane.dims), _max_length(channel, plane.dims))
                    one.wanted.append((wanted, expected))
                    lengths.append(one.lengths.encode(wanted, expected, one.writer))
                    one.side_bits += one.writer.information_bits - before
                    one.path_bits -= one.writer.information_bits
                key = StreamKey(header.seed, step)
                sample = channel.encode(mean, 1.0, lengths, key, [one.writer for one in sent])
                arrived = delivered_bits(sample, mean, 1.0)
                for one, kl, bits in zip(sent, divergence, arrived, strict=True):
                    one.path_bits += one.writer.information_bits
                    one.ideal_bits += float(kl)
                    one.delivered_bits += float(bits)
                walk.advance(step, start, stop, estimate, sample)
        return sent, walk.estimate()

    def observe_lengths(self, pictures: Sequence[Picture], timesteps: Sequence[int]) -> list[list[tuple[int, int]]]:
        """The step lengths of real files, for `bitstream.lengths.histogram`.

        Args:
            pictures: of one size and colour mode.
            timesteps: where the files end.

        Returns:
            For every file, for every step, the wanted length and the expected one.
        """
        observed = []
        for timestep in timesteps:
            header, channel, end = self._prepare(pictures, timestep, "trellis", DEFAULT_EFFORT, 0)
            sent, _ = self._send([picture.pixels for picture in pictures], header, channel, end, Stopwatch())
            observed += [one.wanted for one in sent]
        return observed

    def _report(
        self, header: Header, picture: Picture, restored: NDArray[np.uint8], sent: _Sent, payload: bytes,
        alpha: bytes | None, data: bytes, watch: Stopwatch, count: int,
    ) -> Report:  # fmt: skip
        error = float(np.mean((picture.pixels.astype(np.float64) - restored) ** 2))
        alpha_bytes = len(alpha) if alpha is not None else 0
        channels = 1 if header.colour is ColourMode.L else 3
        return Report(
            width=picture.width, height=picture.height, mode=picture.mode, timestep=header.timestep,
            steps=len(self._steps(header)), channel=ChannelId(header.channel).name.lower(), effort=header.effort,
            file_bytes=len(data), header_bytes=len(data) - len(payload) - alpha_bytes, alpha_bytes=alpha_bytes,
            side_bits=sent.side_bits, path_bits=sent.path_bits, ideal_bits=sent.ideal_bits,
            delivered_bits=sent.delivered_bits, bpd=8 * len(data) / (header.pixels * channels),
            bpp=8 * len(data) / header.pixels,
            psnr_db=10 * math.log10(255**2 / error) if error else math.inf, rmse=math.sqrt(error),
            network_seconds=watch.network_s / count, coding_seconds=watch.coding_s / count,
        )  # fmt: skip

    # -------------------------------------------------------------------------------------- decompress

    def decompress(
        self,
        stream: Bitstream | bytes,
        *,
        timestep: int | None = None,
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
    ) -> Picture:
        """Restore a picture; see `restore` for the same with more to tell.

        Raises:
            StreamError: if the stream is damaged, cut, or of another model.
            ConfigError: if `timestep` is finer than the stream.
        """
        return self.restore(stream, timestep=timestep, partial=partial, max_pixels=max_pixels, name=name).picture

    def restore(
        self,
        stream: Bitstream | bytes,
        *,
        timestep: int | None = None,
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
        watch: Stopwatch | None = None,
    ) -> Preview:
        """Restore a picture, and tell how far it got.

        Args:
            stream: what `compress` returned, or the bytes of a .dfc file.
            timestep: restore a coarser version: the last level of the stream that is not finer than this.
            partial: if the stream is cut, restore its last complete step instead of raising.
            max_pixels: refuse to decode more.
            name: of the stream, for messages.
            watch: is given the times.

        Raises:
            StreamError: if the stream is damaged, cut (without `partial`), or of another model.
            ConfigError: if `timestep` is finer than the stream, or coarser than its first level.
        """
        previews = self._receive(bytes(stream), timestep, partial, max_pixels, name, watch or Stopwatch(), every=False)
        return next(previews)

    def progressive(
        self, stream: Bitstream | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream"
    ) -> Iterator[Preview]:
        """What every prefix of a stream restores, from coarse to fine, one for each step.

        Raises:
            StreamError: as `decompress`.
        """
        return self._receive(bytes(stream), None, False, max_pixels, name, Stopwatch(), every=True)

    def _receive(
        self, data: bytes, timestep: int | None, partial: bool, max_pixels: int, name: str, watch: Stopwatch,
        *, every: bool,
    ) -> Iterator[Preview]:  # fmt: skip
        """Walk down the levels, reading; yields the last picture, or every one."""
        if partial:
            container, complete = read_partial(data, max_pixels=max_pixels, name=name)
            verified = len(data) >= read_header(data, name=name).total_bytes
        else:
            container, complete = read_container(data, max_pixels=max_pixels, name=name), True
            verified = True
        header = container.header
        self._check_header(header, name)
        end = self.tables.level(header.timestep)
        levels, plane = self.tables.lists[header.level_list], self._plane(header)
        stop_after = self._steps_until(header, timestep)
        channel = make_channel(ChannelId(header.channel), header.effort)
        reader = SymbolReader(container.payload) if complete else PrefixReader(container.payload)
        lengths = LengthCoder(self.tables.length_weights)
        alpha = None
        if container.alpha is not None:
            alpha = decode_alpha(container.alpha, header.width, header.height)
        walk = _Walk(self, plane, levels, header, end, 1, watch)

        def preview(done: int) -> Preview:
            pixels = plane.pixels(walk.estimate()[0])
            return Preview(
                Picture(pixels, alpha), done, len(levels.steps_to(end)),
                self.denoiser.schedule.timestep(walk.level.log_snr) if done else float(len(self.tables.timesteps)),
                reader.information_bits, verified,
            )  # fmt: skip

        done = 0
        for step, start, stop in walk.steps():
            if step == stop_after:
                break
            # A cut file is read before the network runs: what is not there need not be predicted.
            try:
                with watch.coding():
                    length = lengths.decode(walk.expected_length(step, channel), reader)
                    self._check_length(length, plane, channel, name)
                    sample = channel.decode(plane.dims, 1.0, [length], StreamKey(header.seed, step), [reader])
            except TruncatedStreamError:
                break
            estimate = walk.estimate()
            with watch.coding():
                walk.advance(step, start, stop, estimate, sample)
            done = step + 1
            if every:
                yield preview(done)
        if not every:
            yield preview(done)

    def _check_header(self, header: Header, name: str) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(header.fingerprint.hex(), [self.fingerprint.hex()], name)
        if header.channel not in tuple(ChannelId):
            raise UnsupportedVersionError(f"{name}: channel {header.channel} is not known to this release")
        if not MIN_EFFORT <= header.effort <= MAX_EFFORT:
            raise UnsupportedVersionError(f"{name}: effort {header.effort} is not known to this release")
        if header.level_list >= len(self.tables.lists) or not 1 <= header.timestep <= len(self.tables.timesteps):
            raise CorruptStreamError(f"{name}: level list {header.level_list}, timestep {header.timestep} do not exist")

    @staticmethod
    def _check_length(length: int, plane: Plane, channel: Channel, name: str) -> None:
        """A length that no encoder writes must not make the decoder allocate."""
        if length > _max_length(channel, plane.dims):
            raise CorruptStreamError(f"{name}: a step claims {length} path bits for {plane.dims} subpixels")

    def _steps_until(self, header: Header, timestep: int | None) -> int:
        """Number of the stream's steps that lead to its last level not finer than `timestep`."""
        steps = self._steps(header)
        if timestep is None or timestep == header.timestep:
            return len(steps)
        wanted = self.tables.level(timestep)
        if timestep < header.timestep:
            raise ConfigError(f"timestep {timestep} is finer than the stream, which ends at {header.timestep}")
        return sum(level.log_snr <= wanted.log_snr for level in steps)

    def _steps(self, header: Header) -> list[Level]:
        return self.tables.lists[header.level_list].steps_to(self.tables.level(header.timestep))

    def _plane(self, header: Header) -> Plane:
        return Plane(header.colour, header.width, header.height, self.checkpoint.config.network.stride)


class _Walk:
    """The state that sender and receiver share, moved from level to level.

    Args:
        codec: the model.
        plane: geometry.
        levels: the level list.
        header: for the seed.
        end: where the walk ends.
        count: pictures in the batch.
        watch: is given the network's time.
    """

    def __init__(
        self, codec: DiffusionCodec, plane: Plane, levels: LevelList, header: Header, end: Level, count: int,
        watch: Stopwatch,
    ) -> None:  # fmt: skip
        self.codec, self.plane, self.levels, self.end = codec, plane, levels, end
        self.seed, self.watch = header.seed, watch
        self.level = NoiseLevel(-math.inf)
        size = math.prod(plane.canvas_shape)
        noise = shared_normals(StreamKey(self.seed, START_NOISE_STEP), 0, size).reshape(plane.canvas_shape)
        self.x_t = torch.from_numpy(noise).repeat(count, 1, 1, 1).to(codec.device)

    def steps(self) -> Iterator[tuple[int, NoiseLevel, NoiseLevel]]:
        """Running number, start and stop of every step; the first starts from pure noise."""
        start = self.level
        for step, level in enumerate(self.levels.steps_to(self.end)):
            stop = NoiseLevel(level.log_snr / LOG_SNR_SCALE)
            yield step, start, stop
            start = stop

    def expected_length(self, step: int, channel: Channel) -> int:
        """What the static tables expect of a step, in 1 / LENGTH_SCALE of the channel's unit of length."""
        stop = self.levels.steps_to(self.end)[step]
        # The trellis pays about 1.1 bits for one: the static part of that is worth knowing from the first step.
        return self.levels.expected_bits(step, stop, self.plane.dims) * 9 // 8 // channel.bits_per_length

    @torch.no_grad()
    def estimate(self) -> Tensor:
        """The x_0 estimate at the present state, (N, 3, H, W), moved to the pictures that are possible."""
        with self.watch.network():
            # Pure noise has no finite log SNR; the network answers for the noisiest level it knows.
            log_snr = max(self.level.log_snr, self.codec.checkpoint.config.log_snr_min)
            estimate = predict_x_0(self.codec.denoiser, self.x_t, log_snr)
            return self.plane.with_what_is_known(estimate)

    def advance(
        self, step: int, start: NoiseLevel, stop: NoiseLevel, estimate: Tensor, sample: NDArray[np.float32]
    ) -> None:
        """x_s = mean of p + std * y, with y as sent (N, dims) where coded and shared noise elsewhere."""
        coefficients = posterior(start, stop)
        rest = None
        if not self.plane.is_all_coded:
            shape = self.plane.canvas_shape
            key = StreamKey(self.seed, REST_NOISE_STEP + step)
            rest = shared_normals(key, 0, math.prod(shape)).reshape(shape)
        y = self.plane.with_coded(rest, sample).to(self.codec.device)
        self.x_t = coefficients.of_x_0 * estimate + coefficients.of_x_t * self.x_t + coefficients.std * y
        self.level = stop


def _max_length(channel: Channel, dims: int) -> int:
    """The longest message that the encoder sends in a step: 8 bits for every number, and a little."""
    return GRID[bisect_right(GRID, (8 * dims + 64) // channel.bits_per_length) - 1]


def _channel(name: str, effort: int) -> Channel:
    if name not in (known := [channel.name.lower() for channel in ChannelId]):
        raise ConfigError(f"channel: expected one of {', '.join(known)}, found {name!r}")
    if not MIN_EFFORT <= effort <= MAX_EFFORT:
        raise ConfigError(f"effort: expected {MIN_EFFORT} to {MAX_EFFORT}, found {effort}")
    return make_channel(ChannelId[name.upper()], effort)
