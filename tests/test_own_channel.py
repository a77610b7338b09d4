"""A channel that is not part of diffcodec, through `compress` and `decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.bitstream.container import read_container
from diffcodec.channel import ChannelId, TrellisChannel
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, UnsupportedVersionError, WrongTypeError
from diffcodec.images import Picture
from tests.commands import fails, run, succeeds


class OwnChannel(TrellisChannel):
    """The trellis under its own name."""

    channel_id = ChannelId.OWN


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
    with pytest.raises(ConfigError, match="channel: expected one of trellis, poisson"):
        codec.compress(picture, channel=value)
    with pytest.raises(WrongTypeError, match="channel: expected a Channel or None"):
        codec.decompress(codec.compress(picture, timestep=300), channel=value)
