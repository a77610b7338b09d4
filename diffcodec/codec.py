"""The codec: where diffusion, channel simulation and bitstream meet.

Sender and receiver share the network and a seed. For every noise level of a static list the sender conveys one
sample of q(x_s | x_t, x_0) to the receiver, who only knows p(x_s | x_t) (Ho et al. 2020, algorithms 3 and 4), so
both hold the same x_s. Nothing that is parsed depends on a network's floats: docs/method.md, "Why it is safe".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import index
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
from diffcodec.bitstream.entropy import PrefixReader, SymbolReader
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Channel, ChannelId, make_channel
from diffcodec.checkpoint import DEFAULT_MODEL, Checkpoint, bundled_models, load_checkpoint
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ModelMismatchError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from diffcodec.images import Picture, decode_alpha, encode_alpha
from diffcodec.plane import Plane
from diffcodec.results import Bitstream, Preview, Report, Stopwatch
from diffcodec.tables import CodecTables, Level
from diffcodec.walk import Message, Transmission, Walk, max_length, transmit

MIN_EFFORT, DEFAULT_EFFORT, MAX_EFFORT = 8, 12, 16


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
        return cls(load_checkpoint(DEFAULT_MODEL if model is None else model), device=device)

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
            timestep: noise level t at which to stop, 1 (finest) to T (next to nothing).
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
        timestep, effort, seed = _integers(timestep=timestep, effort=effort, seed=seed)
        header, chosen = self._prepare(pictures, timestep, channel, effort, seed)
        watch = Stopwatch()
        sent = self.transmit(pictures, timestep=timestep, channel=chosen, seed=seed, watch=watch)
        with watch.coding():
            alphas = [None if picture.alpha is None else encode_alpha(picture.alpha) for picture in pictures]
            containers = [
                Container(header, message.writer.getvalue(), alpha)
                for message, alpha in zip(sent.messages, alphas, strict=True)
            ]
            files = [write_container(container) for container in containers]
        share = Stopwatch(watch.network_s / len(pictures), watch.coding_s / len(pictures))
        return [
            Bitstream(data, self._report(data, container, picture, self._plane(header).pixels(canvas), message, share))
            for data, container, picture, canvas, message in zip(
                files, containers, pictures, sent.estimate, sent.messages, strict=True
            )
        ]

    def transmit(
        self,
        pictures: Sequence[Picture],
        *,
        timestep: int,
        channel: Channel,
        seed: int = 0,
        watch: Stopwatch | None = None,
    ) -> Transmission:
        """Send pictures of one size and colour mode through any channel, without making files of them.

        Args:
            pictures: at least one.
            timestep: noise level t at which to stop.
            channel: simulates the samples.
            seed: of the shared randomness.
            watch: is given the times.

        Returns:
            The messages, and the state and estimate that the receiver ends with.
        """
        first = pictures[0]
        plane = self.plane_for(first)
        levels = self.tables.lists[self.tables.list_for(first.width * first.height)]
        x_0 = torch.stack([plane.place(picture.pixels) for picture in pictures]).to(self.device)
        end = self.tables.level(timestep)
        walk = Walk(self.denoiser, plane, levels, end, seed, len(pictures), watch or Stopwatch())
        return transmit(walk, x_0, channel, self.tables.length_weights)

    def _prepare(
        self, pictures: Sequence[Picture], timestep: int, channel: str, effort: int, seed: int
    ) -> tuple[Header, Channel]:
        """Check the request; returns the header of its files, and the channel."""
        self.tables.level(timestep)
        first = pictures[0]
        if any(picture.pixels.shape != first.pixels.shape for picture in pictures):
            raise ConfigError("a batch holds pictures of one size and colour mode")
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed: expected 0 to 2^64 - 1, found {seed}")
        chosen = _channel(channel, effort)
        header = Header(
            fingerprint=self.fingerprint, colour=self.plane_for(first).colour,
            channel=int(chosen.channel_id), effort=effort,
            level_list=self.tables.list_for(first.width * first.height), timestep=timestep,
            width=first.width, height=first.height, seed=seed,
        )  # fmt: skip
        return header, chosen

    def _report(
        self, data: bytes, container: Container, picture: Picture, restored: NDArray[np.uint8], message: Message,
        share: Stopwatch,
    ) -> Report:  # fmt: skip
        header = container.header
        error = float(np.mean((picture.pixels.astype(np.float64) - restored) ** 2))
        alpha_bytes = len(container.alpha) if container.alpha is not None else 0
        channels = 1 if header.colour is ColourMode.L else 3
        return Report(
            width=picture.width, height=picture.height, mode=picture.mode, timestep=header.timestep,
            steps=len(self._steps(header)), channel=ChannelId(header.channel).name.lower(), effort=header.effort,
            file_bytes=len(data), header_bytes=len(data) - len(container.payload) - alpha_bytes,
            alpha_bytes=alpha_bytes,
            side_bits=message.side_bits, path_bits=message.path_bits, ideal_bits=message.ideal_bits,
            delivered_bits=message.delivered_bits, bpd=8 * len(data) / (header.pixels * channels),
            bpp=8 * len(data) / header.pixels,
            psnr_db=10 * math.log10(255**2 / error) if error else math.inf, rmse=math.sqrt(error),
            network_seconds=share.network_s, coding_seconds=share.coding_s,
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
            ConfigError: if `timestep` is finer than the stream. If it is coarser than the first level, what the
                model makes of pure noise is returned.
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
            with _named(name):
                alpha = decode_alpha(container.alpha, header.width, header.height)
        walk = Walk(self.denoiser, plane, levels, end, header.seed, 1, watch)

        def preview(done: int) -> Preview:
            pixels = plane.pixels(walk.estimate()[0])
            reached = self.denoiser.schedule.timestep(walk.level.log_snr) if done else len(self.tables.timesteps)
            return Preview(
                Picture(pixels, alpha), done, len(walk.stops), round(float(reached), 3),
                reader.information_bits, verified,
            )  # fmt: skip

        done = 0
        for step, stop in walk.steps():
            if step == stop_after:
                break
            # A cut file is read before the network runs: what is not there need not be predicted.
            try:
                with watch.coding(), _named(name):
                    length = lengths.decode(walk.expected_length(step, channel), reader)
                    self._check_length(length, plane, channel)
                    sample = channel.decode(plane.dims, 1.0, [length], walk.key(step), [reader])
            except TruncatedStreamError:
                break
            estimate = walk.estimate()
            with watch.coding():
                walk.advance(step, stop, estimate, sample)
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
    def _check_length(length: int, plane: Plane, channel: Channel) -> None:
        """A length that no encoder writes must not make the decoder allocate."""
        if length > max_length(channel, plane.dims):
            bits = length * channel.bits_per_length
            raise CorruptStreamError(f"a step claims {bits} path bits for {plane.dims} subpixels")

    def _steps_until(self, header: Header, timestep: int | None) -> int:
        """Number of the stream's steps that lead to its last level not finer than `timestep`."""
        steps = self._steps(header)
        if timestep is None or timestep == header.timestep:
            return len(steps)
        (timestep,) = _integers(timestep=timestep)
        wanted = self.tables.level(timestep)
        if timestep < header.timestep:
            raise ConfigError(f"timestep {timestep} is finer than the stream, which ends at {header.timestep}")
        return sum(level.log_snr <= wanted.log_snr for level in steps)

    def _steps(self, header: Header) -> list[Level]:
        return self.tables.lists[header.level_list].steps_to(self.tables.level(header.timestep))

    def _plane(self, header: Header) -> Plane:
        return Plane(header.colour, header.width, header.height, self.checkpoint.config.network.stride)

    def plane_for(self, picture: Picture) -> Plane:
        """Geometry of pictures of this size and colour mode."""
        colour = ColourMode.L if picture.pixels.ndim == 2 else ColourMode.RGB
        return Plane(colour, picture.width, picture.height, self.checkpoint.config.network.stride)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts the stream's name before what is said about its damage."""
    try:
        yield
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{name} is damaged: {error}") from error


def _integers(**values: int) -> list[int]:
    """The values as Python integers, of whatever integer type they are.

    Raises:
        ConfigError: if one is not an integer.
    """
    integers = []
    for name, value in values.items():
        try:
            integers.append(index(value))
        except TypeError as error:
            raise ConfigError(f"{name}: expected an integer, found {value!r}") from error
    return integers


def _channel(name: str, effort: int) -> Channel:
    if name not in (known := [channel.name.lower() for channel in ChannelId]):
        raise ConfigError(f"channel: expected one of {', '.join(known)}, found {name!r}")
    if not MIN_EFFORT <= effort <= MAX_EFFORT:
        raise ConfigError(f"effort: expected {MIN_EFFORT} to {MAX_EFFORT}, found {effort}")
    return make_channel(ChannelId[name.upper()], effort)
