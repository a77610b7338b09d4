"""The transform is orthonormal for pictures of every size, and its bands are where they should be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcodec.coding.band_transform import BLOCK, CLASS_OF_FREQUENCY, CLASSES, BandTransform
from diffcodec.coding.canvas import GREY, RGB, SignalKind

sizes = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 96, 100]))


@settings(max_examples=60)
@given(sizes, sizes, st.sampled_from([1, 2, 3, 5]), st.booleans(), st.integers(0, 3), st.integers(0, 99))
def test_it_is_orthonormal(width: int, height: int, channels: int, mixes: bool, count: int, seed: int) -> None:
    transform = BandTransform(channels, width, height, mixes)
    x = np.random.default_rng(seed).standard_normal((count, channels * height * width)).astype(np.float32)
    y = transform.forward(x)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    np.testing.assert_allclose((y**2).sum(axis=1), (x**2).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(transform.inverse(y), x, atol=2e-5)


@settings(max_examples=60)
@given(sizes, sizes, st.sampled_from([GREY, RGB]))
def test_every_coefficient_has_a_band(width: int, height: int, kind: SignalKind) -> None:
    transform, channels = kind.transform(width, height), kind.coded_channels
    assert transform.band.shape == (channels * width * height,)
    counts = transform.counts(kind.bands)
    assert np.array_equal(counts, np.bincount(transform.band, minlength=kind.bands))
    assert len(counts) == kind.bands == 300
    assert counts.sum() == channels * width * height
    assert transform.band.max() < channels * CLASSES * CLASSES
    blocks = -(-width // BLOCK) * -(-height // BLOCK)
    assert counts[0] >= blocks  # at least the mean of every block


def test_channels_are_mixed_only_where_they_belong_together() -> None:
    for mixes in (False, True):
        transform = BandTransform(3, 16, 8, mixes)
        one_channel = np.zeros((1, 3, 128), np.float32)
        one_channel[0, 1] = 1
        found = transform.forward(one_channel.reshape(1, -1))[0]
        channels = set((transform.band[np.abs(found) > 1e-3] // 100).tolist())
        assert channels == ({0, 2} if mixes else {1})


def test_flat_pictures_are_in_the_first_band_of_their_colour() -> None:
    for colour, band in (((1, 1, 1), 0), ((1, 0, -1), 100), ((1, -2, 1), 200)):
        transform = RGB.transform(50, 33)
        flat = np.repeat(np.array(colour, np.float32), 50 * 33)[None]
        found = transform.forward(flat)[0]
        assert set(transform.band[np.abs(found) > 1e-3]) == {band}


def test_a_wave_is_in_the_band_of_its_frequency() -> None:
    transform = GREY.transform(32, 32)
    for frequency in range(32):
        wave = np.cos(np.pi * frequency * (np.arange(32) + 0.5) / 32)
        found = transform.forward(np.tile(wave, 32).astype(np.float32)[None])[0]
        assert transform.band[np.abs(found).argmax()] == CLASS_OF_FREQUENCY[frequency]
        found = transform.forward(np.repeat(wave, 32).astype(np.float32)[None])[0]
        assert transform.band[np.abs(found).argmax()] == CLASSES * CLASS_OF_FREQUENCY[frequency]


def test_the_same_wave_has_the_same_band_in_shorter_blocks() -> None:
    """Bands stand for cycles per pixel: in a block of 16 the frequency k is that of 2 k in one of 32."""
    classes = GREY.transform(16, 1).band
    assert classes.tolist() == [CLASS_OF_FREQUENCY[2 * k] for k in range(16)]


def test_blocks_are_of_nearly_equal_length() -> None:
    """A picture of 33 pixels is cut into 17 and 16, not into 32 and 1."""
    classes = GREY.transform(33, 1).band.tolist()
    starts = [place for place, band in enumerate(classes) if band == 0]
    assert [place for place in starts if place == 0 or classes[place - 1] > 1] == [0, 17]
