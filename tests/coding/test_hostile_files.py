"""Files of a few bytes that claim the most: errors come before memory and time are taken for the claims."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hostile import claiming

from diffcodec.bitstream.container import ColourMode, Container, Header, write_container
from diffcodec.bitstream.entropy import SymbolReader
from diffcodec.channel import ChannelId, Groups, PendingGroups, StreamKey, make_channel
from diffcodec.channel.poisson import _Shuffle, filled_at_least
from diffcodec.codec import DiffusionCodec
from diffcodec.coding import trajectory
from diffcodec.config import DEFAULT_MAX_PIXEL_EVALUATIONS
from diffcodec.errors import CorruptStreamError, TooMuchWorkError
from diffcodec.images import Picture
from diffcodec.images.alpha import AlphaMethod
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.description import describe_file
from diffcodec.model.locations import bundled_models
from tests.counting import counting

SIDE = 6320
"""A square picture of this side is still decoded at t = 300; one plane of its numbers takes 152 MiB."""

CONSTANT, PER_BYTE = 32 << 20, 100
"""Bytes that a file may take before its first step has been read: docs/format.md, "What a file may cost"."""


@pytest.fixture(params=["codec", "tiled_codec"])
def either(request: pytest.FixtureRequest) -> DiffusionCodec:
    """A message a step, and one for each tile."""
    found: DiffusionCodec = request.getfixturevalue(request.param)
    return found


def memory_of(action: Callable[[], object]) -> int:
    """Most bytes that an action takes in Python and numpy."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("channel_id", [ChannelId.TRELLIS, ChannelId.POISSON])
@pytest.mark.parametrize("share", [1.0, 0.001])
@pytest.mark.parametrize("after", [0, 240])
def test_lengths_that_a_payload_cannot_hold_take_no_memory(
    channel_id: ChannelId, share: float, after: int, either: DiffusionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "shared_rough_normals", lambda *arguments: pytest.fail("noise was drawn"))
    data = claiming(
        either, SIDE, channel_id=channel_id, share=share, after=after, alpha=bytes([AlphaMethod.CONSTANT, 7])
    )

    def refused() -> None:
        for read in (either.decompress, lambda data: either.truncate(data, len(data) - 1)):
            with pytest.raises(CorruptStreamError, match=r"too short|no valid symbol"):
                read(data)

    assert memory_of(refused) < CONSTANT + PER_BYTE * len(data)


@pytest.mark.parametrize("channel_id", [ChannelId.TRELLIS, ChannelId.POISSON])
def test_messages_take_memory_for_what_is_there(channel_id: ChannelId, tiled_codec: DiffusionCodec) -> None:
    """The first tiles' messages are in the file, the last ones are not."""
    data = claiming(tiled_codec, SIDE, channel_id=channel_id, share=0.01, after=4_000_000)

    def refused() -> None:
        with pytest.raises(CorruptStreamError, match=r"too short|no valid symbol"):
            tiled_codec.decompress(data)

    assert memory_of(refused) < CONSTANT + PER_BYTE * len(data)


@pytest.mark.parametrize("channel_id", [ChannelId.TRELLIS, ChannelId.POISSON])
def test_a_payload_ends_soon_after_its_end(channel_id: ChannelId) -> None:
    """Zeros behind it are symbols, too: without a bound an empty payload holds any message."""
    channel, reader = make_channel(channel_id, 12), SymbolReader(b"")

    def read(length: int) -> None:
        channel.read(10**8, PendingGroups.of_image(None, 0), length, StreamKey(0, 0), reader)

    read(1000 // channel.bits_per_length)
    assert reader.information_bits <= 1024
    with pytest.raises(CorruptStreamError, match="payload of 0 bytes is too short"):
        read(1024)  # bits, or chunks of at least 3 bits


def test_the_work_of_valid_files_is_limited(tiny_checkpoint: Checkpoint, picture: Picture) -> None:
    codec, network = counting(tiny_checkpoint)
    data = codec.compress(picture, timestep=2).data
    network.batch_sizes()
    codec.decompress(data)
    work = len(network.batch_sizes()) * 12 * 12  # the picture has 12 x 10 pixels, the network a stride of 4
    assert codec.decompress(data, max_pixel_evaluations=work).timestep == 2
    network.batch_sizes()
    for refuse in (codec.decompress, lambda data, **limit: next(codec.progressive(data, **limit))):
        with pytest.raises(TooMuchWorkError, match=f"together {work}, more than the limit of {work - 1}") as error:
            refuse(data, max_pixel_evaluations=work - 1)
        assert error.value.parameters == ("max_pixel_evaluations",)
    assert network.batch_sizes() == []
    coarser = codec.decompress(data, max_pixel_evaluations=work - 1, timestep=100)
    assert coarser.timestep == 100
    # How to make a picture of the last state is the caller's choice, not the file's claim.
    assert codec.decompress(data, max_pixel_evaluations=work, reconstruction="flow").timestep == 2


def test_the_default_limit(codec: DiffusionCodec) -> None:
    side = 17_000  # 11 steps
    header = Header(codec.fingerprint, ColourMode.RGB, int(ChannelId.TRELLIS), 12, 0, 1, side, side)
    evaluations = 11 + (codec.tables.start is None)
    assert evaluations * side**2 > DEFAULT_MAX_PIXEL_EVALUATIONS
    with pytest.raises(TooMuchWorkError, match="raise the limit if you trust the file"):
        codec.decompress(write_container(Container(header, b"")), max_pixels=side**2)


def test_what_the_slowest_setting_writes_is_within_the_default_limit() -> None:
    for path in bundled_models().values():
        tables = describe_file(path).tables
        steps = max(len(levels.levels) for levels in tables.lists)
        assert (steps + (tables.start is None)) * 46_000_000 <= DEFAULT_MAX_PIXEL_EVALUATIONS


def test_chunks_that_no_order_leaves_empty() -> None:
    """The bound of the Poisson channel, against the layout."""
    random = np.random.default_rng(3)
    for _ in range(400):
        dims, groups = int(random.integers(1, 300)), int(random.integers(1, 6))
        of = random.integers(0, groups, dims)
        weights = (2.0 ** random.uniform(0, random.choice([1, 20]), (1, groups))).astype(np.int64)
        made = Groups(of, np.full((1, groups), 0.5), weights)
        length = int(2 ** random.uniform(0, 12))
        filled = len(_Shuffle(dims, StreamKey(int(random.integers(99)), 0), of).filled(length, weights[0]))
        least, is_exact = filled_at_least(length, dims, PendingGroups.of_image(made, 0))
        assert least == filled if is_exact else 1 <= least <= filled
        equal = len(_Shuffle(dims, StreamKey(0, 0), None).filled(length, None))
        assert filled_at_least(length, dims, PendingGroups.of_image(None, 0)) == (equal, True)
