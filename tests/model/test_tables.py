"""The integer tables: expected information in fixed point, and which levels a file visits."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.coding.canvas import RGB
from diffcodec.errors import ConfigError
from diffcodec.lossless.tables import COEFFICIENT_SCALE, SHAPE_TOTAL, LosslessTables, PassFit, ResidualFit
from diffcodec.model.levels import (
    BITS_SCALE,
    HALF_OVER_LN2,
    LOG_SNR_SCALE,
    MAX_LOG_SNR,
    MAX_MSE,
    MSE_SCALE,
    SNR_SCALE,
    Level,
    LevelList,
)
from diffcodec.model.tables import INFORMATION_FROM, INFORMATION_TO, MAX_LISTS, MAX_OCTAVES, CodecTables, Variances

BANDS = RGB.bands


def level(log_snr: float) -> Level:
    return Level(round(log_snr * LOG_SNR_SCALE), max(1, round(math.exp(log_snr) * SNR_SCALE)))


@st.composite
def level_lists(draw: st.DrawFn) -> LevelList:
    """Lists over the range of the shipped network; levels at least 0.05 nats apart."""
    grid = sorted(draw(st.sets(st.integers(-170, 190), min_size=1, max_size=30)))
    errors = draw(st.lists(st.integers(1, MSE_SCALE), min_size=len(grid), max_size=len(grid)))
    return LevelList(draw(st.integers(0, 1 << 20)), tuple(level(0.05 * place) for place in grid), tuple(errors))


targets = st.floats(-8.4, 9.6, allow_nan=False).map(level)


def test_half_over_ln2_is_that() -> None:
    assert round(65536 / (2 * math.log(2))) == HALF_OVER_LN2


@settings(deadline=None)
@given(level_lists(), targets, st.integers(1, 3 << 24), st.data())
def test_expected_bits_are_the_formula_within_rounding(
    levels: LevelList, end: Level, dims: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, levels.steps_before(end)))
    start = levels.levels[step - 1].snr / SNR_SCALE if step else 0.0
    mse = levels.mse[min(step, len(levels.mse) - 1)] / MSE_SCALE
    bits = 0.5 * (end.snr / SNR_SCALE - start) * mse * dims / math.log(2)
    found = levels.expected_bits(step, end, dims)
    assert isinstance(found, int)
    assert abs(found / BITS_SCALE - bits) <= 1 / BITS_SCALE + 2e-5 * bits


@settings(deadline=None)
@given(level_lists(), targets, targets, st.integers(1, 1 << 24), st.integers(1, 1 << 24), st.data())
def test_expected_bits_rise_with_the_jump_and_the_picture(
    levels: LevelList, a: Level, b: Level, dims_a: int, dims_b: int, data: st.DataObject
) -> None:
    near, far = sorted((a, b), key=lambda level: level.snr)
    small, large = sorted((dims_a, dims_b))
    step = data.draw(st.integers(0, levels.steps_before(near)))
    assert 0 <= levels.expected_bits(step, near, small) <= levels.expected_bits(step, far, small)
    assert levels.expected_bits(step, near, small) <= levels.expected_bits(step, near, large)


@settings(deadline=None)
@given(level_lists(), targets, targets)
def test_a_coarser_file_is_a_prefix_but_for_its_last_step(levels: LevelList, a: Level, b: Level) -> None:
    coarse, fine = sorted((a, b), key=lambda level: level.log_snr)
    short, long = levels.steps_to(coarse), levels.steps_to(fine)
    assert short[-1] == coarse
    assert long[-1] == fine
    assert long[: len(short) - 1] == short[:-1]
    assert all(x.log_snr < y.log_snr for x, y in pairwise(short))


@settings(deadline=None)
@given(level_lists(), st.data())
def test_a_level_of_the_list_is_visited_once(levels: LevelList, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(levels.levels) - 1))
    assert levels.steps_to(levels.levels[place]) == list(levels.levels[: place + 1])


LOW, HIGH = level(-1.0), level(1.0)


@pytest.mark.parametrize(
    ("levels", "errors", "message"),
    [
        ((), (), "0 levels with 0 errors"),
        ((LOW, HIGH), (1,), "2 levels with 1 errors"),
        ((HIGH, LOW), (1, 1), "log SNRs must rise"),
        ((LOW, LOW), (1, 1), "log SNRs must rise"),
        ((LOW, Level(HIGH.log_snr, LOW.snr)), (1, 1), "log SNRs must rise"),
        ((LOW, HIGH), (1, 0), "errors must lie in 1"),
        ((LOW, HIGH), (1, MAX_MSE + 1), "errors must lie in 1"),
    ],
)
def test_level_lists_are_checked(levels: tuple[Level, ...], errors: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LevelList(0, levels, errors)


@pytest.mark.parametrize(("log_snr", "snr"), [(-5, 0), (-5, -1), (5, 1 << 128), (MAX_LOG_SNR + 1, 9), (-(10**400), 1)])
def test_levels_are_checked(log_snr: int, snr: int) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        Level(log_snr, snr)


def tables(*bounds: int, weights: tuple[tuple[int, ...], ...] = ((1, 2),)) -> CodecTables:
    lists = tuple(LevelList(bound, (LOW, HIGH), (5, 3)) for bound in bounds)
    return CodecTables(tuple(level(9 - t) for t in range(1, 11)), lists, weights)


def test_tables_are_checked() -> None:
    with pytest.raises(ConfigError, match="expected 1 to 16 level lists, found 0"):
        tables()
    with pytest.raises(ConfigError, match="expected 1 to 16 level lists, found 17"):
        tables(*range(1, MAX_LISTS + 2))
    for weights in (((1, 0),), ((),), ((3,), (-1,)), ((1 << 23, 1 << 23, 1),), ((2**70,),)):
        with pytest.raises(ConfigError, match="length weights must be positive"):
            tables(0, weights=weights)


def test_tables_that_would_expect_less_than_nothing_are_rejected() -> None:
    levels = LevelList(0, (LOW, HIGH), (5, 3))
    with pytest.raises(ConfigError, match="timesteps must fall"):
        CodecTables((LOW, HIGH), (levels,), ((1, 2),))
    for end in (Level(HIGH.log_snr + 5, HIGH.snr - 1), Level(LOW.log_snr - 5, LOW.snr + 1)):
        with pytest.raises(ConfigError, match="SNRs must rise with log SNRs"):
            CodecTables((end,), (levels,), ((1, 2),))


def test_timesteps_count_from_one() -> None:
    found = tables(0)
    assert found.level(1) == level(8)
    assert found.level(10) == level(-1)
    for wrong in (0, 11, -1):
        with pytest.raises(ConfigError, match=f"timestep: expected 1 to 10, found {wrong}"):
            found.level(wrong)


def test_the_first_list_that_is_large_enough_serves_a_picture() -> None:
    found = tables(1024, 65536, 0)
    assert [found.list_for(pixels) for pixels in (1, 1024, 1025, 65536, 65537, 1 << 40)] == [0, 0, 1, 1, 2, 2]
    assert tables(1024, 65536).list_for(1 << 40) == 1


def tables_by_length(default_steps: int, *lengths: tuple[int, int]) -> CodecTables:
    """Tables with a list of so many levels for each (bound, length)."""
    lists = tuple(LevelList(bound, tuple(level(0.1 * k) for k in range(length)), ()) for bound, length in lengths)
    return replace(tables(0), lists=lists, variances=VARIANCES, default_steps=default_steps)


def test_lists_are_chosen_by_their_length() -> None:
    found = tables_by_length(4, (1024, 2), (1024, 4), (1024, 8), (0, 2), (0, 4))
    assert [found.list_for(1024, steps) for steps in (2, 4, 8, None)] == [0, 1, 2, 1]
    assert [found.list_for(1025, steps) for steps in (2, 4, None)] == [3, 4, 4]
    with pytest.raises(ConfigError, match="steps: the model has lists of 2, 4, 8 levels, found 3"):
        found.list_for(1024, 3)
    with pytest.raises(ConfigError, match="steps: the model has lists of 2, 4 levels, found 8"):
        found.list_for(1025, 8)
    with pytest.raises(ConfigError, match="found 0"):
        found.list_for(1024, 0)


def test_models_with_one_list_for_each_size_have_no_other_lengths() -> None:
    found = tables_by_length(0, (1024, 3), (0, 5))
    assert [found.list_for(pixels) for pixels in (5, 5000)] == [0, 1]
    assert found.list_for(5, 3) == 0
    with pytest.raises(ConfigError, match="steps: the model has lists of 3 levels, found 5"):
        found.list_for(5, 5)


# ----------------------------------------------------------------------------------------- variances

INFORMATION = tuple(range(1, INFORMATION_TO - INFORMATION_FROM + 2))
VARIANCES = Variances((-70_000, -3, 5), ((9,) * BANDS, (-7,) * BANDS, (-320,) * BANDS), (-1,) * BANDS, INFORMATION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_snr": (), "octaves": ()}, "0 log SNRs with 0 rows"),
        ({"log_snr": (1, 2)}, "2 log SNRs with 3 rows"),
        ({"log_snr": (1, 2, 2)}, "log SNRs must rise"),
        ({"octaves": ((0,) * BANDS, (0,) * (BANDS - 1), (0,) * BANDS)}, f"expected {BANDS} bands"),
        ({"start": (0,) * (BANDS + 1)}, f"expected {BANDS + 1} bands"),
        ({"start": (), "octaves": ((), (), ())}, "expected 0 bands"),
        ({"start": (MAX_OCTAVES + 1,) * BANDS}, "a variance is out of range"),
        ({"octaves": ((-MAX_OCTAVES - 1,) * BANDS,) * 3}, "a variance is out of range"),
        (
            {"information": INFORMATION[:-1]},
            f"expected {len(INFORMATION)} entries of information, found {len(INFORMATION) - 1}",
        ),
        ({"information": (0, *INFORMATION[1:])}, "information is out of range"),
        ({"information": (*INFORMATION[:-1], 1 << 24)}, "information is out of range"),
        ({"information": (*INFORMATION[:9], 1, *INFORMATION[10:])}, "information must not fall"),
    ],
)
def test_variances_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(VARIANCES, **changes)  # type: ignore[arg-type]


def test_variances_at_the_ends_of_their_ranges() -> None:
    found = replace(VARIANCES, start=(MAX_OCTAVES,) * BANDS, information=(1,) * len(INFORMATION))
    assert found.at(None) == (MAX_OCTAVES,) * BANDS
    assert replace(VARIANCES, log_snr=(7,), octaves=((5,) * BANDS,)).at(level(-3.0)) == (6,) * BANDS


@pytest.mark.parametrize(
    ("log_snr", "expected"),
    [
        (None, 0),  # -1 lies in the middle of -2 and 0
        (-70_001, 10),  # 9 in the middle of 8 and 10
        (-70_000, 10),
        (-69_999, 8),  # a little less
        (-3, -6),  # -7 in the middle of -8 and -6
        (-2, -46),  # -7 - 313 / 8
        (1, -164),  # -163.5: the even number next to it
        (5, -320),
        (10**6, -320),
    ],
)
def test_variances_between_levels_are_even(log_snr: int | None, expected: int) -> None:
    assert set(VARIANCES.at(None if log_snr is None else Level(log_snr, 1))) == {expected}


@given(st.integers(-MAX_OCTAVES, MAX_OCTAVES), st.integers(-MAX_OCTAVES, MAX_OCTAVES), st.integers(1, 200), st.data())
def test_interpolation_is_exact(a: int, b: int, apart: int, data: st.DataObject) -> None:
    """The even number nearest to the line between two rows, halves upwards."""
    part = data.draw(st.integers(0, apart))
    found = replace(VARIANCES, log_snr=(-50, apart - 50), octaves=((a,) * BANDS, (b,) * BANDS)).at(Level(part - 50, 1))
    exact = a + Fraction((b - a) * part, apart)
    assert len(set(found)) == 1
    assert found[0] % 2 == 0
    assert -1 <= exact - found[0] < 1


def test_information_stays_as_it_is_beyond_its_table() -> None:
    first, last = INFORMATION_FROM, INFORMATION_TO
    asked = np.array([first, first - 1, -(10**6), 0, last, last + 1, 10**6])
    middle = INFORMATION[-INFORMATION_FROM]
    assert VARIANCES.expected(asked).tolist() == [*[INFORMATION[0]] * 3, middle, *[INFORMATION[-1]] * 3]
    assert VARIANCES.expected(asked.reshape(1, 7, 1)).shape == (1, 7, 1)


def test_lists_have_errors_or_the_tables_variances() -> None:
    bare = LevelList(0, (LOW, HIGH), ())
    with pytest.raises(ConfigError, match="without errors need variances"):
        replace(tables(0), lists=(*tables(0).lists, bare))
    assert replace(tables(0), lists=(bare,), variances=VARIANCES).lists == (bare,)


def test_json_of_variances() -> None:
    found = tables_by_length(2, (0, 2), (0, 4))
    written = json.loads(json.dumps(found.to_dict()))
    assert CodecTables.from_dict(written) == found
    # What an earlier release wrote knows nothing of them.
    old = tables(0).to_dict()
    del old["variances"], old["default_steps"]
    assert CodecTables.from_dict(old) == tables(0)
    for damage in ({"octaves": [[0.5] * BANDS] * 3}, {"start": None}, {"information": INFORMATION[:3]}, {"more": 1}):
        broken = json.loads(json.dumps(found.to_dict()))
        broken["variances"].update(damage)
        with pytest.raises(ConfigError):
            CodecTables.from_dict(broken)


@settings(deadline=None)
@given(st.lists(level_lists(), min_size=1, max_size=4))
def test_json_returns_what_was_written(lists: list[LevelList]) -> None:
    found = CodecTables((LOW,), tuple(lists), ((1, 2, 3),))
    assert CodecTables.from_dict(found.to_dict()) == found


# ------------------------------------------------------------------------------------------ lossless

PASS = PassFit((5, -7), (1, 0, 9))
FIT = ResidualFit(0, 64, (PASS,), (3, 3, 8), (1, 2, 3, 1 << 24))
SHAPE = (0, 5, SHAPE_TOTAL)


def replaced(fit: ResidualFit, **changes: object) -> ResidualFit:
    return ResidualFit(**{**fit.__dict__, **changes})


def test_scales_of_the_lossless_tables_are_those_of_the_format() -> None:
    assert COEFFICIENT_SCALE == 4096
    assert SHAPE_TOTAL == 2**24 - 256


@pytest.mark.parametrize(
    ("prediction", "spread", "message"),
    [
        ((1 << 24, -(1 << 24)), (1 << 24,), None),
        ((), (), None),
        (((1 << 24) + 1,), (1,), "a coefficient is out of range"),
        ((-(1 << 24) - 1,), (1,), "a coefficient is out of range"),
        ((1,), ((1 << 24) + 1,), "a coefficient is out of range"),
        ((10**400,), (1,), "a coefficient is out of range"),
        ((1,), (1, -1), "must not be negative"),
    ],
)
def test_coefficients_are_checked(prediction: tuple[int, ...], spread: tuple[int, ...], message: str | None) -> None:
    if message is None:
        assert PassFit(prediction, spread).spread == spread
        return
    with pytest.raises(ConfigError, match=message):
        PassFit(prediction, spread)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({"spacing": spacing}, "power of two") for spacing in (-64, 0, 1, 32, 63, 96, 1 << 16, 10**40)],
        ({"thresholds": (3, 2, 8)}, "thresholds must rise"),
        ({"thresholds": (1, 2)}, "one scale more"),
        ({"inverse_scales": ()}, "one scale more"),
        ({"thresholds": tuple(range(256)), "inverse_scales": (1,) * 257}, "one scale more"),
        ({"inverse_scales": (1, 0, 1, 1)}, "a scale is out of range"),
        ({"inverse_scales": (1, -5, 1, 1)}, "a scale is out of range"),
        ({"inverse_scales": (1, 1, 1, (1 << 24) + 1)}, "a scale is out of range"),
    ],
)
def test_fits_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replaced(FIT, **changes)


def test_fits_at_the_ends_of_their_ranges() -> None:
    for spacing in (64, 128, 1 << 15):
        assert replaced(FIT, spacing=spacing).spacing == spacing
    assert replaced(FIT, thresholds=(), inverse_scales=(1,)).thresholds == ()
    assert len(replaced(FIT, thresholds=tuple(range(255)), inverse_scales=(1,) * 256).thresholds) == 255


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "must rise from 0"),
        ((0, SHAPE_TOTAL), "must rise from 0"),
        ((1, 5, SHAPE_TOTAL), "must rise from 0"),
        ((0, 5, SHAPE_TOTAL - 1), "must rise from 0"),
        ((0, 5, SHAPE_TOTAL + 1), "must rise from 0"),
        ((0, 5, 4, SHAPE_TOTAL), "must not fall"),
        ((0, SHAPE_TOTAL + 1, SHAPE_TOTAL), "must not fall"),
        ((0, -1, SHAPE_TOTAL), "must not fall"),
        ((0, *[1] * (1 << 16), SHAPE_TOTAL), "must rise from 0"),
    ],
)
def test_shapes_are_checked(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LosslessTables(shape, (FIT,), (FIT,))


def test_fits_of_both_kinds_are_there_and_in_order() -> None:
    later = replaced(FIT, log_snr=1)
    assert LosslessTables(SHAPE, (FIT, later), (FIT,)).colour == (FIT, later)
    for colour, grey in (((), (FIT,)), ((FIT,), ()), ((later, FIT), (FIT,)), ((FIT,), (FIT, FIT))):
        with pytest.raises(ConfigError, match="fits at rising log SNR"):
            LosslessTables(SHAPE, colour, grey)


@pytest.mark.parametrize("start", [(), (1, 2), (1, 2, 3, 4), (-1, 0, 0), (0, 0, 32641), (0, 0, 10**400)])
def test_starts_that_are_no_colour_are_rejected(start: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="expected a start of three values"):
        CodecTables((LOW,), (LevelList(0, (LOW,), (1,)),), ((1, 2),), start)


def test_json_of_lossless_tables_and_of_models_without_them() -> None:
    levels = LevelList(0, (LOW, HIGH), (5, 3))
    old = CodecTables((LOW,), (levels,), ((1, 2),))
    new = CodecTables((LOW,), (levels,), ((1, 2),), (0, 32640, 7), LosslessTables(SHAPE, (FIT,), (FIT,)))
    for found in (old, new):
        assert CodecTables.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    # What an earlier release wrote knows nothing of either.
    written = old.to_dict()
    del written["start"], written["lossless"]
    assert CodecTables.from_dict(written) == old
    for damage in ({"spacing": 63}, {"passes": [{"prediction": [1.5], "spread": []}]}, {"more": 1}, {"log_snr": "1"}):
        broken = json.loads(json.dumps(new.to_dict()))
        broken["lossless"]["grey"][0].update(damage)
        with pytest.raises(ConfigError):
            CodecTables.from_dict(broken)
