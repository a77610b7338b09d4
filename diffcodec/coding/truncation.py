"""Shortens files: copies the first steps of a stream without the network. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from diffcodec.bitstream.container import Header, Shortened, write_container
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.coding.context import StreamContext
from diffcodec.coding.matching import stream_context
from diffcodec.coding.step_coding import OutgoingPayload, StepCoder
from diffcodec.coding.stream import ParsedStream
from diffcodec.errors import ConfigError, TruncatedStreamError
from diffcodec.model.description import ModelDescription
from diffcodec.model.levels import Level

_SLACK_BYTES = 8
"""How much shorter, at most, a payload may be than one of fewer steps: the length of the coder's last word varies."""


@dataclass(frozen=True)
class Truncation:
    """Makes shorter files of one stream.

    Args:
        stream: to be shortened.
        context: of the stream.
        keep_metadata: whether the metadata packet is kept. The alpha packet always is.
    """

    stream: ParsedStream
    context: StreamContext
    keep_metadata: bool = True

    def longest(self, max_bytes: int) -> bytes:
        """The file with the most steps that has at most `max_bytes`.

        Raises:
            ConfigError: if there is none, or the stream stores its picture as a whole.
            StreamError: if the payload is malformed, or does not hold a single step.
        """
        name, container = self.stream.name, self.stream.container
        if self.stream.is_stored and self.stream.reading.info.alpha_bytes is not None:
            container = replace(container, alpha=b"")  # marks that the stored picture has alpha, even if damaged
        if not self.keep_metadata:
            container = replace(container, metadata=None)
        if self.stream.is_complete and len(whole := write_container(container)) <= max_bytes:
            return whole
        if self.stream.is_stored:
            raise ConfigError(f"{name} stores its picture as a whole, without the model: it cannot be truncated")
        stops = self.stream.stops(self.context.tables)
        best, shortest = None, None
        for steps, payload in enumerate(self._payloads(stops), 1):
            header = self._header(stops, steps)
            data = write_container(replace(container, header=header, payload=payload))
            shortest = min(shortest or len(data), len(data))
            if len(data) <= max_bytes:
                best = data
            elif len(data) > max_bytes + _SLACK_BYTES:
                break
        if shortest is None:
            raise TruncatedStreamError(f"{name} does not hold a single complete step")
        if best is None:
            raise ConfigError(f"{name} cannot be truncated to {max_bytes} bytes: with one step it takes {shortest}")
        return best

    def _payloads(self, stops: Sequence[Level]) -> Iterator[bytes]:
        """The payloads of the first step alone, of the first two, and so on, as far as the stream goes."""
        tables = self.context.tables
        source, out = self.stream.open_payload(tables), OutgoingPayload(LengthCoder(tables.length_weights))
        coder = StepCoder(self.context)
        for step, stop in enumerate(stops):
            try:
                coder.copy(step, stop, source, out)
            except TruncatedStreamError:
                return
            yield out.writer.getvalue()

    def _header(self, stops: Sequence[Level], steps: int) -> Header:
        """The header of the file of the first steps."""
        header = self.stream.header
        origin = header.timestep if header.shortened is None else header.shortened.timestep
        if steps == len(stops) and origin == header.timestep > 0:
            return header  # a cut or damaged file may still hold all of its steps
        reached = self.context.tables.timestep_at(stops[steps - 1])
        return replace(header, timestep=reached, shortened=Shortened(origin, steps))


def truncate(stream: ParsedStream, model: ModelDescription, max_bytes: int, *, keep_metadata: bool = True) -> bytes:
    """Shorten a file: keep as many of its steps as fit. The network does not run.

    The result is an ordinary .dfc file, with checksums. It restores the same picture as the original stopped at the
    same step. The alpha plane is kept.

    Args:
        stream: the file. One for t = 0 is no longer lossless, unless all of it fits.
        model: that made it.
        max_bytes: maximum length of the result.
        keep_metadata: whether to keep colour profile and EXIF.

    Raises:
        ConfigError: if not even one step fits, or the stream stores its picture as a whole.
        StreamError: if the stream is damaged, or of another model.
    """
    return Truncation(stream, stream_context(model, stream), keep_metadata).longest(max_bytes)
