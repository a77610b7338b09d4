"""The law of the steps: receive(send(x)) = x, and copy(send(x)) is a prefix of it.

Also of what surrounds it: that no network takes part, that pictures of a batch do not mix, that a forked payload grows
on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import PrefixReader, SymbolReader
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import ChannelId, make_channel
from diffcodec.coding.canvas import GREY, RGB, Canvas, SignalKind
from diffcodec.coding.context import StreamContext
from diffcodec.coding.step_coding import IncomingPayload, OutgoingPayload, StepCoder
from diffcodec.coding.step_plan import TileMessages
from diffcodec.errors import CorruptStreamError, TruncatedStreamError
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.levels import MSE_SCALE, Level, LevelList
from diffcodec.model.tables import OCTAVE_STEPS, CodecTables

Coordinates = NDArray[np.float32]


def with_unsent(tables: CodecTables, share: int) -> CodecTables:
    """The tables with a share of the information that is not sent."""
    assert tables.variances is not None
    return replace(tables, variances=replace(tables.variances, unsent_share=share))


def without_variances(tables: CodecTables) -> CodecTables:
    """The tables with errors of whole steps instead of variances by band."""
    variances = tables.variances
    assert variances is not None

    def mse(level: Level | None) -> int:
        return round(MSE_SCALE * float(np.mean(2.0 ** (np.array(variances.at(level)) / OCTAVE_STEPS))))

    lists = tuple(
        LevelList(each.max_pixels, each.levels, tuple(mse(each.start_of(step)) for step in range(len(each.levels))))
        for each in tables.lists
    )
    return replace(tables, lists=lists, variances=None)


@dataclass(frozen=True)
class Case:
    """A kind of streams, and how wrong the estimates of its steps are."""

    kind: SignalKind
    width: int
    height: int
    tile_side: int
    by_band: bool
    channel: ChannelId
    pictures: int
    end: int
    seed: int
    error: float
    unsent_share: int = 0

    def context(self, tables: CodecTables) -> StreamContext:
        canvas = Canvas(self.kind, self.width, self.height, 4, self.tile_side)
        own = with_unsent(tables, self.unsent_share) if self.by_band else without_variances(tables)
        return StreamContext(own, canvas, make_channel(self.channel, 8), self.seed, 0)

    def stops(self, context: StreamContext) -> list[Level]:
        """The levels that the streams visit; the last one need not be on the list."""
        return context.levels.steps_to(context.tables.level(self.end))

    def errors(self, context: StreamContext) -> list[Coordinates]:
        """Errors of the estimates at every step, (N, C, H, W): half of each picture is calm."""
        rng = np.random.default_rng(self.seed % 1000)
        found = []
        for _ in self.stops(context):
            errors = rng.normal(0, self.error, (self.pictures, *context.canvas.coded_shape)).astype(np.float32)
            errors[..., self.width // 2 :] *= 0.1
            found.append(errors)
        return found


def cases_of(
    channel: ChannelId, widths: st.SearchStrategy[int], heights: st.SearchStrategy[int]
) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        kind=st.sampled_from([RGB, GREY]),
        width=widths,
        height=heights,
        tile_side=st.sampled_from([0, 32, 64]),
        unsent_share=st.sampled_from([0, 26]),
        by_band=st.booleans(),
        channel=st.just(channel),
        pictures=st.integers(1, 3),
        end=st.sampled_from([700, 300, 150, 50]),
        seed=st.integers(0, 2**64 - 1),
        error=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    )


small = st.integers(1, 12)
cases = st.one_of(
    cases_of(ChannelId.TRELLIS, small | st.sampled_from([33, 64, 100]), small | st.sampled_from([32, 50])),
    cases_of(ChannelId.POISSON, st.integers(1, 6) | st.sampled_from([48, 70]), st.integers(1, 2)),  # slow
)


@pytest.fixture(scope="module")
def tables(tiny_checkpoint: Checkpoint) -> CodecTables:
    assert tiny_checkpoint.tables is not None
    return tiny_checkpoint.tables


def new_payload(context: StreamContext) -> OutgoingPayload:
    return OutgoingPayload(LengthCoder(context.tables.length_weights))


def sent(
    context: StreamContext, stops: Sequence[Level], steps: Sequence[Coordinates]
) -> tuple[list[Coordinates], list[OutgoingPayload]]:
    """Sends steps; returns the samples, as displacements, and the payloads."""
    payloads = [new_payload(context) for _ in steps[0]]
    samples = [
        StepCoder(context).send(step, stop, errors.copy(), payloads)
        for step, (stop, errors) in enumerate(zip(stops, steps, strict=True))
    ]
    return samples, payloads


def opened(context: StreamContext, data: bytes) -> IncomingPayload:
    return IncomingPayload("a.dfc", LengthCoder(context.tables.length_weights), SymbolReader(data))


def received(context: StreamContext, stops: Sequence[Level], payloads: Sequence[IncomingPayload]) -> list[Coordinates]:
    return [StepCoder(context).receive(step, stop, payloads) for step, stop in enumerate(stops)]


def copied(context: StreamContext, stops: Sequence[Level], source: IncomingPayload) -> OutgoingPayload:
    out = new_payload(context)
    for step, stop in enumerate(stops):
        StepCoder(context).copy(step, stop, source, out)
    return out


@settings(max_examples=40)
@given(case=cases)
def test_what_is_received_is_what_was_sent(tables: CodecTables, case: Case) -> None:
    context = case.context(tables)
    stops = case.stops(context)
    samples, payloads = sent(context, stops, case.errors(context))
    incoming = [opened(context, payload.writer.getvalue()) for payload in payloads]
    found = received(context, stops, incoming)
    for sample, receipt in zip(samples, found, strict=True):
        assert receipt.shape == sample.shape == (case.pictures, *context.canvas.coded_shape)
        np.testing.assert_allclose(receipt, sample, rtol=1e-5, atol=1e-5)
    for payload, source in zip(payloads, incoming, strict=True):
        assert source.reader.information_bits == pytest.approx(payload.writer.information_bits)
        assert payload.side_bits + payload.path_bits == pytest.approx(payload.writer.information_bits)


@settings(max_examples=40)
@given(case=cases, data=st.data())
def test_a_copy_is_a_prefix(tables: CodecTables, case: Case, data: st.DataObject) -> None:
    """The copy of the first steps is, byte for byte, what sending only these steps had written."""
    context = case.context(tables)
    stops, steps = case.stops(context), case.errors(context)
    _, whole = sent(context, stops, steps)
    kept = data.draw(st.integers(1, len(steps)))
    _, shorter = sent(context, stops[:kept], steps[:kept])
    for long, short in zip(whole, shorter, strict=True):
        source = opened(context, long.writer.getvalue())
        out = copied(context, stops[:kept], source)
        prefix = out.writer.getvalue()
        assert prefix == short.writer.getvalue()
        # The last bytes end the coder's interval; all before them are shared.
        assert long.writer.getvalue().startswith(prefix[:-2])
        assert out.writer.information_bits == pytest.approx(source.reader.information_bits)


@settings(max_examples=20)
@given(case=cases.filter(lambda case: case.pictures > 1))
def test_pictures_of_a_batch_do_not_mix(tables: CodecTables, case: Case) -> None:
    context = case.context(tables)
    stops = case.stops(context)
    samples, payloads = sent(context, stops, case.errors(context))
    for number, payload in enumerate(payloads):
        alone = received(context, stops, [opened(context, payload.writer.getvalue())])
        for sample, receipt in zip(samples, alone, strict=True):
            np.testing.assert_allclose(receipt[0], sample[number], rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(case=cases)
def test_a_copied_payload_grows_on_its_own(tables: CodecTables, case: Case) -> None:
    context = case.context(tables)
    stops, steps = case.stops(context), case.errors(context)
    _, started = sent(context, stops[:-1], steps[:-1]) if len(steps) > 1 else ([], [])
    payloads = started or [new_payload(context) for _ in range(case.pictures)]
    forks, before = [payload.copy() for payload in payloads], [payload.writer.getvalue() for payload in payloads]
    StepCoder(context).send(len(steps) - 1, stops[-1], steps[-1].copy(), payloads)
    assert [fork.writer.getvalue() for fork in forks] == before
    StepCoder(context).send(len(steps) - 1, stops[-1], steps[-1].copy(), forks)
    assert [fork.writer.getvalue() for fork in forks] == [payload.writer.getvalue() for payload in payloads]
    for fork, payload in zip(forks, payloads, strict=True):
        for figure in ("side_bits", "path_bits", "ideal_bits", "delivered_bits"):
            assert getattr(fork, figure) == pytest.approx(getattr(payload, figure))


@pytest.mark.parametrize(("channel", "side"), [(ChannelId.TRELLIS, 64), (ChannelId.POISSON, 20)])
@pytest.mark.parametrize("by_band", [False, True])
def test_samples_lie_where_the_errors_are(tables: CodecTables, channel: ChannelId, side: int, by_band: bool) -> None:
    """The displacement of a sample of q has mean sqrt(g) e and variance 1; the report counts what arrived."""
    case = Case(GREY, side, side, 0, by_band, channel, 1, 100, 5, 0.1)
    context = case.context(tables)
    stops, steps = case.stops(context), case.errors(context)
    samples, (payload,) = sent(context, stops, steps)
    start = 0.0
    for errors, sample, level in zip(steps, samples, stops, strict=True):
        snr = math.exp(level.log_snr / 65536)
        rest = sample - math.sqrt(snr - start) * errors
        start = snr
        assert abs(float(rest.mean())) < 5 / side  # of side^2 numbers
        # How much a channel's noise differs from q's depends on its effort: docs/channel.md.
        assert 0.85 < float(rest.std()) < 1.15
    # What a sample of q delivers has the variance 2 KL / ln 2, about.
    deviation = math.sqrt(2 * payload.ideal_bits / math.log(2))
    assert payload.delivered_bits == pytest.approx(payload.ideal_bits, abs=3 * deviation)


def test_errors_of_zero_cost_next_to_nothing(tables: CodecTables) -> None:
    case = Case(RGB, 16, 16, 0, True, ChannelId.TRELLIS, 1, 50, 0, 0.0)
    context = case.context(tables)
    stops = case.stops(context)
    _, (calm,) = sent(context, stops, case.errors(context))
    _, (busy,) = sent(context, stops, replace(case, error=0.4).errors(context))
    assert calm.path_bits < 0.1 * busy.path_bits


def test_steps_that_are_missing_are_named_with_the_stream(tables: CodecTables) -> None:
    case = Case(RGB, 16, 16, 0, True, ChannelId.TRELLIS, 1, 50, 0, 0.2)
    context = case.context(tables)
    stops = case.stops(context)
    _, (payload,) = sent(context, stops, case.errors(context))
    data = payload.writer.getvalue()
    for read in (lambda source: received(context, stops, [source]), lambda source: copied(context, stops, source)):
        lengths = LengthCoder(tables.length_weights)
        with pytest.raises(TruncatedStreamError, match=r"^a\.dfc: "):
            read(IncomingPayload("a.dfc", lengths, PrefixReader(data[: len(data) // 2])))


def test_a_length_that_no_encoder_writes_is_refused(tables: CodecTables) -> None:
    case = Case(GREY, 3, 2, 0, True, ChannelId.TRELLIS, 1, 50, 0, 0.2)
    context = case.context(tables)
    (batch,) = context.plan.batches(0, context.levels.levels[0])
    coder, out = LengthCoder(tables.length_weights), new_payload(context)
    wrong = 10 * batch.max_length(context.channel)
    coder.encode(wrong, batch.expected_length(context.channel), out.writer, 0)
    with pytest.raises(CorruptStreamError, match=r"^a\.dfc is damaged: a step claims .* path bits for 6 coefficients"):
        received(context, case.stops(context)[:1], [opened(context, out.writer.getvalue())])


@settings(max_examples=40)
@given(case=cases, step=st.integers(0, 10))
def test_cut_and_paste_undo_each_other(tables: CodecTables, case: Case, step: int) -> None:
    """The tiles of all batches of a step cover the signal once."""
    context = case.context(tables)
    level = context.levels.levels[step]
    rng = np.random.default_rng(case.seed % 1000)
    original = rng.standard_normal((case.pictures, *context.canvas.coded_shape)).astype(np.float32)
    pasted = np.full_like(original, np.nan)
    parts: list[TileMessages] = []
    for batch in context.plan.batches(step, level):
        parts += batch.parts(case.pictures)
    for part in parts:
        tiles = part.cut(original)
        assert tiles.shape == (case.pictures * len(part.tiles), part.dims)
        assert np.isnan(pasted[:, :, part.tiles[0].rows, part.tiles[0].columns]).all()
        part.paste(tiles, pasted)
    np.testing.assert_array_equal(pasted, original)
