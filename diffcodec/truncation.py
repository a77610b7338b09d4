"""Shorter files from long ones: the first steps of a stream, read and written anew without the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from diffcodec.bitstream.container import Cut, Header, write_container
from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import FileChannel
from diffcodec.decompression import Incoming, named, stops_of
from diffcodec.errors import ConfigError, TruncatedStreamError
from diffcodec.messages import MessagePlan, TileBatch
from diffcodec.plane import Plane
from diffcodec.tables import CodecTables, Level

_SLACK_BYTES = 8
"""How much shorter, at most, a payload may be than one of fewer steps: where the coder's interval ends is chance."""


@dataclass(frozen=True)
class Shortening:
    """Makes shorter files of one stream.

    Args:
        stream: to be shortened.
        tables: of the model.
        plane: geometry of the picture.
        channel: of the stream.
        keep_metadata: whether the metadata packet is kept. The alpha packet is.
    """

    stream: Incoming
    tables: CodecTables
    plane: Plane
    channel: FileChannel
    keep_metadata: bool = True

    def longest(self, max_bytes: int) -> bytes:
        """The file of the most steps that has at most `max_bytes`.

        Raises:
            ConfigError: if there is none, or the stream stores its picture as a whole.
            StreamError: if the payload makes no sense, or does not hold a single step.
        """
        name, lossless = self.stream.name, self.stream.lossless
        container = self.stream.container
        is_stored = lossless is not None and lossless.stored is not None
        if is_stored and self.stream.reading.info.alpha_bytes is not None:
            container = replace(container, alpha=b"")  # says that the stored picture has one, even if it was damaged
        if not self.keep_metadata:
            container = replace(container, metadata=None)
        if self.stream.complete and len(whole := write_container(container)) <= max_bytes:
            return whole
        if is_stored:
            raise ConfigError(f"{name} stores its picture as a whole, without the model: it cannot be cut")
        stops = stops_of(self.stream, self.tables)
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
            raise TruncatedStreamError(f"{name} does not hold a single step that is whole")
        if best is None:
            raise ConfigError(f"{name} cannot be cut to {max_bytes} bytes: its first step takes {shortest}")
        return best

    def _payloads(self, stops: Sequence[Level]) -> Iterator[bytes]:
        """The payloads of the first step alone, of the first two, and so on, as far as the stream goes."""
        header = self.stream.container.header
        levels = self.tables.lists[header.level_list]
        reader, writer = self.stream.reader(), SymbolWriter()
        received, sent = coders = [LengthCoder(self.tables.length_weights) for _ in range(2)]
        plan = MessagePlan(self.tables, levels, self.plane, header.seed)
        for step, stop in enumerate(stops):
            plan.divide(coders, step, stop)
            try:
                with named(self.stream.name):
                    self._copy_step(plan.batches(step, stop), received, sent, reader, writer)
            except TruncatedStreamError:
                return
            yield writer.getvalue()

    def _copy_step(
        self, batches: Sequence[TileBatch], received: LengthCoder, sent: LengthCoder, reader: SymbolReader,
        writer: SymbolWriter,
    ) -> None:  # fmt: skip
        lengths = []
        for batch in batches:
            expected = batch.expected_length(self.channel)
            for tile in batch.tiles:
                lengths.append(received.decode(expected, reader, tile.number))
                batch.check_length(lengths[-1], self.channel)
                sent.encode(lengths[-1], expected, writer, tile.number)
        messages = [(batch, key) for batch in batches for key in batch.keys]
        for (batch, key), length in zip(messages, lengths, strict=True):
            groups = partial(batch.prior.groups, [self.channel.information_in(length)])
            self.channel.transcribe(batch.dims, groups, length, key, reader, writer)

    def _header(self, stops: Sequence[Level], steps: int) -> Header:
        """The header of the file of the first steps."""
        header = self.stream.container.header
        origin = header.timestep if header.cut is None else header.cut.timestep
        if steps == len(stops) and origin == header.timestep > 0:
            return header  # cut and damaged files may turn out to hold all of their steps
        reached = self.tables.timestep_at(stops[steps - 1])
        return replace(header, timestep=reached, cut=Cut(origin, steps))
