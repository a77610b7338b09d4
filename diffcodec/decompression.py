"""The receiver's side: from a file's content to the pictures that its prefixes restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.container import Container
from diffcodec.bitstream.entropy import PrefixReader, SymbolReader
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Channel
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError, CorruptStreamError, TruncatedStreamError
from diffcodec.images import Picture, decode_alpha
from diffcodec.last_step import LastStep
from diffcodec.lossless.payload import LosslessPayload, pixel_checksum
from diffcodec.lossless.stored import restore
from diffcodec.plane import Plane
from diffcodec.results import Preview, Stopwatch
from diffcodec.tables import CodecTables, Level
from diffcodec.walk import Walk, max_length


@dataclass(frozen=True)
class Receiver:
    """Restores one picture.

    Args:
        denoiser: the network.
        tables: of the model.
        plane: geometry of the picture.
        channel: simulates the samples.
        container: the file's content.
        complete: whether its payload is all there.
        verified: whether its checksum was checked.
        name: of the stream, for messages.
        watch: is given the times.
    """

    denoiser: Denoiser
    tables: CodecTables
    plane: Plane
    channel: Channel
    container: Container
    complete: bool
    verified: bool
    name: str
    watch: Stopwatch

    def previews(self, timestep: int | None, *, every: bool) -> Iterator[Preview]:
        """Walk down the levels, reading; yields the last picture, or every one.

        Args:
            timestep: stop at the last level that is not finer than this; None: at the end.
            every: whether to yield after each step.

        Raises:
            StreamError: if the payload makes no sense.
            ConfigError: if the stream has no levels to stop at.
        """
        header = self.container.header
        lossless = self._lossless_payload() if header.timestep == 0 else None
        if lossless is not None and lossless.stored is not None:
            if timestep is not None:
                raise ConfigError(f"{self.name} stores its picture without the model: it has no coarser version")
            yield self._stored(lossless)
            return
        payload = self.container.payload if lossless is None else lossless.body
        stops = self._stops(lossless)
        stop_after = len(stops) if timestep is None else self._steps_until(stops, timestep)
        reader = SymbolReader(payload) if self.complete else PrefixReader(payload)
        lengths = LengthCoder(self.tables.length_weights)
        alpha = self._alpha()
        levels = self.tables.lists[header.level_list]
        walk = Walk(self.denoiser, self.plane, levels, stops[-1], header.seed, 1, self.watch, self.tables.start)
        steps = len(stops) + (lossless is not None)

        def preview(done: int, pixels: NDArray[np.uint8] | None = None) -> Preview:
            if pixels is not None:
                reached = 0.0
            elif done:
                reached = round(float(self.denoiser.schedule.timestep(walk.level.log_snr)), 3)
            else:
                reached = float(len(self.tables.timesteps))
            picture = Picture(self.plane.pixels(walk.estimate()[0]) if pixels is None else pixels, alpha)
            return Preview(picture, done, steps, reached, reader.information_bits, self.verified)

        done = 0
        for step, stop in walk.steps():
            if step == stop_after:
                break
            # A cut file is read before the network runs: what is not there need not be predicted.
            try:
                with self.watch.coding(), named(self.name):
                    length = lengths.decode(walk.expected_length(step, self.channel), reader)
                    check_length(length, self.plane, self.channel)
                    sample = self.channel.decode(self.plane.dims, 1.0, [length], walk.key(step), [reader])
            except TruncatedStreamError:
                break
            estimate = walk.estimate()
            with self.watch.coding():
                walk.advance(step, stop, estimate, sample)
            done = step + 1
            if every:
                yield preview(done)
        if lossless is not None and timestep is None and done == len(stops) and self.complete:
            yield preview(steps, self._exact(lossless, walk, reader))
        elif not every:
            yield preview(done)

    def _stops(self, lossless: LosslessPayload | None) -> list[Level]:
        """The levels that the stream visits."""
        header = self.container.header
        levels = self.tables.lists[header.level_list]
        if lossless is None:
            return levels.steps_to(self.tables.level(header.timestep))
        if lossless.steps > len(levels.levels):
            raise CorruptStreamError(f"{self.name} is damaged: it claims {lossless.steps} steps")
        return list(levels.levels[: lossless.steps])

    def _steps_until(self, stops: list[Level], timestep: int) -> int:
        """Number of steps that lead to the stream's last level not finer than `timestep`."""
        finest = self.container.header.timestep
        if 0 <= timestep < finest:
            raise ConfigError(f"timestep {timestep} is finer than the stream, which ends at {finest}")
        wanted = self.tables.level(timestep)
        return sum(level.log_snr <= wanted.log_snr for level in stops)

    def _lossless_payload(self) -> LosslessPayload:
        with named(self.name):
            try:
                return LosslessPayload.from_bytes(self.container.payload)
            except TruncatedStreamError as error:
                if self.complete:  # the file is whole, so its writer made it too short
                    raise CorruptStreamError(str(error)) from error
                raise

    def _stored(self, payload: LosslessPayload) -> Preview:
        if not self.complete:
            raise TruncatedStreamError(f"{self.name} is cut, and stores its picture as a whole: fetch it again")
        header = self.container.header
        mode = header.colour.name + ("A" if self.container.alpha is not None else "")
        with self.watch.coding(), named(self.name):
            assert payload.stored is not None
            if self.container.alpha:
                raise CorruptStreamError("it stores its picture, and an alpha packet besides")
            picture = restore(payload.stored, payload.body, header.width, header.height, mode)
        return Preview(picture, 1, 1, 0.0, 8.0 * len(self.container.payload), self.verified)

    def _exact(self, payload: LosslessPayload, walk: Walk, reader: SymbolReader) -> NDArray[np.uint8]:
        assert self.tables.lossless is not None
        last_step = LastStep(self.tables.lossless, self.plane, walk.levels)
        estimate = walk.estimate()[0]
        with self.watch.coding():
            try:
                pixels = last_step.read(estimate, payload.steps, reader)
                if pixel_checksum(pixels) == payload.checksum:
                    return pixels
            except CorruptStreamError:
                pass  # what a wrong rounding leads to may be no symbols at all
        raise CorruptStreamError(
            f"{self.name}: the restored pixels do not have the checksum of the original; the network computes too "
            "differently here (its device, or its libraries): decode on another, or decompress with -t 1"
        )

    def _alpha(self) -> NDArray[np.uint8] | None:
        if self.container.alpha is None:
            return None
        header = self.container.header
        with named(self.name):
            return decode_alpha(self.container.alpha, header.width, header.height)


def check_length(length: int, plane: Plane, channel: Channel) -> None:
    """A length that no encoder writes must not make the decoder allocate.

    Raises:
        CorruptStreamError: if it is one.
    """
    if length > max_length(channel, plane.dims):
        bits = length * channel.bits_per_length
        raise CorruptStreamError(f"a step claims {bits} path bits for {plane.dims} subpixels")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Puts the stream's name before what is said about its damage."""
    try:
        yield
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{name} is damaged: {error}") from error
    except TruncatedStreamError as error:
        raise TruncatedStreamError(f"{name}: {error}") from error
