"""Wrong bits, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest
from bit_errors import damaged, markdown, of_size, pillow_decoder, progressive_decoder, psnr_db

from diffcodec.codec import DiffusionCodec
from diffcodec.images import Picture
from tests.conftest import smooth_pixels


def test_as_many_bits_are_wrong_as_asked_for() -> None:
    data, random = bytes(20_000), np.random.default_rng(0)
    for rate in (1e-4, 1e-2):
        wrong = [np.unpackbits(np.frombuffer(damaged(data, rate, random), np.uint8)).sum() for _ in range(20)]
        assert np.mean(wrong) == pytest.approx(160_000 * rate, rel=0.2)
    assert damaged(data, 0, random) == data


def test_steps_restored_are_those_of_the_decoder(codec: DiffusionCodec) -> None:
    picture = Picture(smooth_pixels(44, 48), None)
    data = codec.compress(picture, timestep=1, effort=8).data
    decode = progressive_decoder(codec, [each.pixels for each in codec.progressive(data)])
    plain = progressive_decoder(codec, [each.pixels for each in codec.progressive(data)], corrects=False)
    random = np.random.default_rng(1)
    for changed in [data[: len(data) * 3 // 4], *(damaged(data, 1e-4, random) for _ in range(8))]:
        found = decode(changed)
        if found is not None:
            assert np.array_equal(found, codec.decompress(changed, partial=True).pixels)
    assert np.array_equal(decode(data), codec.decompress(data).pixels)  # type: ignore[arg-type]
    once = bytearray(data)
    once[100] ^= 4
    assert decode(bytes(once)) is not None
    assert plain(bytes(once)) is None


def test_other_codecs() -> None:
    picture = Picture(smooth_pixels(64, 64), None)
    data = of_size(picture, 1500, "JPEG", restart_marker_rows=1)
    assert abs(len(data) - 1500) < 300
    assert psnr_db(pillow_decoder(data), picture.pixels) > 20
    assert pillow_decoder(b"nothing") is None
    assert psnr_db(None, picture.pixels) < psnr_db(pillow_decoder(data[:1000]), picture.pixels)


def test_the_table() -> None:
    row = {"bytes": 10.0, "intact_db": 30.0, "psnr_db": [29.0, 12.0], "shown": [1.0, 0.25]}
    assert markdown({"rates": [1e-6, 1e-2], "codecs": {"ours": row}}).splitlines()[-1] == (
        "| ours | 10 | 30.0 | 29.0 | 12.0 (25 %) |"
    )
