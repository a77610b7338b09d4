"""Covariances of a latent's channels, by band."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("diffusers")

from latent_rotation import covariances

from diffcodec.coding.canvas import SignalKind


def test_mixed_channels_are_found_correlated_in_every_band() -> None:
    rng = np.random.default_rng(0)
    independent = rng.standard_normal((40, 2, 16, 16)).astype(np.float32)
    mixing = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    errors = np.einsum("kc,nchw->nkhw", mixing, independent)
    found, sizes = covariances(errors, SignalKind("latents", 2, 2, False))
    assert sizes.sum() == 256
    for band in np.flatnonzero(sizes >= 16):
        np.testing.assert_allclose(found[band], mixing @ mixing.T, atol=0.25)
    assert not found[sizes == 0].any()
