"""Laws of the entropy coder: exact round trips, exact costs, prefixes, and what a cut payload determines."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffcodec.bitstream.entropy import PrefixReader, SymbolReader, SymbolWriter
from diffcodec.bitstream.entropy_models import model_of, quantise_weights, uniform
from diffcodec.bitstream.ones_padded import OnesPadded
from diffcodec.errors import CorruptStreamError, DiffCodecError, TruncatedStreamError

# One coding operation: (kind, parameter, symbols).
Op = tuple[str, Any, list[int]]


@st.composite
def operations(draw: st.DrawFn, max_ops: int = 6, max_symbols: int = 20) -> list[Op]:
    ops: list[Op] = []
    for _ in range(draw(st.integers(0, max_ops))):
        kind = draw(st.sampled_from(["bits", "symbols", "uniform"]))
        if kind == "bits":
            ops.append((kind, None, draw(st.lists(st.integers(0, 1), max_size=2 * max_symbols))))
        elif kind == "symbols":
            weights = draw(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=12))
            symbol = st.integers(0, len(weights) - 1)
            ops.append((kind, weights, draw(st.lists(symbol, max_size=max_symbols))))
        else:
            size = draw(st.integers(1, (1 << 24) - 1))
            ops.append((kind, size, [draw(st.integers(0, size - 1))]))
    return ops


def write(ops: list[Op], out: SymbolWriter | None = None) -> SymbolWriter:
    out = SymbolWriter() if out is None else out
    for kind, parameter, symbols in ops:
        if kind == "bits":
            out.write_bits(np.array(symbols, np.uint8))
        elif kind == "symbols":
            out.write_symbols(np.array(symbols, np.int64), np.array(parameter))
        else:
            out.write_uniform(symbols[0], parameter)
    return out


def read(reader: SymbolReader, op: Op) -> list[int]:
    kind, parameter, symbols = op
    if kind == "bits":
        return list(reader.read_bits(len(symbols)))
    if kind == "symbols":
        return list(reader.read_symbols(len(symbols), np.array(parameter)))
    return [reader.read_uniform(parameter)]


@given(operations())
def test_what_was_written_is_read(ops: list[Op]) -> None:
    payload = write(ops).getvalue()
    reader = SymbolReader(payload)
    assert [read(reader, op) for op in ops] == [symbols for _, _, symbols in ops]


@given(operations(max_ops=20))
def test_payload_takes_no_more_bytes_than_the_information_in_it(ops: list[Op]) -> None:
    out = write(ops)
    payload = out.getvalue()
    # An interval of width 2**-I holds a value of ceil(I / 8) bytes; the coder's own rounding is added.
    coded = sum(len(symbols) for _, _, symbols in ops)
    assert 8 * len(payload) < out.information_bits + 8 + 0.006 * coded
    assert not payload.endswith(b"\0")
    assert out.getvalue() == payload


def test_costs_on_long_messages() -> None:
    rng = np.random.default_rng(1)
    weights = np.array([1, 5, 70, 800, 200, 20, 3])
    out = SymbolWriter()
    out.write_bits(rng.integers(0, 2, 20_001).astype(np.uint8))
    assert out.information_bits == 20_001
    assert len(out.getvalue()) <= math.ceil(20_001 / 8) + 1
    symbols = rng.choice(7, 20_000, p=weights / weights.sum())
    out.write_symbols(symbols, weights)
    ideal_bits = -np.log2(weights / weights.sum())[symbols].sum()
    assert out.information_bits - 20_001 == pytest.approx(ideal_bits, rel=1e-5)
    assert 8 * len(out.getvalue()) < out.information_bits * (1 + 1e-4) + 8


def test_cost_of_every_symbol_is_its_weight() -> None:
    rng = np.random.default_rng(2)
    for size, total_cap in ((2, 10), (7, 1000), (300, 1 << 20), (65536, 1 << 24)):
        weights = rng.integers(1, max(2, total_cap // size), size)
        frequencies = quantise_weights(weights)
        assert frequencies.sum() == 1 << 24
        share = weights / weights.sum()
        assert np.abs(frequencies - share * 2**24).max() < 1
        error_bits = np.abs(np.log2(frequencies / 2**24) - np.log2(share))
        assert error_bits[share > 1e-4].max(initial=0) < 1e-3


def test_frequencies_reach_the_coder_unchanged() -> None:
    # With 24 fair bits behind it, symbol i of frequency f leaves an interval of exactly f / 2**48: so
    # the coder's own quantiser must have kept every frequency for the first and last code of each to decode.
    rng = np.random.default_rng(3)
    for weights in (np.array([1, 1 << 23, (1 << 23) - 1]), rng.integers(1, 1000, 500), np.arange(1, 5000)):
        bounds = np.concatenate([[0], np.cumsum(quantise_weights(weights))])
        # Initial interval: 2**64 - 1 wide, in code points of (2**64 - 1) // 2**24 = 2**40 - 1.
        for i in rng.integers(0, weights.size, 60):
            first = int(bounds[i]) * (2**40 - 1)
            last = int(bounds[i + 1]) * (2**40 - 1) - 1
            for value in (first, last):
                payload = value.to_bytes(8, "big")
                assert SymbolReader(payload).read_symbols(1, weights).tolist() == [i]


def test_power_of_two_totals_are_exact() -> None:
    out = SymbolWriter()
    out.write_symbols(np.array([0, 1, 2, 2]), np.array([1, 1, 2]))
    out.write_uniform(77, 1 << 13)
    assert out.information_bits == 2 + 2 + 1 + 1 + 13


@given(operations(), operations())
def test_payload_of_a_prefix_stays_in_its_interval(first: list[Op], rest: list[Op]) -> None:
    out, longer = write(first), write(first + rest)
    size = len(out.getvalue()) + len(longer.getvalue()) + 1
    a, b = (int.from_bytes(x.getvalue().ljust(size, b"\0"), "big") for x in (out, longer))
    assert abs(a - b) <= 2.0 ** (8 * size - out.information_bits) * (1 + 1e-9)


def test_payload_of_a_prefix_is_a_byte_prefix_but_for_the_last_bytes() -> None:
    bits = np.random.default_rng(4).integers(0, 2, 4000).astype(np.uint8)
    out = SymbolWriter()
    earlier = []
    for i in range(0, 4000, 100):
        out.write_bits(bits[i : i + 100])
        earlier.append(out.getvalue())
    for payload in earlier:
        assert out.getvalue().startswith(payload[:-3])


@given(operations(max_ops=3, max_symbols=8), st.data())
def test_zeros_beyond_the_end_are_implied(ops: list[Op], data: st.DataObject) -> None:
    payload = write(ops).getvalue()
    cut = payload[: data.draw(st.integers(0, len(payload)))]
    for op in ops:
        results = []
        for reader in (SymbolReader(cut), SymbolReader(cut + b"\0" * data.draw(st.integers(0, 9)))):
            try:
                results.append([read(reader, op) for _ in range(5)])
            except CorruptStreamError:
                results.append([])
        assert results[0] == results[1]


def certain_symbols(payload: bytes, ops: list[Op]) -> int:
    reader = PrefixReader(payload)
    for i, op in enumerate(ops):
        try:
            assert read(reader, op) == op[2]
        except TruncatedStreamError:
            with pytest.raises(TruncatedStreamError):
                reader.read_bits(1)
            return i
    return len(ops)


def one_symbol_each(ops: list[Op]) -> list[Op]:
    return [(kind, parameter, [symbol]) for kind, parameter, symbols in ops for symbol in symbols]


@given(operations(max_ops=4, max_symbols=6))
def test_every_cut_yields_right_symbols_and_more_bytes_yield_more(ops: list[Op]) -> None:
    ops = one_symbol_each(ops)
    payload = write(ops).getvalue()
    counts = [certain_symbols(payload[:cut], ops) for cut in range(len(payload) + 1)]
    assert counts == sorted(counts)


@settings(max_examples=25)
@given(operations(max_ops=3, max_symbols=6), st.integers(0, 5))
def test_certain_means_equal_under_every_continuation(ops: list[Op], keep: int) -> None:
    ops = one_symbol_each(ops)
    # A symbol of probability below 1 / 256 may need more than the one byte that is varied here.
    assume(all(sum(weights) <= 128 * min(weights) for kind, weights, _ in ops if kind == "symbols"))
    cut = write(ops).getvalue()[:keep]
    seen: list[list[int]] = []
    for byte in range(256):
        for rest in (b"", 400 * b"\xff"):
            reader = SymbolReader(cut + bytes([byte]) + rest)
            try:
                seen.append([read(reader, op)[0] for op in ops])
            except CorruptStreamError:
                continue  # no message has this payload
    agreed = 0
    while agreed < len(ops) and len({symbols[agreed] for symbols in seen}) == 1:
        agreed += 1
    assert certain_symbols(cut, ops) == agreed


def test_bits_of_a_cut_payload_arrive_up_to_the_cut() -> None:
    bits = np.random.default_rng(5).integers(0, 2, 1600).astype(np.uint8)
    out = SymbolWriter()
    for group in bits.reshape(100, 16):
        out.write_bits(group)
    payload = out.getvalue()
    for cut in range(0, len(payload), 7):
        reader = PrefixReader(payload[:cut])
        for i in range(cut // 2 - 1):
            assert (reader.read_bits(16) == bits[16 * i : 16 * i + 16]).all()
        with pytest.raises(TruncatedStreamError, match="cut"):
            reader.read_bits(32)


def test_ones_go_on_without_limit() -> None:
    payload = b"\x12\x34\x56"
    stored = SymbolReader(payload + b"\xff" * 4000)
    implied = OnesPadded(payload)
    for _ in range(50):
        symbols = [stored.read_uniform(1 << 10) for _ in range(50)]
        assert implied.decode(uniform(1 << 10), 50).tolist() == symbols


def test_all_ones_are_read_as_the_last_symbols() -> None:
    reader = OnesPadded(b"")
    assert reader.decode(uniform(1 << 16), 40).tolist() == [(1 << 16) - 1] * 40
    assert reader.decode(uniform(5), 1).tolist() == [4]
    assert reader.decode(model_of(np.array([3, 1])), 3).tolist() == [1, 1, 1]


def test_alphabets_of_one_symbol_cost_nothing() -> None:
    out = SymbolWriter()
    out.write_symbols(np.zeros(1000, np.int64), np.array([7]))
    out.write_uniform(0, 1)
    out.write_bits(np.zeros(0, np.uint8))
    assert (out.getvalue(), out.information_bits) == (b"", 0)
    reader = PrefixReader(b"")
    assert reader.read_symbols(4, np.array([7])).tolist() == [0] * 4
    assert reader.read_uniform(1) == 0
    assert reader.read_bits(0).size == 0


def test_invalid_code_is_reported_as_corrupt() -> None:
    with pytest.raises(CorruptStreamError, match="no valid symbol"):
        SymbolReader(b"\xff" * 40).read_uniform(3)


@given(st.binary(max_size=30), operations())
def test_random_bytes_decode_or_raise_ours(payload: bytes, ops: list[Op]) -> None:
    for reader in (SymbolReader(payload), PrefixReader(payload)):
        try:
            for op in ops:
                read(reader, op)
        except DiffCodecError:
            pass


@pytest.mark.parametrize(
    "call",
    [
        lambda w: w.write_bits(np.array([0, 2], np.uint8)),
        lambda w: w.write_bits(np.array([0.0, 1.0])),
        lambda w: w.write_bits(np.zeros((2, 2), np.uint8)),
        lambda w: w.write_symbols(np.array([3]), np.array([1, 1, 1])),
        lambda w: w.write_symbols(np.array([-1]), np.array([1, 1, 1])),
        lambda w: w.write_symbols(np.array([0.5]), np.array([1, 1, 1])),
        lambda w: w.write_symbols(np.array([0]), np.array([1, 0, 1])),
        lambda w: w.write_symbols(np.array([0]), np.array([], np.int64)),
        lambda w: w.write_symbols(np.array([0]), np.array([0.5, 0.5])),
        lambda w: w.write_symbols(np.array([0]), np.array([1, 1 << 24])),
        lambda w: w.write_symbols(np.array([0]), np.ones(65537, np.int64)),
        lambda w: w.write_uniform(5, 5),
        lambda w: w.write_uniform(0, 0),
        lambda w: w.write_uniform(0, 1 << 24),
    ],
)
def test_misuse_is_refused_and_writes_nothing(call: Any) -> None:
    out = SymbolWriter()
    with pytest.raises(ValueError, match="must"):
        call(out)
    assert (out.getvalue(), out.information_bits) == (b"", 0)


def test_misuse_of_readers_is_refused() -> None:
    for call in (
        lambda: SymbolReader(b"").read_bits(-1),
        lambda: SymbolReader(b"").read_symbols(-1, np.array([1, 1])),
        lambda: SymbolReader(b"").read_symbols(1, np.array([1, -1])),
        lambda: SymbolReader(b"").read_uniform(0),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_known_payload() -> None:
    """Pins the format: these bytes are also in docs/format.md."""
    out = SymbolWriter()
    out.write_bits(np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1], np.uint8))
    out.write_symbols(np.array([2, 0, 1, 2]), np.array([1, 2, 5]))
    out.write_uniform(123, 1000)
    assert out.getvalue().hex() == "b2e1ac984b"


# ------------------------------------------------------------------- symbols that have a distribution each


@st.composite
def share_tables(draw: st.DrawFn, max_rows: int = 8) -> tuple[list[int], np.ndarray]:
    """Symbols, and shares (n, k) with row sums 2^24 - k, many of them 0."""
    size = draw(st.sampled_from([2, 3, 17, 256]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    rows = []
    for _ in range(draw(st.integers(0, max_rows))):
        kind = draw(st.sampled_from(["any", "one", "few"]))
        inner = {"any": size - 1, "one": 0, "few": min(3, size - 1)}[kind]
        cuts = np.sort(rng.integers(0, (1 << 24) - size + 1, inner))
        parts = np.diff(np.concatenate([[0], cuts, [(1 << 24) - size]]))
        row = np.zeros(size, np.int64)
        row[rng.choice(size, len(parts), replace=False)] = parts
        rows.append(row)
    symbols = draw(st.lists(st.integers(0, size - 1), min_size=len(rows), max_size=len(rows)))
    return symbols, np.array(rows, np.int64).reshape(len(rows), size)


@given(share_tables(), operations(max_ops=2), operations(max_ops=2))
def test_shares_cost_and_code_what_single_tables_do(
    message: tuple[list[int], np.ndarray], before: list[Op], after: list[Op]
) -> None:
    symbols, shares = message
    together, apart = write(before), write(before)
    together.write_shares(np.array(symbols, np.int64), shares)
    for symbol, row in zip(symbols, shares, strict=True):
        apart.write_symbols(np.array([symbol]), row + 1)
    assert together.information_bits == pytest.approx(apart.information_bits)
    for out in (together, apart):
        write(after, out)
    payload = together.getvalue()
    assert payload == apart.getvalue()
    reader = SymbolReader(payload)
    assert [read(reader, op) for op in before] == [values for _, _, values in before]
    assert reader.read_shares(shares).tolist() == symbols
    assert [read(reader, op) for op in after] == [values for _, _, values in after]
    assert reader.information_bits == pytest.approx(together.information_bits)


def test_the_largest_alphabet_of_shares() -> None:
    size = 1 << 16
    shares = np.zeros((2, size), np.int64)
    shares[0, 0] = shares[1, -1] = (1 << 24) - size
    for symbols in ([0, size - 1], [size - 1, 0], [77, 78]):
        out = SymbolWriter()
        out.write_shares(np.array(symbols), shares)
        assert SymbolReader(out.getvalue()).read_shares(shares).tolist() == symbols


def test_every_share_of_a_row_reaches_the_coder_unchanged() -> None:
    """As for the tables: the first and the last code point of every symbol decode to it."""
    rng = np.random.default_rng(9)
    total = (1 << 24) - 256
    cuts = np.sort(rng.integers(0, total + 1, (4, 255)), axis=1)
    cuts[1] = np.sort(rng.integers(0, 300, 255))
    cuts[2] = total - cuts[1][::-1]
    shares = np.diff(cuts, axis=1, prepend=0, append=total)
    for row in shares:
        bounds = np.concatenate([[0], np.cumsum(row + 1)])
        for symbol in range(256):
            first = int(bounds[symbol]) * (2**40 - 1)
            last = int(bounds[symbol + 1]) * (2**40 - 1) - 1
            for value in (first, last):
                assert SymbolReader(value.to_bytes(8, "big")).read_shares(row[None]).tolist() == [symbol]


GOOD = np.array([[3, (1 << 24) - 3 - 3, 0]])


@pytest.mark.parametrize(
    ("symbols", "shares", "message"),
    [
        ([0], GOOD[0], "shares must be integers"),
        ([0], GOOD.astype(float), "shares must be integers"),
        ([0], GOOD[:, :1], "shares must be integers"),
        ([0], np.zeros((1, 65537), np.int64), "shares must be integers"),
        ([0], GOOD + np.array([1, 0, 0]), "sum to 16777213"),
        ([0], GOOD - np.array([1, 0, 0]), "sum to 16777213"),
        ([0], GOOD + np.array([-4, 4, 0]), "must not be negative"),
        ([0, 0], np.concatenate([GOOD, GOOD * 2]), "sum to 16777213"),
        ([0], np.array([[1 << 62, 1 << 62, 0]]), "sum to 16777213"),
        ([0, 0], GOOD, "expected 1 integer symbols"),
        ([[0]], GOOD, "expected 1 integer symbols"),
        ([], GOOD, "expected 1 integer symbols"),
        ([0.0], GOOD, "expected 1 integer symbols"),
        ([3], GOOD, "symbols must be in 0..2"),
        ([-1], GOOD, "symbols must be in 0..2"),
    ],
)
def test_bad_shares_are_refused_and_write_nothing(symbols: Any, shares: np.ndarray, message: str) -> None:
    out = SymbolWriter()
    with pytest.raises(ValueError, match=message):
        out.write_shares(np.array(symbols), shares)
    assert (out.getvalue(), out.information_bits) == (b"", 0)
    if "shares" in message or "sum" in message or "negative" in message:
        with pytest.raises(ValueError, match=message):
            SymbolReader(b"abc").read_shares(shares)


def test_a_copy_of_a_writer_goes_its_own_way() -> None:
    rng = np.random.default_rng(11)
    out, plain = SymbolWriter(), SymbolWriter()
    bits = rng.integers(0, 2, (20, 100)).astype(np.uint8)
    for index, group in enumerate(bits):
        out.write_bits(group)
        plain.write_bits(group)
        copied = out.copy()
        assert copied.getvalue() == out.getvalue() == plain.getvalue()
        assert copied.information_bits == out.information_bits
        # The copy goes on, then a copy of it; the original knows nothing of either.
        copied.write_shares(np.array([1] * 50), np.repeat(GOOD, 50, axis=0))
        again = copied.copy()
        again.write_uniform(5, 77)
        assert out.getvalue() == plain.getvalue()
        assert out.information_bits == plain.information_bits == 100 * (index + 1)
        reader = SymbolReader(again.getvalue())
        assert all((reader.read_bits(100) == each).all() for each in bits[: index + 1])
        assert reader.read_shares(np.repeat(GOOD, 50, axis=0)).tolist() == [1] * 50
        assert reader.read_uniform(77) == 5
        assert SymbolReader(copied.getvalue()).read_bits(100).tolist() == bits[0].tolist()


def test_zeros_are_left_out_as_far_as_readers_accept_it() -> None:
    """The lowest symbols are zeros, and any number of them would fit into no byte at all."""
    for count in (0, 100, 1024, 1025, 40_000):
        writer = SymbolWriter()
        writer.write_bits(np.zeros(count, np.uint8))
        payload = writer.getvalue()
        assert len(payload) <= max(0, -(-(count - 1000) // 8))
        reader = SymbolReader(payload)
        assert not reader.read_bits(count).any()
        with pytest.raises(CorruptStreamError, match="too short for"):
            reader.read_symbols(2000, np.array([1, 1]))


def test_shares_of_a_cut_payload_are_truncated_even_if_they_are_there() -> None:
    out = SymbolWriter()
    out.write_bits(np.ones(64, np.uint8))
    out.write_shares(np.array([1] * 4), np.repeat(GOOD, 4, axis=0))
    for payload in (out.getvalue(), out.getvalue() + b"\0" * 9, out.getvalue()[:-1], b""):
        reader = PrefixReader(payload)
        if payload:
            reader.read_bits(16)
        with pytest.raises(TruncatedStreamError, match="cut"):
            reader.read_shares(np.repeat(GOOD, 4, axis=0))
    assert PrefixReader(b"").read_shares(np.zeros((0, 3), np.int64)).shape == (0,)


@given(st.binary(max_size=30), share_tables())
def test_random_bytes_give_symbols_of_the_shares_or_raise_ours(
    payload: bytes, message: tuple[list[int], np.ndarray]
) -> None:
    _, shares = message
    try:
        symbols = SymbolReader(payload).read_shares(shares)
    except CorruptStreamError:
        return
    assert symbols.shape == shares.shape[:1]
    assert not symbols.size or 0 <= symbols.min() <= symbols.max() < shares.shape[1]


def test_shares_whose_sum_overflows_are_refused() -> None:
    shares = np.array([[1 << 62] * 4 + [(1 << 24) - 5]])
    with pytest.raises(ValueError, match="sum to"):
        SymbolReader(b"abc").read_shares(shares)
