"""The decoder: restores pictures from a file's content or from prefixes of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diffcodec.coding.reconstruction import Reconstruction
from diffcodec.coding.report import Restoration, Stopwatch
from diffcodec.coding.restoring import reconstruct
from diffcodec.coding.step_coding import IncomingPayload
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.trajectory import CodecContext, Trajectory
from diffcodec.errors import CorruptStreamError, TruncatedStreamError, naming_stream
from diffcodec.images import Picture
from diffcodec.images.metadata import Metadata
from diffcodec.lossless.payload import pixel_checksum
from diffcodec.lossless.stored import restore as restore_stored


@dataclass(frozen=True)
class Decoder:
    """Restores a batch of pictures.

    Args:
        context: network, tables, geometry, channel.
        streams: with the same `batch_key`; a cut stream must be alone.
        reconstruction: makes pictures from noisy states.
        watch: measures the times.
    """

    context: CodecContext
    streams: Sequence[ParsedStream]
    reconstruction: Reconstruction
    watch: Stopwatch

    def restore(self, timestep: int | None) -> list[Restoration]:
        """The pictures at the end of the streams, one per stream.

        Args:
            timestep: stop at the last level that is not finer than this; None: at the end.

        Raises:
            StreamError: if a payload is malformed.
            ConfigError: if the streams have no such level.
        """
        return next(self._restorations(timestep, every=False))

    def progressive(self) -> Iterator[list[Restoration]]:
        """The pictures after every step; if a cut stream lacks even the first step, those made from pure noise.

        Raises:
            StreamError: if a payload is malformed.
        """
        return self._restorations(None, every=True)

    def _restorations(self, timestep: int | None, *, every: bool) -> Iterator[list[Restoration]]:
        first, tables = self.streams[0], self.context.tables
        stop_after = first.steps_until(timestep, tables)
        if first.is_stored:
            yield [self._stored(stream) for stream in self.streams]
            return
        stops = first.stops(tables)
        payloads = [stream.open_payload(tables) for stream in self.streams]
        packets: list[tuple[NDArray[np.uint8] | None, Metadata]] = []
        trajectory = Trajectory(self.context, stops[-1], len(self.streams), self.watch)
        steps = len(stops) + (first.lossless is not None)

        received = _information(payloads)  # of complete steps: a cut stream may end within one

        def restorations(done: int, exact: Sequence[NDArray[np.uint8]] | None = None) -> list[Restoration]:
            how = self._method(trajectory, every=every)
            pictures = self._pixels(trajectory, how) if exact is None else exact
            share = self.watch.share(len(self.streams))
            return [
                Restoration(
                    picture=Picture(pixels, alpha, metadata),
                    step=done,
                    steps=steps,
                    timestep=self._timestep(trajectory, done) if exact is None else 0.0,
                    payload_bits=bits,
                    verified=stream.reading.verified,
                    reconstruction=how.kind if exact is None else "exact",
                    problem=stream.reading.problem,
                    network_s=share.network_s,
                    coding_s=share.coding_s,
                )
                for pixels, (alpha, metadata), bits, stream in zip(
                    pictures, packets, received, self.streams, strict=True
                )
            ]

        done = 0
        for step, stop in trajectory.steps():
            if step == stop_after:
                break
            # Read the step before running the network: a step missing from a cut file needs no estimate.
            try:
                with self.watch.coding():
                    displacement = self.context.steps.receive(step, stop, payloads)
            except TruncatedStreamError:
                break
            received = _information(payloads)
            # Not before the first step has been read: a few bytes may stand for as many as the picture has pixels.
            packets = packets or self._packets()
            trajectory.estimate()
            with self.watch.coding():
                trajectory.advance(step, stop, displacement)
            done = step + 1
            if every:
                yield restorations(done)
        packets = packets or self._packets()
        if first.lossless is not None and stop_after is None and done == len(stops) and first.is_complete:
            exact = self._exact(trajectory, payloads)
            received = _information(payloads)
            yield restorations(steps, exact)
        elif not every or not done:
            yield restorations(done)

    def _packets(self) -> list[tuple[NDArray[np.uint8] | None, Metadata]]:
        """Alpha plane and metadata of each stream."""
        return [(stream.alpha, stream.metadata) for stream in self.streams]

    def _method(self, trajectory: Trajectory, *, every: bool) -> Reconstruction:
        """How pictures are made from the current state; `auto` is `mean` where every step is shown."""
        usual = "mean" if every else self.context.usual_reconstruction(trajectory.level.log_snr)
        return self.reconstruction.resolved(usual)

    def _pixels(self, trajectory: Trajectory, how: Reconstruction) -> list[NDArray[np.uint8]]:
        """The pictures that a reconstruction makes from the current state."""
        names = [zlib.crc32(stream.container.payload) for stream in self.streams]
        signal, canvas = self.context.signal, self.context.canvas
        return [signal.to_pixels(x_0, canvas) for x_0 in reconstruct(how, trajectory, names)]

    def _timestep(self, trajectory: Trajectory, done: int) -> float:
        """The timestep of the current state; T before the first step."""
        if not done:
            return float(len(self.context.tables.timesteps))
        return trajectory.timestep

    def _stored(self, stream: ParsedStream) -> Restoration:
        reading, container, header = stream.reading, stream.container, stream.header
        if not stream.is_complete:
            state = "cut" if reading.is_short else "damaged"
            raise TruncatedStreamError(
                f"{stream.name} is {state} and stores its picture as a whole, so no part of it can be restored: "
                "fetch it again"
            )
        payload = stream.lossless
        assert payload is not None
        assert payload.stored is not None
        mode = header.colour.name + ("A" if reading.info.alpha_bytes is not None else "")
        with self.watch.coding(), naming_stream(stream.name):
            if container.alpha:
                raise CorruptStreamError("a stored picture must not have an alpha packet")
            picture = restore_stored(payload.stored, payload.body, header.width, header.height, mode)
        return Restoration(
            picture=replace(picture, metadata=stream.metadata),
            step=1,
            steps=1,
            timestep=0.0,
            payload_bits=8.0 * len(container.payload),
            verified=reading.verified,
            reconstruction="exact",
            problem=reading.problem,
            network_s=self.watch.network_s,
            coding_s=self.watch.coding_s,
        )

    def _exact(self, trajectory: Trajectory, payloads: Sequence[IncomingPayload]) -> list[NDArray[np.uint8]]:
        """The exact pixels, from the last part of a stream for t = 0."""
        coder = self.context.lossless_coder
        estimate = trajectory.checked_estimate()
        found = []
        with self.watch.coding():
            for stream, x_0, payload in zip(self.streams, estimate, payloads, strict=True):
                assert stream.lossless is not None
                levels = self.context.signal.grey_levels(x_0, self.context.canvas)
                try:
                    pixels = coder.read(levels, stream.lossless.steps, payload.reader)
                except CorruptStreamError:
                    pixels = None  # a differently rounded estimate may lead to invalid symbols
                if pixels is None or pixel_checksum(pixels) != stream.lossless.checksum:
                    raise CorruptStreamError(
                        f"{stream.name}: the restored pixels do not match the checksum of the original; the network's "
                        "results differ too much on this device or with these libraries: decode on another device, or "
                        "restore timestep 1 instead of 0"
                    )
                found.append(pixels)
        return found


def _information(payloads: Sequence[IncomingPayload]) -> list[float]:
    """Bits read from each payload."""
    return [payload.reader.information_bits for payload in payloads]
