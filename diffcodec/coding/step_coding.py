"""The protocol of one step, written once: the lengths of all messages, then their samples.

Three verbs follow it: `send` writes a step, `receive` reads it, `copy` reads it and writes it again. They obey
receive(send(x)) = x, and copy(send(x)) is a prefix of send(x). Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import delivered_bits, kl_bits
from diffcodec.coding.context import StreamContext
from diffcodec.coding.step_plan import TileMessages
from diffcodec.errors import naming_stream
from diffcodec.model.tables import Level


@dataclass
class OutgoingPayload:
    """The payload of one picture while it is written, and its cost.

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

    def copy(self) -> OutgoingPayload:
        """An independent copy of the payload."""
        return replace(self, lengths=deepcopy(self.lengths), writer=self.writer.copy())


@dataclass
class IncomingPayload:
    """The payload of one picture while it is read.

    Args:
        name: of the stream, for messages.
        lengths: code of the step lengths.
        reader: returns all symbols.
    """

    name: str
    lengths: LengthCoder
    reader: SymbolReader


@dataclass(frozen=True)
class StepCoder:
    """Sends, receives and copies the steps of streams that share a context."""

    context: StreamContext

    def send(
        self, step: int, end: Level, errors: NDArray[np.float32], payloads: Sequence[OutgoingPayload]
    ) -> NDArray[np.float32]:
        """Write one step.

        Args:
            step: running number.
            end: the level that it leads to.
            errors: of the x_0 estimates, coded coordinates, (N, C, H, W). They are overwritten.
            payloads: of the N pictures.

        Returns:
            Displacements of the samples from the mean of p, in units of q's standard deviation, (N, C, H, W): the array
            that held the errors.
        """
        self._follow(
            step,
            end,
            [payload.lengths for payload in payloads],
            partial(self._send_lengths, errors, payloads),
            partial(self._send_samples, errors, payloads),
        )
        return errors

    def receive(self, step: int, end: Level, payloads: Sequence[IncomingPayload]) -> NDArray[np.float32]:
        """Read one step and return the displacements that `send` returned.

        Raises:
            StreamError: if a payload is malformed, or ends early.
        """
        displacements = np.empty((len(payloads), *self.context.canvas.coded_shape), np.float32)
        self._follow(
            step,
            end,
            [payload.lengths for payload in payloads],
            partial(self._receive_lengths, payloads),
            partial(self._receive_samples, displacements, payloads),
        )
        return displacements

    def copy(self, step: int, end: Level, source: IncomingPayload, out: OutgoingPayload) -> None:
        """Read one step and write it again, without decoding its samples.

        Raises:
            StreamError: as `receive`.
        """
        self._follow(
            step,
            end,
            [source.lengths, out.lengths],
            partial(self._copy_lengths, source, out),
            partial(self._copy_samples, source, out),
        )

    def _follow(
        self,
        step: int,
        end: Level,
        coders: Sequence[LengthCoder],
        lengths_of: Callable[[TileMessages], list[list[int]]],
        do_samples: Callable[[TileMessages, list[int]], None],
    ) -> None:
        """The order of a step's symbols: the lengths of all messages, then the samples of each."""
        plan = self.context.plan
        batches = plan.batches(step, end)
        plan.divide(coders, step, end)
        lengths = [lengths_of(batch) for batch in batches]
        for batch, of_batch in zip(batches, lengths, strict=True):
            for part, own in batch.parts_with(of_batch):
                do_samples(part, own)

    # ------------------------------------------------------------------------------------------- lengths

    def _send_lengths(
        self, errors: NDArray[np.float32], payloads: Sequence[OutgoingPayload], batch: TileMessages
    ) -> list[list[int]]:
        """Write the lengths that the errors need; returns the lengths sent, a list per picture."""
        channel = self.context.channel
        expected, longest = batch.expected_length(channel), batch.max_length(channel)
        divergences = [
            batch.prior.divergence(batch.prior.coefficients(part.cut(errors))).reshape(len(payloads), -1)
            for part in batch.parts(len(payloads))
        ]
        lengths = []
        for payload, row in zip(payloads, np.concatenate(divergences, axis=1).tolist(), strict=True):
            before = payload.writer.information_bits
            wanted = [min(channel.length_for(kl, batch.dims), longest) for kl in row]
            lengths.append(
                [
                    payload.lengths.encode(length, expected, payload.writer, tile.number)
                    for tile, length in zip(batch.tiles, wanted, strict=True)
                ]
            )
            payload.side_bits += payload.writer.information_bits - before
        return lengths

    def _receive_lengths(self, payloads: Sequence[IncomingPayload], batch: TileMessages) -> list[list[int]]:
        channel = self.context.channel
        expected, lengths = batch.expected_length(channel), []
        for payload in payloads:
            with naming_stream(payload.name):
                row = [payload.lengths.decode(expected, payload.reader, tile.number) for tile in batch.tiles]
                batch.check_length(max(row), channel)
                lengths.append(row)
        return lengths

    def _copy_lengths(self, source: IncomingPayload, out: OutgoingPayload, batch: TileMessages) -> list[list[int]]:
        rows = self._receive_lengths([source], batch)
        expected = batch.expected_length(self.context.channel)
        for tile, length in zip(batch.tiles, rows[0], strict=True):
            out.lengths.encode(length, expected, out.writer, tile.number)
        return rows

    # ------------------------------------------------------------------------------------------- samples

    def _send_samples(
        self, errors: NDArray[np.float32], payloads: Sequence[OutgoingPayload], part: TileMessages, lengths: list[int]
    ) -> None:
        """Write the samples of some tiles, and overwrite their errors with the displacements."""
        channel, prior, tiles = self.context.channel, part.prior, len(part.tiles)
        writers = [payload.writer for payload in payloads for _ in range(tiles)]
        coefficients = prior.coefficients(part.cut(errors))
        groups = prior.groups([channel.information_in(length) for length in lengths])
        mean, std = prior.mean(coefficients, groups), 1.0 if groups is None else groups.each_std
        before = [payload.writer.information_bits for payload in payloads]
        sample = channel.encode(mean, groups, lengths, part.keys_for(len(payloads)), writers)
        kl = kl_bits(mean, std).reshape(-1, tiles).sum(axis=1)
        arrived = delivered_bits(sample, mean, std).reshape(-1, tiles).sum(axis=1)
        for index, payload in enumerate(payloads):
            payload.path_bits += payload.writer.information_bits - before[index]
            payload.ideal_bits += float(kl[index])
            payload.delivered_bits += float(arrived[index])
        part.paste(prior.displacement(sample, groups), errors)

    def _receive_samples(
        self,
        displacements: NDArray[np.float32],
        payloads: Sequence[IncomingPayload],
        part: TileMessages,
        lengths: list[int],
    ) -> None:
        channel, prior = self.context.channel, part.prior
        groups = prior.groups([channel.information_in(length) for length in lengths])
        readers = [payload.reader for payload in payloads for _ in part.tiles]
        with naming_stream(", ".join(payload.name for payload in payloads)):
            sample = channel.decode(part.dims, groups, lengths, part.keys_for(len(payloads)), readers)
        part.paste(prior.displacement(sample, groups), displacements)

    def _copy_samples(
        self, source: IncomingPayload, out: OutgoingPayload, part: TileMessages, lengths: list[int]
    ) -> None:
        channel = self.context.channel
        for key, length in zip(part.keys, lengths, strict=True):
            groups = partial(part.prior.groups, [channel.information_in(length)])
            with naming_stream(source.name):
                channel.transcribe(part.dims, groups, length, key, source.reader, out.writer)
