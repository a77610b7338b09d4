"""The receiver's side: from a file's content to the pictures that its prefixes restore."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.container import Container, Reading
from diffcodec.bitstream.entropy import PrefixReader, SymbolReader
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Channel
from diffcodec.decoders import Decoder
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError, CorruptStreamError, TruncatedStreamError, UnsupportedVersionError
from diffcodec.images import Picture, decode_alpha
from diffcodec.last_step import LastStep
from diffcodec.lossless.payload import LosslessPayload, pixel_checksum
from diffcodec.lossless.stored import restore
from diffcodec.messages import TileBatch
from diffcodec.metadata import Metadata
from diffcodec.plane import Plane
from diffcodec.results import Preview, Stopwatch
from diffcodec.tables import CodecTables, Level
from diffcodec.walk import Walk


@dataclass(frozen=True)
class Incoming:
    """A stream to restore.

    Args:
        reading: of the file.
        name: of the stream, for messages.
    """

    reading: Reading
    name: str

    @property
    def container(self) -> Container:
        """The file's content."""
        return self.reading.container

    @property
    def complete(self) -> bool:
        """Whether the payload is all there."""
        return self.reading.complete

    @cached_property
    def lossless(self) -> LosslessPayload | None:
        """What the payload of a stream for t = 0 holds.

        Raises:
            StreamError: if it makes no sense.
        """
        if self.container.header.timestep != 0:
            return None
        with named(self.name):
            try:
                return LosslessPayload.from_bytes(self.container.payload)
            except TruncatedStreamError as error:
                if self.complete:  # the file is whole, so its writer made it too short
                    raise CorruptStreamError(str(error)) from error
                raise

    @property
    def kind(self) -> Hashable:
        """Streams of one kind visit the same levels with the same shared noise, and can be restored together."""
        lossless = self.lossless
        return self.container.header, lossless and (lossless.steps, lossless.stored)

    @property
    def alpha(self) -> NDArray[np.uint8] | None:
        """The alpha plane, (H, W).

        Raises:
            StreamError: if it makes no sense.
        """
        if self.container.alpha is None:
            return None
        header = self.container.header
        with named(self.name):
            return decode_alpha(self.container.alpha, header.width, header.height)

    @property
    def metadata(self) -> Metadata:
        """What the file holds besides the picture.

        Raises:
            StreamError: if it makes no sense.
        """
        if self.container.metadata is None:
            return Metadata()
        with named(self.name):
            return Metadata.from_bytes(self.container.metadata)

    def reader(self) -> SymbolReader:
        """The entropy-coded part of the payload."""
        body = self.container.payload if self.lossless is None else self.lossless.body
        return SymbolReader(body) if self.complete else PrefixReader(body)


@dataclass(frozen=True)
class Receiver:
    """Restores pictures together.

    Args:
        denoiser: the network.
        tables: of the model.
        plane: geometry of the pictures.
        channel: simulates the samples.
        streams: of one kind; only one if it is cut.
        decoder: makes pictures of noisy states.
        watch: is given the times.
    """

    denoiser: Denoiser
    tables: CodecTables
    plane: Plane
    channel: Channel
    streams: Sequence[Incoming]
    decoder: Decoder
    watch: Stopwatch

    def previews(self, timestep: int | None, *, every: bool) -> Iterator[list[Preview]]:
        """Walk down the levels, reading; yields the last pictures, one of each stream, or those after every step.

        Args:
            timestep: stop at the last level that is not finer than this; None: at the end.
            every: whether to yield after each step; before the first one only if it is missing from a cut stream.

        Raises:
            StreamError: if a payload makes no sense.
            ConfigError: if the streams have no levels to stop at.
        """
        first = self.streams[0]
        header, lossless = first.container.header, first.lossless
        if lossless is not None and lossless.stored is not None:
            if timestep is not None:
                raise ConfigError(f"{first.name} stores its picture without the model: it has no coarser version")
            yield [self._stored(stream) for stream in self.streams]
            return
        stops = stops_of(first, self.tables)
        stop_after = len(stops) if timestep is None else self._steps_until(stops, timestep)
        readers = [stream.reader() for stream in self.streams]
        lengths = [LengthCoder(self.tables.length_weights) for _ in self.streams]
        alphas = [stream.alpha for stream in self.streams]
        metadata = [stream.metadata for stream in self.streams]
        walk = Walk(
            self.denoiser, self.tables, self.plane, header.level_list, stops[-1], header.seed, len(self.streams),
            self.watch,
        )  # fmt: skip
        steps = len(stops) + (lossless is not None)

        def preview(done: int, exact: Sequence[NDArray[np.uint8]] | None = None) -> list[Preview]:
            if exact is not None:
                reached = 0.0
            elif done:
                reached = round(float(self.denoiser.schedule.timestep(walk.level.log_snr)), 3)
            else:
                reached = float(len(self.tables.timesteps))
            pictures = exact
            if pictures is None:
                names = [zlib.crc32(stream.container.payload) for stream in self.streams]
                pictures = [self.plane.pixels(canvas) for canvas in self.decoder.restore(walk, names)]
            maker = "exact" if exact is not None else self.decoder.kind
            return [
                Preview(
                    Picture(pixels, alpha, notes), done, steps, reached, reader.information_bits,
                    stream.reading.verified, maker, stream.reading.problem,
                )
                for pixels, alpha, notes, reader, stream in zip(
                    pictures, alphas, metadata, readers, self.streams, strict=True
                )
            ]  # fmt: skip

        done = 0
        for step, stop in walk.steps():
            if step == stop_after:
                break
            # A cut file is read before the network runs: what is not there need not be predicted.
            try:
                with self.watch.coding():
                    displacement = self._receive(walk, step, lengths, readers)
            except TruncatedStreamError:
                break
            estimate = walk.estimate()
            with self.watch.coding():
                walk.advance(step, stop, estimate, displacement)
            done = step + 1
            if every:
                yield preview(done)
        if lossless is not None and timestep is None and done == len(stops) and first.complete:
            yield preview(steps, self._exact(walk, readers))
        elif not every or not done:
            yield preview(done)

    def _receive(
        self, walk: Walk, step: int, coders: Sequence[LengthCoder], readers: Sequence[SymbolReader]
    ) -> NDArray[np.float32]:
        """Read the lengths and samples of one step; returns the displacements from the mean of p, (N, C, H, W)."""
        plane, end = self.plane, walk.stops[step]
        batches = walk.plan.batches(step, end)
        walk.plan.divide(coders, step, end)
        lengths = [self._receive_lengths(batch, coders, readers) for batch in batches]
        displacement = np.empty((len(readers), plane.coded_channels, plane.height, plane.width), np.float32)
        for batch, of_batch in zip(batches, lengths, strict=True):
            for part, own in batch.parts_with(of_batch):
                groups = part.prior.groups([self.channel.information_in(length) for length in own])
                sources = [reader for reader in readers for _ in part.tiles]
                with named(", ".join(stream.name for stream in self.streams)):
                    sample = self.channel.decode(part.dims, groups, own, part.keys_for(len(readers)), sources)
                part.paste(part.prior.displacement(sample, groups), displacement)
        return displacement

    def _receive_lengths(
        self, batch: TileBatch, coders: Sequence[LengthCoder], readers: Sequence[SymbolReader]
    ) -> list[list[int]]:
        """Read the lengths of a batch, those of every picture."""
        expected, lengths = batch.expected_length(self.channel), []
        for stream, coder, reader in zip(self.streams, coders, readers, strict=True):
            with named(stream.name):
                row = [coder.decode(expected, reader, tile.number) for tile in batch.tiles]
                batch.check_length(max(row), self.channel)
                lengths.append(row)
        return lengths

    def _steps_until(self, stops: list[Level], timestep: int) -> int:
        """Number of steps that lead to the streams' last level not finer than `timestep`."""
        first = self.streams[0]
        finest = first.container.header.timestep
        if 0 <= timestep < finest:
            raise ConfigError(f"timestep {timestep} is finer than {first.name}, which ends at {finest}")
        wanted = self.tables.level(timestep)
        return sum(level.log_snr <= wanted.log_snr for level in stops)

    def _stored(self, stream: Incoming) -> Preview:
        if not stream.complete:
            state = "cut" if stream.reading.is_short else "damaged"
            raise TruncatedStreamError(f"{stream.name} is {state}, and stores its picture as a whole: fetch it again")
        container, payload = stream.container, stream.lossless
        mode = container.header.colour.name + ("A" if stream.reading.info.alpha_bytes is not None else "")
        with self.watch.coding(), named(stream.name):
            assert payload is not None
            assert payload.stored is not None
            if container.alpha:
                raise CorruptStreamError("it stores its picture, and an alpha packet besides")
            picture = restore(payload.stored, payload.body, container.header.width, container.header.height, mode)
        picture = replace(picture, metadata=stream.metadata)
        reading = stream.reading
        return Preview(picture, 1, 1, 0.0, 8.0 * len(container.payload), reading.verified, "exact", reading.problem)

    def _exact(self, walk: Walk, readers: Sequence[SymbolReader]) -> list[NDArray[np.uint8]]:
        """The pixels themselves, which end a stream for t = 0."""
        assert self.tables.lossless is not None
        last_step = LastStep(self.tables.lossless, self.plane, walk.levels)
        estimate = walk.estimate()
        found = []
        with self.watch.coding():
            for stream, canvas, reader in zip(self.streams, estimate, readers, strict=True):
                assert stream.lossless is not None
                try:
                    pixels = last_step.read(canvas, stream.lossless.steps, reader)
                except CorruptStreamError:
                    pixels = None  # what a wrong rounding leads to may be no symbols at all
                if pixels is None or pixel_checksum(pixels) != stream.lossless.checksum:
                    raise CorruptStreamError(
                        f"{stream.name}: the restored pixels do not have the checksum of the original; the network "
                        "computes too differently here (its device, or its libraries): decode on another, or "
                        "decompress with -t 1"
                    )
                found.append(pixels)
        return found


def stops_of(stream: Incoming, tables: CodecTables) -> list[Level]:
    """The levels that a stream visits.

    Raises:
        CorruptStreamError: if the model's list has fewer.
    """
    header = stream.container.header
    levels = tables.lists[header.level_list]
    if header.cut is not None:
        steps = header.cut.steps
    elif stream.lossless is not None:
        steps = stream.lossless.steps
    else:
        return levels.steps_to(tables.level(header.timestep))
    if steps > len(levels.levels):
        raise CorruptStreamError(f"{stream.name} is damaged: it claims {steps} steps")
    return list(levels.levels[:steps])


@contextmanager
def named(name: str) -> Iterator[None]:
    """Puts the stream's name before what is said about its damage."""
    try:
        yield
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{name} is damaged: {error}") from error
    except (TruncatedStreamError, UnsupportedVersionError) as error:
        raise type(error)(f"{name}: {error}") from error
