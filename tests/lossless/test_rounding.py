"""The rounding law: whoever differs by less than the guard gets the same integers, whatever the values are."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import PrefixReader, SymbolReader, SymbolWriter
from diffcodec.errors import CorruptStreamError, StreamError, TruncatedStreamError
from diffcodec.lossless import rounding
from diffcodec.lossless.rounding import BLOCK, GUARD, MAX_SPACING, PATTERNS, UNIT, round_alike, round_values

WHITE = 255.0 * UNIT
SPACINGS = [1 << power for power in range(2, 16)]
COUNTS = [1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]

Floats = NDArray[np.float64]


@st.composite
def value_arrays(draw: st.DrawFn) -> Floats:
    """Values of every awkward kind: spread out, equal, on boundaries, next to them, black, white, marching."""
    count = draw(st.sampled_from(COUNTS))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kind = draw(st.sampled_from(["any", "equal", "boundaries", "beside", "ends", "marching", "narrow"]))
    if kind == "equal":
        return np.full(count, draw(st.floats(0, WHITE)))
    if kind == "boundaries":
        return rng.integers(0, int(WHITE) + 1, count).astype(float)
    if kind == "beside":
        beside: NDArray[np.float64] = rng.integers(0, int(WHITE) + 1, count) + rng.choice([-1e-9, 1e-9], count)
        return beside.clip(0, WHITE)
    if kind == "ends":
        return rng.choice([0.0, WHITE], count)
    if kind == "marching":
        step = draw(st.integers(-5, 5)) * 2 * GUARD
        return np.asarray((draw(st.floats(0, WHITE)) + step * np.arange(count)) % WHITE, np.float64)
    if kind == "narrow":
        return draw(st.floats(0, WHITE - 40)) + rng.uniform(0, 40, count)
    return rng.uniform(0, WHITE, count)


def rounded(values: Floats, spacing: int) -> tuple[NDArray[np.int64], SymbolWriter]:
    out = SymbolWriter()
    return round_values(values, spacing, out), out


def received(values: Floats, spacing: int, payload: bytes) -> NDArray[np.int64]:
    return round_alike(values, spacing, SymbolReader(payload))


def perturbations(count: int, seed: int) -> list[Floats]:
    """Within the guard: none, all up, all down, to and fro, anything, and what the codec promises, a third."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], count)
    return [
        np.zeros(count),
        np.full(count, 0.99 * GUARD),
        np.full(count, -0.99 * GUARD),
        0.99 * GUARD * signs,
        rng.uniform(-0.99, 0.99, count) * GUARD,
        signs * GUARD / 3,
    ]


@settings(max_examples=80)
@given(value_arrays(), st.sampled_from(SPACINGS), st.integers(0, 1 << 32))
def test_whoever_differs_by_less_than_the_guard_gets_the_same_integers(values: Floats, spacing: int, seed: int) -> None:
    expected, out = rounded(values, spacing)
    payload = out.getvalue()
    for difference in perturbations(len(values), seed):
        reader = SymbolReader(payload)
        assert np.array_equal(round_alike(values + difference, spacing, reader), expected)
        assert reader.information_bits == pytest.approx(out.information_bits)


@settings(max_examples=60)
@given(value_arrays(), st.sampled_from(SPACINGS))
def test_the_search_for_boundaries_ends(values: Floats, spacing: int) -> None:
    """512 units are always enough: 128 values cannot take all of 256 places. So no rounding is coarser."""
    expected, out = rounded(values, spacing)
    assert expected.dtype == np.int64
    widest = max(spacing, 512)
    assert np.abs(expected - values).max() <= widest / 2
    blocks = -(-len(values) // BLOCK)
    # The last of 1,024 patterns has the least weight, at each of eight spacings one code point of 2^24 or more.
    assert out.information_bits <= blocks * 24 * (1 + sum(spacing <= width < 512 for width in SPACINGS))


@pytest.mark.parametrize("spacing", [4, 8, 16, 32])
def test_spacings_too_fine_for_a_block_are_doubled(spacing: int) -> None:
    """Among 128 random values no boundary of a fine grid is clear: the law holds there too."""
    rng = np.random.default_rng(spacing)
    values = rng.uniform(0, WHITE, 10 * BLOCK)
    expected, out = rounded(values, spacing)
    assert np.abs(expected - values).max() > spacing / 2
    for difference in perturbations(len(values), 1):
        assert np.array_equal(received(values + difference, spacing, out.getvalue()), expected)


@pytest.mark.parametrize("spacing", [64, 128, 256, 512])
def test_rounding_is_half_a_spacing_where_a_block_is_clear(spacing: int) -> None:
    values = np.random.default_rng(spacing).uniform(0, WHITE, 20 * BLOCK)
    expected, out = rounded(values, spacing)
    errors = expected - values
    assert np.abs(errors).max() <= spacing / 2
    # Rounding errors are uniform, and say nothing: no bias.
    assert errors.std() == pytest.approx(spacing / 12**0.5, rel=0.06)
    assert abs(errors.mean()) < 4 * errors.std() / len(errors) ** 0.5
    # What clearing 2 guards of every spacing costs at least, and no more than a tenth and a bit beyond it.
    ideal_bits = -len(values) * np.log2(1 - 2 * GUARD / spacing)
    assert ideal_bits * 0.9 < out.information_bits < 1.1 * ideal_bits + 1.5 * len(values) / BLOCK


def test_values_that_take_every_place_of_the_first_slopes() -> None:
    """Triangular numbers hit every place of a spacing of 256 once, for the first slope, and nearly so for others."""
    index = np.arange(BLOCK)
    values = (index * (index + 1) // 2 % 128 * 2).astype(float)
    for spacing in (64, 128, 256):
        expected, out = rounded(values, spacing)
        for difference in perturbations(BLOCK, 3):
            assert np.array_equal(received(values + difference, spacing, out.getvalue()), expected)


def test_more_than_the_guard_is_not_promised_but_never_breaks_the_message() -> None:
    values = np.random.default_rng(0).uniform(0, WHITE, 50 * BLOCK)
    expected, out = rounded(values, 64)
    reader = SymbolReader(out.getvalue())
    found = round_alike(values + 4.0 * GUARD, 64, reader)
    assert not np.array_equal(found, expected)
    assert reader.information_bits == pytest.approx(out.information_bits)


def test_a_block_more_does_not_change_the_others() -> None:
    values = np.random.default_rng(5).uniform(0, WHITE, 3 * BLOCK)
    whole, _ = rounded(values, 64)
    for end in (1, BLOCK, BLOCK + 1, 2 * BLOCK):
        part, _ = rounded(values[:end], 64)
        complete = end // BLOCK * BLOCK
        assert np.array_equal(part[:complete], whole[:complete])
    assert rounded(np.zeros(0), 64)[0].shape == (0,)


@pytest.mark.parametrize("width", SPACINGS)
def test_weights_are_a_table_of_positive_integers(width: int) -> None:
    rounding._weights.cache_clear()
    weights = rounding._weights(width)
    assert weights.dtype == np.int64
    assert weights.shape == (PATTERNS + 1,)
    assert weights.min() >= 1
    assert int(weights.sum()) <= 1 << 24
    rounding._weights.cache_clear()
    assert np.array_equal(rounding._weights(width), weights)
    # The geometric law that they stand for.
    clear = (1 - 2 * GUARD / width) ** BLOCK
    law = np.append(clear * (1 - clear) ** np.arange(PATTERNS), (1 - clear) ** PATTERNS)
    assert np.abs(weights - law * 2**23).max() <= 2


def test_weights_are_part_of_the_format() -> None:
    content = b"".join(rounding._weights(width).astype("<i8").tobytes() for width in SPACINGS)
    assert f"{zlib.crc32(content):08x}" == "e5fe341c"


def test_boundaries_are_part_of_the_format() -> None:
    found = [rounding._boundaries(width, pattern, BLOCK) for width in (4, 64, 512) for pattern in (0, 1, 37, 1023)]
    assert all(each.min() >= 0 and each.max() < 512 and not (each % 2).any() for each in found)
    assert rounding._boundaries(64, 37, 5).tolist() == [10, 12, 14, 16, 18]
    assert rounding._boundaries(64, 1023, 4).tolist() == [62, 60, 58, 56]


def test_a_message_of_nothing_but_refusals_is_corrupt() -> None:
    out = SymbolWriter()
    width = 4
    while width <= MAX_SPACING:
        out.write_symbols(np.array([PATTERNS]), rounding._weights(width))
        width *= 2
    with pytest.raises(CorruptStreamError, match="no valid rounding pattern"):
        received(np.zeros(3), 4, out.getvalue())


def test_the_widest_spacing_rounds_and_is_not_doubled() -> None:
    out = SymbolWriter()
    out.write_symbols(np.array([PATTERNS]), rounding._weights(MAX_SPACING))
    with pytest.raises(CorruptStreamError, match="no valid rounding pattern"):
        received(np.zeros(3), MAX_SPACING, out.getvalue())
    values = np.linspace(0, WHITE, 300)
    expected, writer = rounded(values, MAX_SPACING)
    assert np.array_equal(received(values, MAX_SPACING, writer.getvalue()), expected)


@settings(max_examples=80)
@given(st.binary(max_size=40), value_arrays(), st.sampled_from(SPACINGS))
def test_garbage_gives_integers_or_a_stream_error(payload: bytes, values: Floats, spacing: int) -> None:
    for reader in (SymbolReader(payload), PrefixReader(payload)):
        try:
            found = round_alike(values, spacing, reader)
        except StreamError:
            continue
        assert found.shape == values.shape
        assert np.abs(found - values).max() <= MAX_SPACING


def test_a_cut_message_is_truncated_or_right() -> None:
    values = np.random.default_rng(8).uniform(0, WHITE, 6 * BLOCK)
    expected, out = rounded(values, 64)
    payload = out.getvalue()
    for end in range(len(payload)):
        with pytest.raises(TruncatedStreamError):
            round_alike(values, 64, PrefixReader(payload[:end]))
    assert np.array_equal(received(values, 64, payload), expected)
