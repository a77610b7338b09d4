"""The model of pixels: exact round trips, and every cost that of a second, slow implementation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import PrefixReader, SymbolReader, SymbolWriter
from diffcodec.errors import CheckpointError, CorruptStreamError, TruncatedStreamError
from diffcodec.lossless import residuals
from diffcodec.lossless.residuals import ResidualModel, shares_of_values
from diffcodec.lossless.rounding import UNIT
from diffcodec.lossless.tables import SHAPE_TOTAL, ResidualFit
from tests.lossless.fits import SHAPE, naive_message, naive_shares, plain_fit, random_fit

Content = tuple[NDArray[np.uint8], NDArray[np.int64]]


@st.composite
def contents(draw: st.DrawFn, max_side: int = 7) -> Content:
    """Pixels (C, H, W), and means that are near, far off, or off by all that there is."""
    shape = draw(st.sampled_from([1, 3])), draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    flat = draw(st.sampled_from([0, 1, 128, 254, 255]))
    kind = draw(st.sampled_from(["any", "flat", "extreme", "two"]))
    pixels = {
        "any": rng.integers(0, 256, shape),
        "flat": np.full(shape, flat),
        "extreme": rng.choice([0, 255], shape),
        "two": rng.choice([flat, min(255, flat + 1)], shape),
    }[kind].astype(np.uint8)
    error = draw(st.sampled_from([0, 3, UNIT, 20 * UNIT, 255 * UNIT]))
    means = pixels.astype(np.int64) * UNIT + rng.integers(-error, error + 1, shape)
    if draw(st.booleans()):
        means = means[:, ::-1, ::-1].copy()
    return pixels, means


def written(model: ResidualModel, content: Content) -> SymbolWriter:
    out = SymbolWriter()
    model.encode(*content, out)
    return out


@settings(max_examples=40)
@given(contents(), st.integers(0, 1 << 32), st.sampled_from([0, 1 << 10, 1 << 24]), st.booleans())
def test_pixels_come_back_whatever_they_the_means_and_the_tables_are(
    content: Content, seed: int, reach: int, plain: bool
) -> None:
    pixels, means = content
    rng = np.random.default_rng(seed)
    fit = plain_fit(len(pixels)) if plain else random_fit(len(pixels), rng, reach)
    model = ResidualModel(SHAPE, fit)
    out = written(model, content)
    reader = SymbolReader(out.getvalue())
    assert np.array_equal(model.decode(means, reader), pixels)
    assert reader.information_bits == pytest.approx(out.information_bits)


@settings(max_examples=20)
@given(contents(max_side=5), st.integers(0, 1 << 32), st.sampled_from([1 << 10, 1 << 24]))
def test_every_cost_is_that_of_the_slow_implementation(content: Content, seed: int, reach: int) -> None:
    """Same bytes, and the same information: no overflow, no float, no other order."""
    fit = random_fit(len(content[0]), np.random.default_rng(seed), reach)
    out, slow = written(ResidualModel(SHAPE, fit), content), SymbolWriter()
    bits = 0.0
    for value, shares in naive_message(SHAPE, fit, *content):
        slow.write_symbols(np.array([value]), np.array(shares) + 1)
        bits += 24 - math.log2(shares[value] + 1)
    assert out.information_bits == pytest.approx(bits)
    assert out.getvalue() == slow.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_costs_of_a_picture_with_the_tables_as_they_are_fitted(channels: int) -> None:
    rng = np.random.default_rng(channels)
    means = rng.integers(0, 255 * UNIT, (channels, 9, 11))
    pixels = np.clip(np.rint(means / UNIT + rng.normal(0, 2, means.shape)), 0, 255).astype(np.uint8)
    fit = plain_fit(channels)
    out = written(ResidualModel(SHAPE, fit), (pixels, means))
    bits = sum(24 - math.log2(shares[value] + 1) for value, shares in naive_message(SHAPE, fit, pixels, means))
    assert out.information_bits == pytest.approx(bits)
    assert 8 * len(out.getvalue()) < bits + 10


@pytest.mark.parametrize("chunk", [1, 3, 5, 12])
def test_pieces_do_not_change_the_bytes(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (3, 13, 9)).astype(np.uint8)
    means = pixels.astype(np.int64) * UNIT + rng.integers(-900, 900, pixels.shape)
    model = ResidualModel(SHAPE, plain_fit(3))
    whole = written(model, (pixels, means)).getvalue()
    monkeypatch.setattr(residuals, "_CHUNK", chunk)
    assert written(model, (pixels, means)).getvalue() == whole
    assert np.array_equal(model.decode(means, SymbolReader(whole)), pixels)


@pytest.mark.parametrize("shape", [(1, 2, 2 * residuals._CHUNK + 3), (1, 2 * residuals._CHUNK + 3, 1)])
def test_a_pass_of_more_than_one_piece(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    means = pixels.astype(np.int64) * UNIT + rng.integers(-300, 300, pixels.shape)
    model = ResidualModel(SHAPE, plain_fit(1))
    assert np.array_equal(model.decode(means, SymbolReader(written(model, (pixels, means)).getvalue())), pixels)


shapes = st.lists(st.integers(0, SHAPE_TOTAL), min_size=1, max_size=40).map(
    lambda inner: (0, *sorted(inner), SHAPE_TOTAL)
)


@settings(max_examples=80)
@given(
    shapes,
    st.lists(
        st.tuples(st.integers(-(1 << 33), 1 << 33) | st.integers(-UNIT, 256 * UNIT), st.integers(1, 1 << 24)),
        min_size=1,
        max_size=8,
    ),
)
def test_shares_are_a_distribution_and_exact(shape: tuple[int, ...], pixels: list[tuple[int, int]]) -> None:
    centres, scales = (np.array(column, np.int64) for column in zip(*pixels, strict=True))
    found = shares_of_values(np.array(shape, np.int64), centres, scales)
    assert found.shape == (len(pixels), 256)
    assert found.dtype == np.int64
    assert found.min() >= 0
    assert (found.sum(axis=1) == SHAPE_TOTAL).all()
    assert found.tolist() == [naive_shares(shape, centre, scale) for centre, scale in pixels]


def test_shares_are_those_of_a_discretised_distribution() -> None:
    """Ho et al. 2020, eq. 13: the mass between half a level below and half a level above, the ends open."""
    for std in (0.4, 1.0, 3.3, 20.0):
        centre = 9894 / UNIT if std < 20 else 1280 / UNIT
        scale = np.array([round(16 * 4096 / std)])
        shares = shares_of_values(np.array(SHAPE), np.array([int(centre * UNIT)]), scale)[0] / SHAPE_TOTAL
        edges = (np.arange(1, 256) - 0.5 - centre) / std
        below = np.array([0.9 * _normal(e) + 0.1 * _normal(e / 2) for e in edges])
        expected = np.diff(below, prepend=0, append=1)
        assert np.abs(shares - expected).max() < 5e-4
        assert abs(shares @ np.arange(256) - expected @ np.arange(256)) < 0.003 * max(1.0, std)


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_a_better_estimate_costs_less_and_no_pixel_costs_more_than_24_bits() -> None:
    rng = np.random.default_rng(4)
    pixels = np.full((3, 12, 12), 100, np.uint8)
    model = ResidualModel(SHAPE, plain_fit(3))
    costs = [
        written(model, (pixels, (pixels * float(UNIT) + rng.normal(0, std * UNIT, pixels.shape)).astype(np.int64)))
        for std in (0.1, 1, 5, 100)
    ]
    bits = [out.information_bits for out in costs]
    assert bits == sorted(bits)
    assert bits[0] < pixels.size
    worst = written(model, (pixels, np.full(pixels.shape, 10**6)))
    assert worst.information_bits <= 24 * pixels.size


@settings(max_examples=40)
@given(st.binary(max_size=60), contents())
def test_garbage_gives_pixels_or_a_stream_error(payload: bytes, content: Content) -> None:
    pixels, means = content
    try:
        found = ResidualModel(SHAPE, plain_fit(len(pixels))).decode(means, SymbolReader(payload))
    except CorruptStreamError:
        return
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8


def test_a_cut_message_is_truncated() -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (1, 4, 4)).astype(np.uint8)
    means = pixels.astype(np.int64) * UNIT + 99
    model = ResidualModel(SHAPE, plain_fit(1))
    payload = written(model, (pixels, means)).getvalue()
    for end in range(len(payload) + 1):
        with pytest.raises(TruncatedStreamError):
            model.decode(means, PrefixReader(payload[:end]))


OTHER_LAYOUT = r"lossless tables: (expected 4 passes, found|the numbers of coefficients)"


@pytest.mark.parametrize(
    "damage",
    [
        lambda fit: dataclasses.replace(fit, passes=fit.passes[:-1]),
        lambda fit: dataclasses.replace(fit, passes=(*fit.passes, fit.passes[0])),
        lambda fit: dataclasses.replace(fit, passes=()),
        lambda fit: dataclasses.replace(fit, passes=fit.passes[::-1]),
        lambda fit: dataclasses.replace(
            fit, passes=(*fit.passes[:-1], dataclasses.replace(fit.passes[-1], spread=fit.passes[-1].spread[1:]))
        ),
    ],
)
def test_tables_of_another_layout_are_a_checkpoint_error(damage: object) -> None:
    assert callable(damage)
    fit: ResidualFit = damage(plain_fit(1))
    model = ResidualModel(SHAPE, fit)
    with pytest.raises(CheckpointError, match=OTHER_LAYOUT):
        model.encode(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.int64), SymbolWriter())
    with pytest.raises(CheckpointError, match=OTHER_LAYOUT):
        model.decode(np.zeros((1, 4, 4), np.int64), SymbolReader(b"\x55" * 40))
