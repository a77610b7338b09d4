"""The length code: round trips, the grid, prediction, and fitted tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.bitstream.entropy_models import quantise_weights
from diffcodec.bitstream.lengths import (
    CONTEXT_BITS,
    DEFAULT_WEIGHTS,
    ESCAPE,
    GRID,
    LENGTH_SCALE,
    MAX_LENGTH,
    REACH,
    LengthCoder,
    LengthPredictor,
    LengthWeights,
    fit_weights,
    quantise,
)
from diffcodec.errors import ConfigError, CorruptStreamError

lengths = st.one_of(st.integers(0, 40), st.integers(0, 5000), st.integers(0, MAX_LENGTH))
expectations = lengths.map(lambda bits: bits * LENGTH_SCALE) | st.integers(0, 9000)
files = st.lists(st.tuples(lengths, expectations), max_size=30)


def synthetic_files(count: int, seed: int) -> list[list[tuple[int, int]]]:
    """Steps whose lengths differ from the expected ones by a slowly changing factor."""
    rng = np.random.default_rng(seed)
    expected = 4.0 * 1.35 ** np.arange(24)
    result = []
    for _ in range(count):
        log_ratio = rng.normal(0, 0.4)
        steps = []
        for bits in expected:
            log_ratio = 0.95 * log_ratio + rng.normal(0, 0.12)
            wanted = rng.normal(1.08 * bits * np.exp(log_ratio), np.sqrt(bits))
            steps.append((max(0, round(wanted)), round(bits * LENGTH_SCALE)))
        result.append(steps)
    return result


def coded_bits(files: list[list[tuple[int, int]]], weights: LengthWeights) -> float:
    total = 0.0
    for steps in files:
        out, coder = SymbolWriter(), LengthCoder(weights)
        for wanted, expected in steps:
            coder.encode(wanted, expected, out)
        total += out.information_bits
    return total


def test_grid_is_the_documented_one() -> None:
    assert GRID[:17] == (*range(13), 14, 16, 18, 21)
    assert GRID[-1] == MAX_LENGTH >= 1 << 32
    assert list(GRID) == sorted(set(GRID))
    assert len(GRID) == 295
    steps = np.diff(GRID) / np.maximum(GRID[:-1], 1)
    assert steps[np.array(GRID[:-1]) >= 12].max() <= 1 / 6
    assert steps[np.array(GRID[:-1]) >= 1024].max() <= 1 / 16


@given(lengths)
def test_quantise_takes_the_nearest(length: int) -> None:
    index = quantise(length)
    assert all(abs(length - GRID[index]) <= abs(length - value) for value in GRID)
    assert quantise(GRID[index]) == index


@given(files)
def test_round_trip(steps: list[tuple[int, int]]) -> None:
    out, encoder = SymbolWriter(), LengthCoder()
    sent = [encoder.encode(wanted, expected, out) for wanted, expected in steps]
    assert sent == [GRID[quantise(wanted)] for wanted, _ in steps]
    reader, decoder = SymbolReader(out.getvalue()), LengthCoder()
    assert [decoder.decode(expected, reader) for _, expected in steps] == sent


def test_prediction_starts_at_the_expected_length_and_learns_the_ratio() -> None:
    predictor = LengthPredictor()
    assert GRID[predictor.predict(10 * LENGTH_SCALE)[0]] == 10
    for _ in range(20):
        predictor.update(200, 100 * LENGTH_SCALE)
    index, context = predictor.predict(10 * LENGTH_SCALE)
    assert GRID[index] in (18, 21)
    assert CONTEXT_BITS[context - 1] <= 20 < CONTEXT_BITS[context]


@given(expectations)
def test_contexts_follow_the_predicted_bits(expected: int) -> None:
    index, context = LengthPredictor().predict(expected)
    bits = min((expected + LENGTH_SCALE // 2) // LENGTH_SCALE, MAX_LENGTH)
    assert context == sum(bits >= bound for bound in CONTEXT_BITS)
    assert index == quantise(bits)


def test_learning_pays_and_so_do_fitted_tables() -> None:
    training, test = synthetic_files(200, 1), synthetic_files(50, 2)
    default_bits = coded_bits(test, DEFAULT_WEIGHTS) / (50 * 24)
    fitted = fit_weights(histogram(training))
    fitted_bits = coded_bits(test, fitted) / (50 * 24)
    assert fitted_bits < default_bits < 3.3
    blind_bits = coded_bits([[step] for steps in test for step in steps], fitted) / (50 * 24)
    assert fitted_bits < blind_bits - 0.5


def test_fitted_tables_are_codable() -> None:
    counts = np.zeros((len(DEFAULT_WEIGHTS), ESCAPE + 1), np.int64)
    assert fit_weights(counts) == DEFAULT_WEIGHTS
    counts[0, 3] = 10**12
    counts[1] = 10**9
    weights = fit_weights(counts)
    for table in weights:
        quantise_weights(np.array(table))
    assert weights[0][3] > 0.999 * sum(weights[0])
    assert len(set(weights[1])) > 1
    LengthCoder(weights)


def histogram(files: list[list[tuple[int, int]]]) -> NDArray[np.int64]:
    """The symbols of all files, counted."""
    coders = [LengthCoder() for _ in files]
    for coder, steps in zip(coders, files, strict=True):
        for wanted, expected in steps:
            coder.encode(wanted, expected, SymbolWriter())
    total: NDArray[np.int64] = np.sum([coder.counts for coder in coders], axis=0)
    return total


def test_tiles_have_a_past_of_their_own_and_inherit_it() -> None:
    out, encoder = SymbolWriter(), LengthCoder()
    encoder.encode(100, 50 * LENGTH_SCALE, out)
    encoder.divide([0, 0])
    for wanted, tile in ((400, 0), (10, 1), (800, 0), (5, 1)):
        encoder.encode(wanted, 100 * LENGTH_SCALE, out, tile)
    encoder.divide([0, 0, 1])
    # Told of nothing but their parents, the tiles expect as much as those had.
    predictions = [GRID[predictor.predict(100 * LENGTH_SCALE)[0]] for predictor in encoder._predictors]
    assert predictions[0] == predictions[1] > 400
    assert predictions[2] < 40
    reader, decoder = SymbolReader(out.getvalue()), LengthCoder()
    assert decoder.decode(50 * LENGTH_SCALE, reader) == GRID[quantise(100)]
    decoder.divide([0, 0])
    found = [decoder.decode(100 * LENGTH_SCALE, reader, tile) for tile in (0, 1, 0, 1)]
    assert found == [GRID[quantise(wanted)] for wanted in (400, 10, 800, 5)]


def test_counts_are_of_what_is_coded() -> None:
    counts = histogram([[(10, 10 * LENGTH_SCALE), (0, 0)], [(10**6, 10 * LENGTH_SCALE)]])
    assert counts.sum() == 3
    assert counts[3, REACH] == 1
    assert counts[0, REACH] == 1
    assert counts[3, ESCAPE] == 1


def test_lengths_off_the_grid_are_corrupt() -> None:
    out = SymbolWriter()
    out.write_symbols(np.array([0]), np.array(DEFAULT_WEIGHTS[0]))
    with pytest.raises(CorruptStreamError, match="outside the grid"):
        LengthCoder().decode(0, SymbolReader(out.getvalue()))


def test_misuse_is_refused() -> None:
    with pytest.raises(ConfigError, match="6 tables of 18 weights"):
        LengthCoder(DEFAULT_WEIGHTS[:-1])
    with pytest.raises(ConfigError, match="tables"):
        LengthCoder([[1] * 5] * len(DEFAULT_WEIGHTS))
    for wanted, expected in ((-1, 0), (MAX_LENGTH + 1, 0), (0, -1)):
        with pytest.raises(ValueError, match="must"):
            LengthCoder().encode(wanted, expected, SymbolWriter())
