"""A channel that is not part of diffcodec, through `compress` and `decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.bitstream.container import read_container
from diffcodec.channel import ChannelId, SimpleChannel, StreamKey, TrellisChannel, shared_normals
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, UnsupportedVersionError, WrongTypeError
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels


class OwnChannel(TrellisChannel):
    """The trellis under its own name."""

    channel_id = ChannelId.OWN


class BestOfEight(SimpleChannel):
    """For every symbol, the best of eight candidates for some of the coefficients."""

    bits_per_length = 3

    def choose(self, mean: Any, std: Any, length: int, key: StreamKey) -> list[int]:
        candidates = shared_normals(key, 0, 8 * len(mean)).reshape(8, -1)
        ratios = candidates**2 - ((candidates - mean) / std) ** 2
        return [int(part.sum(axis=1).argmax()) for part in np.array_split(ratios, length, axis=1)]

    def sample(self, dims: int, symbols: Any, key: StreamKey) -> Any:
        parts = np.array_split(shared_normals(key, 0, 8 * dims).reshape(8, dims), len(symbols), axis=1)
        return np.concatenate([part[symbol] for part, symbol in zip(parts, symbols, strict=True)])


@pytest.mark.parametrize("timestep", [500, 50, 1])
def test_two_functions_make_a_channel(timestep: int, codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(12, 10, seed)) for seed in range(3)]
    streams = codec.compress_batch(pictures, timestep=timestep, channel=BestOfEight())
    alone = codec.compress(pictures[1], timestep=timestep, channel=BestOfEight())
    assert alone.report.file_bytes == len(streams[1].data)
    restored = codec.decompress_batch(streams, channel=BestOfEight())
    for stream, found, original in zip(streams, restored, pictures, strict=True):
        assert psnr_db(squared_error(found.pixels, original.pixels)) == pytest.approx(stream.report.psnr_db, abs=0.05)
        # The first bits bring something. This channel is not made for many bits a coefficient, as later steps have.
        assert stream.report.steps[0].delivered_bits > 0


def test_a_wrong_number_of_symbols(codec: DiffusionCodec, picture: Picture) -> None:
    class Short(BestOfEight):
        def choose(self, mean: Any, std: Any, length: int, key: StreamKey) -> list[int]:
            return [0]

    with pytest.raises(ConfigError, match="choose: expected"):
        codec.compress(picture, timestep=20, channel=Short())


def test_files_with_an_own_channel_need_it(codec: DiffusionCodec, picture: Picture) -> None:
    own, usual = (
        codec.compress(picture, timestep=50, channel=channel, effort=8) for channel in (OwnChannel(8), "trellis")
    )
    assert read_container(own.data).header.channel == 3
    assert read_container(own.data).payload == read_container(usual.data).payload
    assert own.report.channel == "own"
    restored = codec.decompress(own, channel=OwnChannel(8))
    assert np.array_equal(restored.pixels, codec.decompress(usual).pixels)
    *_, last = codec.progressive(own, channel=OwnChannel(8))
    assert np.array_equal(last.pixels, restored.pixels)
    for read in (codec.decompress, lambda stream: codec.truncate(stream, 60)):
        with pytest.raises(UnsupportedVersionError, match="channel that is not part of diffcodec"):
            read(own)


def test_a_trellis_of_ones_own_settings_makes_ordinary_files(codec: DiffusionCodec, picture: Picture) -> None:
    given = codec.compress(picture, timestep=50, channel=TrellisChannel(9), effort=9)
    assert given.data == codec.compress(picture, timestep=50, effort=9).data


def test_the_command_line_says_what_is_missing(
    shared_tiny_model: Path, codec: DiffusionCodec, picture: Picture, tmp_path: Path
) -> None:
    path = tmp_path / "own.dfc"
    codec.compress(picture, timestep=50, channel=OwnChannel()).save(path)
    fails(
        run("decompress", path, "--model", shared_tiny_model),
        "own.dfc was made with a channel that is not part of diffcodec",
    )
    assert "channel  own" in succeeds(run("info", path)).stdout


@pytest.mark.parametrize("value", [3, OwnChannel, "own"])
def test_what_is_no_channel(value: Any, codec: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(ConfigError, match="channel: expected trellis, poisson or a Channel object"):
        codec.compress(picture, channel=value)
    with pytest.raises(WrongTypeError, match="channel: expected a Channel or None"):
        codec.decompress(codec.compress(picture, timestep=300), channel=value)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([17], r"choose: expected symbols below 2\^4 = 16, .* found 17"),
        ([-1], r"choose: expected symbols below 2\^4 = 16, .* found -1"),
        ([0.9], "choose: expected integers, found float64"),
        (None, r"choose: expected 1 symbols, found an array of shape \(\)"),
    ],
)
def test_symbols_that_do_not_fit_are_refused(symbols: Any, message: str) -> None:
    class Careless(SimpleChannel):
        bits_per_length = 4

        def choose(self, mean: Any, std: Any, length: int, key: StreamKey) -> Any:
            return symbols

        def sample(self, dims: int, symbols: Any, key: StreamKey) -> Any:
            return np.zeros(dims)

    with pytest.raises(ConfigError, match=message):
        Careless().select(np.zeros((1, 3)), None, [1], [StreamKey(0, 0)])


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([np.nan, 0, 0], "sample: expected finite numbers"),
        ([0, 0], r"sample: expected 3 numbers, found an array of shape \(2,\)"),
        (None, r"sample: expected 3 numbers, found an array of shape \(\)"),
        ("words", "sample: expected 3 numbers, found str"),
    ],
)
def test_samples_that_are_none_are_refused(sample: Any, message: str) -> None:
    class Careless(SimpleChannel):
        def choose(self, mean: Any, std: Any, length: int, key: StreamKey) -> Any:
            return np.zeros(length, int)

        def sample(self, dims: int, symbols: Any, key: StreamKey) -> Any:
            return sample

    with pytest.raises(ConfigError, match=message):
        Careless().select(np.zeros((1, 3)), None, [1], [StreamKey(0, 0)])


@pytest.mark.parametrize("bits", [0, -4, 2.5, 63])
def test_symbols_have_whole_bits(bits: Any) -> None:
    with pytest.raises(ConfigError, match="bits_per_length: expected an integer from 1 to 62"):
        type("Wide", (SimpleChannel,), {"bits_per_length": bits})
