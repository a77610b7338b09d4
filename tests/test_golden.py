"""Files that a release wrote stay readable, and restore to the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import StreamError
from diffcodec.images import read_picture
from tests.conftest import largest_difference

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dfc"))


@pytest.fixture(scope="module")
def codecs() -> Callable[[bytes], DiffusionCodec]:
    """The codec for a file; each model is loaded once."""
    loaded: dict[bytes, DiffusionCodec] = {}

    def codec_for(data: bytes) -> DiffusionCodec:
        fingerprint = read_header(data).header.fingerprint
        if fingerprint not in loaded:
            loaded[fingerprint] = DiffusionCodec.for_stream(data)
        return loaded[fingerprint]

    return codec_for


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_file_restores_to_its_picture(path: Path, codecs: Callable[[bytes], DiffusionCodec]) -> None:
    data = path.read_bytes()
    restored = codecs(data).decompress(data).picture
    expected = read_picture(path.with_suffix(".png"))
    assert restored.mode == expected.mode
    # Pixel values may differ in the last digits between machines; symbols may not, nor lossless pictures.
    lossless = read_header(data).header.timestep == 0
    assert largest_difference(restored.pixels, expected.pixels) <= (0 if lossless else 1)
    if expected.alpha is not None:
        assert restored.alpha is not None
        assert np.array_equal(restored.alpha, expected.alpha)


def test_there_are_golden_files_of_every_kind() -> None:
    names = " ".join(path.stem for path in GOLDEN)
    kinds = "rgb grey alpha poisson seed odd effort8 effort16 -t0 stored tiles blocks metadata cut"
    assert [kind for kind in kinds.split() if kind not in names] == []


def test_every_flipped_byte_of_a_real_file_is_a_stream_error() -> None:
    path = next(path for path in GOLDEN if "one-pixel" in path.stem)
    data = path.read_bytes()
    codec = DiffusionCodec.for_stream(data)
    for position in range(len(data)):
        for value in range(256):
            if value == data[position]:
                continue
            damaged = data[:position] + bytes([value]) + data[position + 1 :]
            with pytest.raises(StreamError):
                codec.decompress(damaged)
    for length in range(len(data)):
        with pytest.raises(StreamError):
            codec.decompress(data[:length])
