"""Lossless files, t = 0: exact on every picture and on every machine, short, and an error where they cannot be."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import ColourMode, Container, read_container, write_container
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.canvas import Canvas
from diffcodec.coding.encoder import Encoder
from diffcodec.coding.options import CompressOptions
from diffcodec.coding.report import Bitstream, Restoration
from diffcodec.coding.signals import ColourPictures
from diffcodec.coding.stream import ParsedStream
from diffcodec.diffusion import windows
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    StreamError,
    TruncatedStreamError,
)
from diffcodec.images import Picture, picture_to_pil
from diffcodec.lossless.coder import LosslessCoder
from diffcodec.lossless.payload import LosslessPayload
from diffcodec.lossless.rounding import GUARD, UNIT
from diffcodec.lossless.stored import StoredKind, store
from diffcodec.lossless.tables import LosslessTables, PassFit, ResidualFit
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import assert_same_picture, smooth_pixels, with_one_byte_changed
from tests.lossless.odd_pictures import odd_pictures
from tests.other_machines import perturbed, threads

PICTURES = odd_pictures()


def compress(codec: DiffusionCodec, picture: Picture, **options: Unpack[CompressOptions]) -> Bitstream:
    """A lossless file, made fast."""
    fast: CompressOptions = {"timestep": 0, "effort": 8}
    fast.update(options)
    return codec.compress(picture, **fast)


def payload_of(stream: Bitstream) -> LosslessPayload:
    return LosslessPayload.from_bytes(read_container(stream.data).payload)


def with_payload(stream: Bitstream, payload: bytes, **changes: object) -> bytes:
    """The file with another payload or header, and a right checksum."""
    container = read_container(stream.data)
    header = dataclasses.replace(container.header, **changes)  # type: ignore[arg-type]
    return write_container(Container(header, payload, container.alpha))


@pytest.fixture(scope="module")
def modelled(codec: DiffusionCodec) -> dict[str, Bitstream]:
    """Files of all pictures that are coded with the model, whether or not that is shorter.

    The levels below the first two starts are left out: for them see the tests of late starts.
    """
    starts = sorted(_coder(codec).starts())
    send = Encoder.send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "send", lambda *arguments: itertools.islice(send(*arguments), starts[1]))
        return {name: compress(codec, picture, may_store=False) for name, picture in PICTURES.items()}


SMALL = Picture(smooth_pixels(3, 4, seed=8), smooth_pixels(3, 4, seed=1)[..., 0].copy())


@pytest.fixture(scope="module")
def small(codec: DiffusionCodec) -> Bitstream:
    """A file of a few steps, with alpha."""
    return compress(codec, SMALL, may_store=False)


@pytest.fixture(scope="module")
def small_stored(codec: DiffusionCodec) -> Bitstream:
    """A file that stores its picture, as that is shorter."""
    stream = compress(codec, PICTURES["spot"])
    assert payload_of(stream).stored is not None
    return stream


# ---------------------------------------------------------------------------------------- exact, and short


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_comes_back_in_a_file_that_is_not_much_longer_than_webp(codec: DiffusionCodec, name: str) -> None:
    picture = PICTURES[name]
    stream = compress(codec, picture)
    assert_same_picture(codec.decompress(stream).picture, picture)
    webp = io.BytesIO()
    picture_to_pil(picture).save(webp, "WEBP", lossless=True, exact=True, quality=100, method=6)
    assert len(stream.data) <= len(webp.getvalue()) + 24
    assert stream.report.rmse == 0
    assert math.isinf(stream.report.psnr_db)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_comes_back_from_the_model(
    codec: DiffusionCodec, modelled: dict[str, Bitstream], name: str
) -> None:
    assert payload_of(modelled[name]).stored is None
    restored = codec.decompress(modelled[name])
    assert_same_picture(restored.picture, PICTURES[name])
    assert (restored.timestep, restored.verified) == (0, True)
    assert restored.step == restored.steps == len(modelled[name].report.steps) + 1


def test_both_ways_are_taken(codec: DiffusionCodec) -> None:
    """The tiny model beats WebP on small pictures like those it was calibrated on, and loses on drawings."""
    kinds = {name: payload_of(compress(codec, PICTURES[name])).stored for name in ("7x3", "screenshot", "flat")}
    assert kinds["7x3"] is None
    assert kinds["screenshot"] is not None
    assert kinds["flat"] is not None


def test_the_shortest_of_all_ways_is_taken(codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(smooth_pixels(5, 4, seed=1))
    natural = compress(codec, picture)
    starts = _coder(codec).starts()
    assert len(starts) >= 4
    lengths = []
    for start in starts:
        monkeypatch.setattr(LosslessCoder, "starts", lambda self, start=start: {start})
        stream = compress(codec, picture, may_store=False)
        assert payload_of(stream).steps == len(stream.report.steps) == start
        assert_same_picture(codec.decompress(stream).picture, picture)
        lengths.append(len(stream.data))
    header = natural.report.header_bytes
    assert len(natural.data) == min(*lengths, header + 1 + len(store(picture)[1]))
    assert len(set(lengths)) > 1


@settings(max_examples=6)
@given(
    width=st.integers(1, 13),
    height=st.integers(1, 13),
    grey=st.booleans(),
    alpha=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_size_mode_and_seed_comes_back(
    codec: DiffusionCodec, width: int, height: int, grey: bool, alpha: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = smooth_pixels(height, width, seed % 100)
    plane = rng.integers(0, 256, (height, width)).astype(np.uint8) if alpha else None
    original = Picture(pixels[..., 1].copy() if grey else pixels, plane)
    stream = compress(codec, original, seed=seed, may_store=False)
    assert_same_picture(codec.decompress(stream).picture, original)


@pytest.mark.parametrize(("channel", "effort", "seed"), [("poisson", 12, 0), ("trellis", 16, 0), ("trellis", 9, 2**63)])
def test_every_channel_effort_and_seed(codec: DiffusionCodec, channel: str, effort: int, seed: int) -> None:
    picture = Picture(smooth_pixels(2, 3))
    stream = codec.compress(picture, timestep=0, channel=channel, effort=effort, seed=seed, may_store=False)
    assert stream.report.header_bytes == 17 + (8 if seed else 0)
    assert_same_picture(codec.decompress(stream).picture, picture)


def test_report_of_a_modelled_file_adds_up(modelled: dict[str, Bitstream]) -> None:
    for name, stream in modelled.items():
        report, payload = stream.report, payload_of(stream)
        bits = report.side_bits + report.path_bits + report.residual_bits
        assert 8 * len(payload.body) - bits < 10
        # Zeros at the end are not written: now and then a byte, and many of a picture that is black to the end.
        assert name not in ("noise", "grey", "33x31", "white") or 8 * len(payload.body) - bits > -10
        assert report.file_bytes == len(stream.data)
        assert len(report.steps) == payload.steps
        assert report.timestep == 0
        alpha = read_container(stream.data).alpha
        assert report.alpha_bytes == (0 if alpha is None else len(alpha))
        assert report.file_bytes == report.header_bytes + len(payload.to_bytes()) + report.alpha_bytes
        picture = PICTURES[name]
        assert report.bpd == pytest.approx(8 * len(stream.data) / picture.pixels.size)


def test_report_of_a_stored_file_adds_up(small_stored: Bitstream) -> None:
    report, payload = small_stored.report, payload_of(small_stored)
    assert (len(report.steps), report.side_bits, report.path_bits, report.alpha_bytes) == (0, 0, 0, 0)
    assert report.residual_bits == 8 * len(payload.body)
    assert report.file_bytes == report.header_bytes + 1 + len(payload.body)


def test_the_shortest_way_is_taken_with_a_seed_too(codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored picture needs no seed: it may be 8 bytes longer than what needs one."""
    picture = Picture(smooth_pixels(4, 4, seed=1))
    coded = compress(codec, picture, seed=5, may_store=False)
    body = bytes(len(read_container(coded.data).payload) + 3)
    monkeypatch.setattr("diffcodec.coding.encoder.store", lambda picture: (StoredKind.PNG, body))
    assert len(compress(codec, picture, seed=5).data) < len(coded.data)


def test_a_seed_costs_a_stored_file_nothing(codec: DiffusionCodec, small_stored: Bitstream) -> None:
    seeded = compress(codec, PICTURES["spot"], seed=7)
    assert seeded.data == small_stored.data
    assert_same_picture(codec.decompress(seeded).picture, PICTURES["spot"])


def test_the_same_picture_makes_the_same_file(codec: DiffusionCodec, small: Bitstream) -> None:
    assert compress(codec, SMALL, may_store=False).data == small.data


# ------------------------------------------------------------------------------------- exact on every machine


def test_a_decoder_whose_network_is_a_little_off_is_exact(
    tiny_checkpoint: Checkpoint, modelled: dict[str, Bitstream]
) -> None:
    """eps + N(0, 1e-5) at every evaluation."""
    torch.manual_seed(1)
    decoder = perturbed(tiny_checkpoint)
    for name, stream in modelled.items():
        assert_same_picture(decoder.decompress(stream).picture, PICTURES[name])


def test_files_that_start_late_are_exact_with_a_network_that_is_a_little_off(
    codec: DiffusionCodec, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the whole walk, differences have had the most steps to grow."""
    torch.manual_seed(2)
    decoder, last = perturbed(tiny_checkpoint), len(codec.tables.lists[codec.tables.list_for(1)].levels)
    monkeypatch.setattr(LosslessCoder, "starts", lambda self: {last})
    for seed in range(2):
        picture = Picture(smooth_pixels(10, 12, seed))
        stream = compress(codec, picture, may_store=False)
        assert payload_of(stream).steps == last
        for _ in range(2):
            assert_same_picture(decoder.decompress(stream).picture, picture)


@contextmanager
def final_mean_moved(kind: str, units: float) -> Iterator[None]:
    """Inside, the decoder's final mean differs: all up, all down, to and fro, or at random."""
    original, rng = ColourPictures.grey_levels, np.random.default_rng(3)

    def grey_levels(self: ColourPictures, x_0: Tensor, canvas: Canvas) -> NDArray[np.float64]:
        levels = original(self, x_0, canvas)
        offsets = {
            "up": np.ones(levels.shape),
            "down": -np.ones(levels.shape),
            "to-and-fro": rng.choice([-1.0, 1.0], levels.shape),
            "random": rng.uniform(-1, 1, levels.shape),
        }[kind]
        return levels + offsets * units / UNIT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ColourPictures, "grey_levels", grey_levels)
        yield


@pytest.mark.parametrize("kind", ["up", "down", "to-and-fro", "random"])
@pytest.mark.parametrize("units", [GUARD / 3, 0.95 * GUARD])
def test_a_final_mean_within_the_guard_is_exact(
    codec: DiffusionCodec, modelled: dict[str, Bitstream], kind: str, units: float
) -> None:
    names = ["7x3", "grey", "half-hidden", "white", "one-pixel"] if units > GUARD / 2 else list(modelled)[::3]
    with final_mean_moved(kind, units):
        for name in names:
            assert_same_picture(codec.decompress(modelled[name]).picture, PICTURES[name])


@pytest.mark.parametrize("kind", ["up", "to-and-fro"])
def test_a_final_mean_beyond_the_guard_is_an_error_and_never_a_wrong_picture(
    codec: DiffusionCodec, modelled: dict[str, Bitstream], kind: str
) -> None:
    refused = 0
    with final_mean_moved(kind, 4 * GUARD):
        for name in list(modelled)[::2]:
            try:
                found = codec.decompress(modelled[name]).picture
            except CorruptStreamError:
                refused += 1
            else:
                assert_same_picture(found, PICTURES[name])
        # With 720 values some boundary is crossed.
        with pytest.raises(CorruptStreamError):
            codec.decompress(modelled["grey-as-colour"])
        with pytest.raises(CorruptStreamError, match=r"photo\.dfc"):
            codec.decompress(ParsedStream.parse(modelled["33x31"].data, name="photo.dfc"))
    assert refused >= 8


def test_a_network_that_is_far_off_is_an_error_that_says_what_to_do(
    tiny_checkpoint: Checkpoint, modelled: dict[str, Bitstream]
) -> None:
    torch.manual_seed(3)
    decoder = perturbed(tiny_checkpoint, std=0.1)
    messages = []
    for name in ("33x31", "noise", "grey", "alpha", "gradient"):
        with pytest.raises(CorruptStreamError) as caught:
            decoder.decompress(modelled[name])
        messages.append(str(caught.value))
    assert any("checksum of the original" in message and "restore timestep 1" in message for message in messages)


def test_threads_change_nothing(codec: DiffusionCodec, modelled: dict[str, Bitstream]) -> None:
    # Little work: threads wait long for each other on a busy machine.
    with threads(2):
        assert_same_picture(codec.decompress(modelled["33x31"]).picture, PICTURES["33x31"])


def test_batches_change_nothing(codec: DiffusionCodec) -> None:
    """Encoded together and alone; decoded alone. Each picture has its own form and number of steps."""
    rng = np.random.default_rng(2)
    pictures = [
        Picture(smooth_pixels(6, 5, seed=1)),
        Picture(np.full((6, 5, 3), 77, np.uint8), np.full((6, 5), 3, np.uint8)),
        Picture(rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)),
        Picture(smooth_pixels(6, 5, seed=2), rng.integers(0, 256, (6, 5)).astype(np.uint8)),
    ]
    natural = codec.compress_batch(pictures, timestep=0, effort=8)
    together = codec.compress_batch(pictures, timestep=0, effort=8, may_store=False)
    for index, picture in enumerate(pictures):
        assert_same_picture(codec.decompress(natural[index]).picture, picture)
        assert_same_picture(codec.decompress(together[index]).picture, picture)
        if index in (0, 3):
            continue
        alone = compress(codec, picture)
        # Another batch size may move a sample's last digit, and with it some bits; not the way that is taken.
        assert payload_of(alone).stored == payload_of(natural[index]).stored
        assert abs(len(alone.data) - len(natural[index].data)) <= 4
    assert {payload_of(stream).stored is None for stream in natural} == {True, False}


def test_a_picture_that_is_done_early_does_not_end_the_others(
    codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy, hard = Picture(np.full((10, 9, 3), 77, np.uint8)), Picture(smooth_pixels(10, 9))
    body = bytes(500)

    def stored(picture: Picture) -> tuple[StoredKind, bytes]:
        return store(picture) if picture is easy else (StoredKind.PNG, body)

    monkeypatch.setattr("diffcodec.coding.encoder.store", stored)
    first, second = codec.compress_batch([easy, hard], timestep=0, effort=8)
    assert payload_of(first).stored is not None
    assert payload_of(second).stored is None
    assert 8 * len(first.data) < second.report.path_bits / 2
    assert_same_picture(codec.decompress(first).picture, easy)
    assert_same_picture(codec.decompress(second).picture, hard)


def test_large_pictures_are_exact_with_other_windows(codec: DiffusionCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    margin = codec.checkpoint.config.network.receptive_radius
    picture = Picture(smooth_pixels(4, 4 * margin))
    stream = compress(codec, picture, may_store=False)
    calls: list[int] = []
    predict = type(codec.denoiser).predict_x_0

    def counted(self: object, x_t: Tensor, log_snr: Tensor) -> Tensor:
        calls.append(x_t.shape[3])
        return predict(self, x_t, log_snr)  # type: ignore[arg-type]

    monkeypatch.setattr(type(codec.denoiser), "predict_x_0", counted)
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 100)
    assert_same_picture(codec.decompress(stream).picture, picture)
    assert max(calls) < picture.width


# ------------------------------------------------------------------------------------------ coarser versions


@pytest.mark.parametrize("name", ["7x3", "grey", "alpha"])
def test_progressive_ends_with_the_picture_itself(
    codec: DiffusionCodec, modelled: dict[str, Bitstream], name: str
) -> None:
    stream, picture = modelled[name], PICTURES[name]
    every = list(codec.progressive(stream))
    steps = len(stream.report.steps)
    assert [restored.step for restored in every] == list(range(1, steps + 2))
    assert all(restored.steps == steps + 1 for restored in every)
    assert every[-1].timestep == 0
    assert every[-2].timestep > 0
    assert_same_picture(every[-1].picture, picture)
    assert all(a.payload_bits < b.payload_bits for a, b in itertools.pairwise(every))
    assert all(a.timestep > b.timestep for a, b in itertools.pairwise(every))
    report = stream.report
    assert every[-2].payload_bits == pytest.approx(report.side_bits + report.path_bits)
    assert every[-1].payload_bits == pytest.approx(report.side_bits + report.path_bits + report.residual_bits)
    for restored in every:
        assert restored.picture.mode == picture.mode
        if picture.alpha is not None:
            assert restored.picture.alpha is not None
            assert np.array_equal(restored.picture.alpha, picture.alpha)


def test_progressive_of_a_stored_file_is_one_picture(codec: DiffusionCodec, small_stored: Bitstream) -> None:
    every = list(codec.progressive(small_stored))
    assert [(restored.step, restored.steps, restored.timestep) for restored in every] == [(1, 1, 0)]
    assert_same_picture(every[0].picture, PICTURES["spot"])
    assert every[0].payload_bits == 8 * len(read_container(small_stored.data).payload)


def test_a_coarser_version_of_a_lossless_file_is_one_of_its_steps(
    codec: DiffusionCodec, modelled: dict[str, Bitstream]
) -> None:
    stream = modelled["7x3"]
    every = list(codec.progressive(stream))
    seen = set()
    for timestep in (1, 2, 30, 60, 150, 400, 999):
        found = codec.decompress(stream, timestep=timestep)
        seen.add(found.step)
        reached = [restored for restored in every[:-1] if restored.timestep >= timestep - 0.001]
        assert found.step == len(reached)
        if reached:
            assert np.array_equal(found.pixels, reached[-1].pixels)
            assert found.timestep == reached[-1].timestep
        assert found.verified
    assert len(seen) >= 4
    # The finest of them is the file without its last step.
    assert codec.decompress(stream, timestep=1).step == len(stream.report.steps)
    for same in (None, 0, np.int64(0)):
        assert_same_picture(codec.decompress(stream, timestep=same).picture, PICTURES["7x3"])  # type: ignore[arg-type]
    for wrong in (-1, 1001):
        with pytest.raises(ConfigError, match=f"timestep: expected 1 to 1000, found {wrong}"):
            codec.decompress(stream, timestep=wrong)


def test_a_lossless_file_begins_like_a_lossy_one(codec: DiffusionCodec, modelled: dict[str, Bitstream]) -> None:
    """The same levels are visited, and the same samples sent: only the rest differs."""
    picture, stream = PICTURES["noise"], modelled["noise"]
    levels = codec.tables.lists[codec.tables.list_for(1)].levels
    on_list = {level.log_snr for level in levels[: len(stream.report.steps) - 1]}
    timestep = min(t for t in range(1, 1001) if codec.tables.level(t).log_snr in on_list)
    codec = DiffusionCodec(codec.checkpoint, precision="fp32")  # as lossless files always are
    lossy = codec.compress(picture, timestep=timestep, effort=8)
    coarse = codec.decompress(stream, timestep=timestep)
    assert coarse.step == len(lossy.report.steps)
    assert np.array_equal(coarse.picture.pixels, codec.decompress(lossy).pixels)
    body = read_container(lossy.data).payload
    assert payload_of(stream).body.startswith(body[:-2])


def test_stored_files_have_no_coarser_version(codec: DiffusionCodec, small_stored: Bitstream) -> None:
    with pytest.raises(ConfigError, match=r"photo\.dfc stores its picture.*no coarser version"):
        codec.decompress(ParsedStream.parse(small_stored.data, name="photo.dfc"), timestep=100)
    assert_same_picture(codec.decompress(small_stored, timestep=0).picture, PICTURES["spot"])


def test_a_lossy_file_cannot_be_made_lossless(codec: DiffusionCodec) -> None:
    lossy = codec.compress(Picture(smooth_pixels(4, 4)), timestep=300, effort=8)
    with pytest.raises(ConfigError, match="timestep 0 is finer than the stream, which ends at 300"):
        codec.decompress(lossy, timestep=0)


# --------------------------------------------------------------------------------------------- cut and damaged


def test_every_cut_is_named(codec: DiffusionCodec, small: Bitstream, small_stored: Bitstream) -> None:
    for stream in (small, small_stored):
        for length in range(len(stream.data)):
            with pytest.raises(TruncatedStreamError):
                codec.decompress(stream.data[:length])


def test_partial_restores_complete_steps_of_a_cut_file(codec: DiffusionCodec, small: Bitstream) -> None:
    data, container = small.data, read_container(small.data)
    assert container.alpha is not None
    every = list(codec.progressive(small))
    payload = LosslessPayload.from_bytes(container.payload)
    end = len(data) - 4 - len(container.alpha)
    header = end - len(container.payload)
    first_step = header + len(container.payload) - len(payload.body)
    seen = set()
    for length in range(len(data)):
        cut = data[:length]
        if length < first_step:
            with pytest.raises(TruncatedStreamError):
                codec.decompress(cut, partial=True)
            continue
        if length % 3 and end - length > 8:
            continue
        found = codec.decompress(cut, partial=True)
        assert not found.verified
        assert (found.picture.alpha is None) == (length < len(data) - 4)
        seen.add(found.step)
        if length >= end:
            # All pixels are there, and their own checksum proves them.
            assert (found.step, found.timestep) == (found.steps, 0)
            assert np.array_equal(found.pixels, SMALL.pixels)
        else:
            assert found.step < found.steps
            if found.step:
                assert np.array_equal(found.pixels, every[found.step - 1].pixels)
    assert {len(small.report.steps), len(small.report.steps) + 1} <= seen
    assert min(seen) <= len(small.report.steps) // 2  # the first steps of so small a picture hold nothing
    assert len(seen) > len(small.report.steps) // 2
    whole = codec.decompress(data, partial=True)
    assert whole.verified
    assert_same_picture(whole.picture, SMALL)


def test_partial_of_a_stored_file_needs_all_of_it(codec: DiffusionCodec, small_stored: Bitstream) -> None:
    data = small_stored.data
    for length in range(len(data) - 4):
        with pytest.raises(TruncatedStreamError):
            codec.decompress(ParsedStream.parse(data[:length], partial=True, name="photo.dfc"))
    with pytest.raises(TruncatedStreamError, match=r"photo\.dfc is cut and stores its picture as a whole"):
        codec.decompress(ParsedStream.parse(data[:-9], partial=True, name="photo.dfc"))
    for length in range(len(data) - 4, len(data)):
        found = codec.decompress(data[:length], partial=True)
        assert not found.verified
        assert_same_picture(found.picture, PICTURES["spot"])


def test_partial_of_a_stored_file_with_alpha(codec: DiffusionCodec) -> None:
    colours, alpha = np.full((9, 8, 3), 50, np.uint8), np.full((9, 8), 255, np.uint8)
    colours[2:6, 2:6], alpha[2:6, 2:6] = 200, 0  # colours that nobody sees come back, too
    picture = Picture(colours, alpha)
    data = compress(codec, picture).data
    assert LosslessPayload.from_bytes(read_container(data).payload).stored is not None
    assert read_container(data).alpha == b""
    assert_same_picture(codec.decompress(data[:-1], partial=True).picture, picture)
    with pytest.raises(TruncatedStreamError, match="stores its picture"):
        codec.decompress(data[:-6], partial=True)


@pytest.mark.parametrize("kind", ["small", "small_stored"])
def test_every_changed_byte_is_a_stream_error(codec: DiffusionCodec, kind: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(kind).data
    for damaged in with_one_byte_changed(data):
        with pytest.raises(StreamError):
            codec.decompress(damaged)
    for extra in (data + b"\0", b"\0" + data, data[1:], data[:5] + data[6:]):
        with pytest.raises(StreamError):
            codec.decompress(extra)


def test_damage_behind_a_right_checksum_is_never_a_wrong_picture(codec: DiffusionCodec, small: Bitstream) -> None:
    """The pixels have a checksum of their own."""
    payload = read_container(small.data).payload
    for position in range(0, len(payload), 3):
        damaged = bytearray(payload)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(StreamError, match=r"photo\.dfc"):
            codec.decompress(ParsedStream.parse(with_payload(small, bytes(damaged)), name="photo.dfc"))
    for end in range(0, len(payload), 7):
        with pytest.raises(StreamError):
            codec.decompress(with_payload(small, payload[:end]))


@settings(max_examples=40)
@given(st.integers(0, 12), st.binary(max_size=50))
def test_garbage_behind_a_right_checksum_is_a_stream_error(
    codec: DiffusionCodec, small: Bitstream, number: int, garbage: bytes
) -> None:
    with pytest.raises(StreamError):
        codec.decompress(with_payload(small, bytes([number]) + garbage))


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        (b"", CorruptStreamError, "damaged: the payload is cut before its first step"),
        (b"\x02", CorruptStreamError, "damaged: the payload is cut before its first step"),
        (b"\x02\0\0\0", CorruptStreamError, "damaged: the payload is cut before its first step"),
        (b"\x80\x00\0\0\0\0abc", CorruptStreamError, "padded"),
        (b"\xff\xff\xff\0\0\0\0abc", CorruptStreamError, "too long"),
        (b"\xff\xff\x7f\0\0\0\0abc", CorruptStreamError, "2097150 steps"),
        (b"\x02\0\0\0\0", CorruptStreamError, "checksum of the original|damaged"),
        (b"\x02\0\0\0\0" + b"\xff" * 40, CorruptStreamError, "damaged"),
        (b"\0", CorruptStreamError, "stored picture|alpha packet"),
        (b"\x01", CorruptStreamError, "stored picture|alpha packet"),
    ],
)
def test_hostile_payloads_are_named(
    codec: DiffusionCodec, small: Bitstream, payload: bytes, error: type[StreamError], words: str
) -> None:
    data = with_payload(small, payload)

    def progressive(stream: ParsedStream) -> list[Restoration]:
        return list(codec.progressive(stream))

    for partial, read in ((False, codec.decompress), (True, codec.decompress), (False, progressive)):
        with pytest.raises(error, match=words) as caught:
            read(ParsedStream.parse(data, partial=partial, name="photo.dfc"))
        assert "photo.dfc" in str(caught.value)


def test_one_step_more_than_the_list_has_is_corrupt(codec: DiffusionCodec, small: Bitstream) -> None:
    count = len(codec.tables.lists[codec.tables.list_for(1)].levels)
    for steps in (count + 1, 1000, 4095):
        payload = LosslessPayload(steps, None, 0, b"\x55" * 30).to_bytes()
        with pytest.raises(CorruptStreamError, match=f"damaged: it claims {steps} steps"):
            codec.decompress(with_payload(small, payload))
    # As many as it has are tried, and found to be none.
    with pytest.raises(StreamError):
        codec.decompress(with_payload(small, LosslessPayload(count, None, 0, b"").to_bytes()))


def test_stored_pictures_of_another_size_or_mode_are_corrupt(codec: DiffusionCodec) -> None:
    stored = compress(codec, PICTURES["screenshot"])
    payload = read_container(stored.data).payload
    header = read_container(stored.data).header
    for changes in ({"width": 49}, {"height": 1}, {"width": 32, "height": 48}, {"width": 8000, "height": 8000}):
        with pytest.raises(CorruptStreamError, match="stored picture"):
            codec.decompress(with_payload(stored, payload, **changes))
    with pytest.raises(CorruptStreamError, match="alpha packet"):
        codec.decompress(write_container(Container(header, payload, b"\0\xff")))
    with pytest.raises(ImageTooLargeError):
        codec.decompress(stored, max_pixels=100)


def test_modelled_pictures_with_a_wrong_header_are_stream_errors(
    codec: DiffusionCodec, modelled: dict[str, Bitstream]
) -> None:
    stream = modelled["33x31"]
    payload = read_container(stream.data).payload
    for changes in (
        {"width": 32},
        {"colour": ColourMode.L},
        {"effort": 9},
        {"seed": 1},
        {"level_list": 1},
        {"level_list": 9},
        {"channel": 1},
        {"channel": 3},
        {"timestep": 4000},
    ):
        with pytest.raises(StreamError):
            codec.decompress(with_payload(stream, payload, **changes))


def test_an_empty_alpha_packet_is_for_stored_pictures_only(codec: DiffusionCodec, small: Bitstream) -> None:
    container = read_container(small.data)
    for alpha in (b"", b"\x09", b"\0"):
        with pytest.raises(CorruptStreamError, match="alpha packet"):
            codec.decompress(write_container(Container(container.header, container.payload, alpha)))


# -------------------------------------------------------------------------------------------------- the model


def test_a_model_without_lossless_tables_says_what_to_do(tiny_checkpoint: Checkpoint, small: Bitstream) -> None:
    assert tiny_checkpoint.tables is not None
    old = DiffusionCodec(tiny_checkpoint.with_tables(dataclasses.replace(tiny_checkpoint.tables, lossless=None)))
    with pytest.raises(CheckpointError, match=r"no tables for lossless files .*: calibrate it, or use another model"):
        old.compress(PICTURES["flat"], timestep=0)
    with pytest.raises(CorruptStreamError, match="lossless"):
        old.decompress(ParsedStream.parse(with_payload(small, b"\0abc", fingerprint=old.fingerprint), name="photo.dfc"))
    # What it could do before it still can.
    stream = old.compress(Picture(smooth_pixels(4, 4)), timestep=300, effort=8)
    assert old.decompress(stream).picture.width == 4


def _lossless(codec: DiffusionCodec) -> LosslessTables:
    assert codec.tables.lossless is not None
    return codec.tables.lossless


def _coder(codec: DiffusionCodec, *, is_grey: bool = False) -> LosslessCoder:
    """Of small pictures."""
    return LosslessCoder(_lossless(codec), is_grey, codec.tables.lists[codec.tables.list_for(1)])


def test_a_model_with_tables_of_another_layout_is_named(codec: DiffusionCodec, small: Bitstream) -> None:
    lossless = _lossless(codec)
    swapped = LosslessTables(lossless.shape, lossless.grey, lossless.colour)
    hostile = DiffusionCodec(codec.checkpoint.with_tables(dataclasses.replace(codec.tables, lossless=swapped)))
    with pytest.raises(CheckpointError, match="lossless tables: expected 12 passes, found 4"):
        compress(hostile, Picture(smooth_pixels(3, 3)), may_store=False)
    payload = read_container(small.data).payload
    with pytest.raises(CheckpointError, match="lossless tables: expected 12 passes, found 4"):
        hostile.decompress(with_payload(small, payload, fingerprint=hostile.fingerprint))


def test_extreme_tables_are_exact_too(codec: DiffusionCodec) -> None:
    """Whatever passes the checks of the tables must round-trip: these predict nonsense with all their might."""
    lossless = _lossless(codec)

    def extreme(fit: ResidualFit) -> ResidualFit:
        passes = [
            PassFit(tuple((1 << 24) * (-1) ** k for k in range(len(each.prediction))), (1 << 24,) * len(each.spread))
            for each in fit.passes
        ]
        return ResidualFit(fit.log_snr, 64, tuple(passes), (0, 10**9), (1, 1 << 24, 1))

    shape = (0, 0, 0, 7, lossless.shape[-1])
    tables = LosslessTables(shape, tuple(map(extreme, lossless.colour)), tuple(map(extreme, lossless.grey)))
    odd = DiffusionCodec(codec.checkpoint.with_tables(dataclasses.replace(codec.tables, lossless=tables)))
    for picture in (SMALL, PICTURES["3x7-grey"]):
        stream = compress(odd, picture, may_store=False)
        assert payload_of(stream).stored is None
        with final_mean_moved("to-and-fro", GUARD / 3):
            assert_same_picture(odd.decompress(stream).picture, picture)


@pytest.mark.parametrize("grey", [False, True])
def test_every_level_has_the_fit_of_the_cleanest_level_that_is_not_cleaner(codec: DiffusionCodec, grey: bool) -> None:
    lossless, levels = _lossless(codec), codec.tables.lists[codec.tables.list_for(1)]
    coder = _coder(codec, is_grey=grey)
    fits = lossless.grey if grey else lossless.colour
    used = []
    for steps, level in enumerate(levels.levels, 1):
        found = coder._fit(steps)
        not_cleaner = [fit for fit in fits if fit.log_snr <= level.log_snr]
        assert found is (not_cleaner[-1] if not_cleaner else fits[0])
        used.append(fits.index(found))
    assert used == sorted(used)
    # Each start is the first level that has its fit, and no fit is left out.
    assert {used[start - 1] for start in coder.starts()} == set(range(len(fits)))
    assert all(start == 1 or used[start - 1] == 0 or used[start - 2] < used[start - 1] for start in coder.starts())


def test_a_picture_of_no_steps_in_a_batch_of_none(codec: DiffusionCodec) -> None:
    assert codec.compress_batch([], timestep=0) == []
