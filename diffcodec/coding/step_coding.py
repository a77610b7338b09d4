"""The protocol of one step, written once: the lengths of all messages, then their samples.

Three verbs follow it: `send` writes a step, `receive` reads it, `copy` reads it and writes it again. They obey
receive(send(x)) = x, and copy(send(x)) is a prefix of send(x). Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Message, measure_information
from diffcodec.channel.threads import in_threads, thread_count
from diffcodec.coding.context import StreamContext
from diffcodec.coding.report import StepReport
from diffcodec.coding.step_plan import TileMessages
from diffcodec.errors import naming_stream
from diffcodec.model.levels import Level

PARTS_AT_ONCE = 4
"""Parts of a step, of about `step_plan.PIXELS_AT_ONCE` pixels, that are worked on at a time: a bound on memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(function: Callable[[Item], Result], parts: Sequence[Item]) -> list[Result]:
    """The function's results for the parts of a step, which take threads of their own."""
    return in_threads(function, parts, min(PARTS_AT_ONCE, thread_count()))


@dataclass
class OutgoingPayload:
    """The payload of one picture while it is written, and its cost.

    Args:
        lengths: code of the step lengths.
        writer: takes all symbols.
        side_bits, path_bits, ideal_bits, delivered_bits: see `Report`.
        steps: a row for every step.
    """

    lengths: LengthCoder
    writer: SymbolWriter = field(default_factory=SymbolWriter)
    side_bits: float = 0.0
    path_bits: float = 0.0
    ideal_bits: float = 0.0
    delivered_bits: float = 0.0
    steps: tuple[StepReport, ...] = ()

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
        coders = [payload.lengths for payload in payloads]
        parts = self._follow(step, end, coders, partial(self._send_lengths, errors, payloads))
        for found in at_once(lambda part: self._select(errors, *part), parts):
            self._write(payloads, *found)
        return errors

    def receive(self, step: int, end: Level, payloads: Sequence[IncomingPayload]) -> NDArray[np.float32]:
        """Read one step and return the displacements that `send` returned.

        Raises:
            StreamError: if a payload is malformed, or ends early.
        """
        coders = [payload.lengths for payload in payloads]
        parts = self._follow(step, end, coders, partial(self._receive_lengths, payloads))
        read = [(*part, self._read(payloads, *part)) for part in parts]
        # Nothing as large as the picture is made before all of the step's symbols have been read.
        displacements = np.empty((len(payloads), *self.context.canvas.coded_shape), np.float32)
        at_once(lambda part: self._place(displacements, *part), read)
        return displacements

    def copy(self, step: int, end: Level, source: IncomingPayload, out: OutgoingPayload) -> None:
        """Read one step and write it again, without decoding its samples.

        Raises:
            StreamError: as `receive`.
        """
        for part in self._follow(step, end, [source.lengths, out.lengths], partial(self._copy_lengths, source, out)):
            for message in self._read([source], *part):
                self.context.channel.write(message, out.writer)

    def _follow(
        self,
        step: int,
        end: Level,
        coders: Sequence[LengthCoder],
        lengths_of: Callable[[TileMessages], list[list[int]]],
    ) -> list[tuple[TileMessages, list[int]]]:
        """The lengths of all messages of a step; returns the parts whose samples follow, with their lengths."""
        plan = self.context.plan
        batches = plan.batches(step, end)
        plan.divide(coders, step, end)
        lengths = [lengths_of(batch) for batch in batches]
        return [part for batch, of_batch in zip(batches, lengths, strict=True) for part in batch.parts_with(of_batch)]

    # ------------------------------------------------------------------------------------------- lengths

    def _send_lengths(
        self, errors: NDArray[np.float32], payloads: Sequence[OutgoingPayload], batch: TileMessages
    ) -> list[list[int]]:
        """Write the lengths that the errors need, and transform the errors.

        Returns:
            The lengths sent, a list per picture.
        """
        channel = self.context.channel
        expected, longest = batch.expected_length(channel), batch.max_length(channel)

        def divergence(part: TileMessages) -> NDArray[np.float64]:
            coefficients = part.prior.coefficients(part.cut(errors))
            part.paste(coefficients, errors)
            return part.prior.divergence(coefficients).reshape(len(payloads), -1)

        divergences = at_once(divergence, list(batch.parts(len(payloads))))
        lengths = []
        for payload, row in zip(payloads, np.concatenate(divergences, axis=1).tolist(), strict=True):
            before = payload.writer.information_bits
            wanted = [min(channel.length_for(kl, batch.sent_dims), longest) for kl in row]
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

    def _select(
        self, coefficients: NDArray[np.float32], part: TileMessages, lengths: list[int]
    ) -> tuple[list[Message], NDArray[np.float64], NDArray[np.float64]]:
        """Select the messages of some tiles, and overwrite their coefficients with the displacements.

        Returns:
            The messages, picture by picture; and for each, KL and delivered information in bits.
        """
        channel, prior, keys = self.context.channel, part.prior, part.keys_for(len(coefficients))
        groups = prior.groups([channel.information_in(length) for length in lengths])
        mean = prior.mean(part.cut(coefficients), groups)
        messages, sample = channel.select(mean, groups, lengths, keys)
        divergence, arrived = measure_information(sample, mean, groups)
        part.paste(prior.displacement(sample, groups, keys), coefficients)
        return messages, divergence, arrived

    def _write(
        self,
        payloads: Sequence[OutgoingPayload],
        messages: list[Message],
        divergence: NDArray[np.float64],
        arrived: NDArray[np.float64],
    ) -> None:
        """Write the messages of some tiles."""
        of_each = len(messages) // len(payloads)
        for index, payload in enumerate(payloads):
            own = slice(index * of_each, (index + 1) * of_each)
            before = payload.writer.information_bits
            for message in messages[own]:
                self.context.channel.write(message, payload.writer)
            payload.path_bits += payload.writer.information_bits - before
            payload.ideal_bits += float(divergence[own].sum())
            payload.delivered_bits += float(arrived[own].sum())

    def _read(self, payloads: Sequence[IncomingPayload], part: TileMessages, lengths: list[int]) -> list[Message]:
        """Read the messages of some tiles, picture by picture."""
        channel, prior, messages = self.context.channel, part.prior, []
        sources = [(payload, key) for payload in payloads for key in part.keys]
        for (payload, key), length in zip(sources, lengths, strict=True):
            groups = prior.pending(channel.information_in(length))
            with naming_stream(payload.name):
                messages.append(channel.read(part.sent_dims, groups, length, key, payload.reader))
        return messages

    def _place(
        self, displacements: NDArray[np.float32], part: TileMessages, lengths: list[int], messages: list[Message]
    ) -> None:
        """Write the displacements that messages stand for."""
        channel, prior, keys = self.context.channel, part.prior, part.keys_for(len(displacements))
        groups = prior.groups([channel.information_in(length) for length in lengths])
        sample = channel.samples(part.sent_dims, groups, lengths, keys, messages)
        part.paste(prior.displacement(sample, groups, keys), displacements)
