"""The codec as a whole: round trips, prefixes, the safety of what is parsed, damage."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcodec.bitstream.container import Container, read_container, write_container
from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import TrellisChannel
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.options import CompressOptions, DecompressOptions
from diffcodec.coding.report import Restoration
from diffcodec.coding.step_plan import StepPlan
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.targets import DEFAULT_TIMESTEP, Target
from diffcodec.diffusion import windows
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    ModelMismatchError,
    StreamError,
    TruncatedStreamError,
    WrongTypeError,
)
from diffcodec.images import Picture
from diffcodec.lossless.payload import LosslessPayload
from diffcodec.model.checkpoint import Checkpoint
from tests.coding.parsed import parsed_samples
from tests.conftest import (
    assert_same_picture,
    largest_difference,
    make_tiny_checkpoint,
    smooth_pixels,
    with_one_byte_changed,
)
from tests.counting import counting
from tests.other_machines import perturbed, threads


@pytest.mark.parametrize("channel", ["trellis", "poisson"])
@pytest.mark.parametrize("timestep", [1, 60, 400])
def test_decoder_restores_what_the_encoder_saw(
    codec: DiffusionCodec, picture: Picture, channel: str, timestep: int
) -> None:
    stream = codec.compress(picture, timestep=timestep, channel=channel)
    restored = codec.decompress(stream).picture
    rmse = np.sqrt(np.mean((restored.pixels.astype(float) - picture.pixels) ** 2))
    assert rmse == pytest.approx(stream.report.rmse)
    assert (restored.width, restored.height, restored.mode) == (10, 12, "RGB")


def test_without_options_a_picture_is_compressed_to_the_default_timestep(
    codec: DiffusionCodec, picture: Picture
) -> None:
    stream = codec.compress(picture)
    assert stream.report.timestep == DEFAULT_TIMESTEP == 32
    assert (
        stream.data
        == codec.compress(picture, timestep=DEFAULT_TIMESTEP).data
        == codec.compress_batch([picture])[0].data
    )
    assert codec.decompress(stream).timestep == pytest.approx(DEFAULT_TIMESTEP, abs=0.01)


def test_a_file_is_overwritten_unless_that_is_refused(codec: DiffusionCodec, picture: Picture, tmp_path: Path) -> None:
    stream, path = codec.compress(picture), tmp_path / "a.dfc"
    path.write_bytes(b"old")
    with pytest.raises(ConfigError, match="exists"):
        stream.save(path, overwrite=False)
    assert path.read_bytes() == b"old"
    stream.save(path)
    assert path.read_bytes() == stream.data == bytes(stream)


def test_finer_timesteps_cost_more_and_restore_better(codec: DiffusionCodec, picture: Picture) -> None:
    reports = [codec.compress(picture, timestep=t).report for t in (500, 200, 50, 5)]
    assert all(a.file_bytes < b.file_bytes and a.rmse > b.rmse for a, b in itertools.pairwise(reports))


def test_report_adds_up(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=20)
    report = stream.report
    payload_bytes = report.file_bytes - report.header_bytes
    assert report.file_bytes == len(stream.data)
    # The coder's own overhead: at most a byte and a bit; zeros at the end are left out, which may save a byte.
    assert -8 <= 8 * payload_bytes - (report.side_bits + report.path_bits) < 10
    assert report.bpp == pytest.approx(8 * report.file_bytes / 120)
    assert report.bpd == pytest.approx(report.bpp / 3)
    assert report.delivered_bits == pytest.approx(report.ideal_bits, rel=0.15)
    assert report.header_bytes <= 18


def test_payload_of_a_level_is_a_prefix_of_every_finer_file(codec: DiffusionCodec, picture: Picture) -> None:
    tables = codec.tables
    on_list = {level.log_snr for level in tables.lists[tables.list_for(1)].levels}
    level_timesteps = [t for t in range(1, 1001) if tables.level(t).log_snr in on_list]
    assert len(level_timesteps) >= 3
    finest = read_container(codec.compress(picture, timestep=1).data).payload
    for timestep in level_timesteps[1::2]:
        payload = read_container(codec.compress(picture, timestep=timestep).data).payload
        # The last bytes end the coder's interval; all before them are shared.
        assert finest.startswith(payload[:-2])


def test_coarser_version_from_one_file_equals_the_coarser_file(codec: DiffusionCodec, picture: Picture) -> None:
    on_list = {level.log_snr for level in codec.tables.lists[codec.tables.list_for(1)].levels}
    timestep = max(t for t in range(30, 300) if codec.tables.level(t).log_snr in on_list)
    fine, coarse = (codec.compress(picture, timestep=t) for t in (1, timestep))
    restored = codec.decompress(fine, timestep=timestep)
    assert np.array_equal(restored.pixels, codec.decompress(coarse).pixels)
    assert restored.timestep == pytest.approx(timestep, abs=0.01)


@pytest.mark.parametrize(
    ("timestep", "reached", "step"),
    # The list of the tiny model visits t = 800, 500, 300, 200, 100, 40, 20, 10, 4, 2, 1.
    [(1, 1, 11), (3, 4, 9), (4, 4, 9), (7, 10, 8), (33, 40, 6), (321, 500, 2), (799, 800, 1), (800, 800, 1)],
)
def test_a_timestep_between_two_levels_restores_the_noisier_one(
    codec: DiffusionCodec, picture: Picture, timestep: int, reached: int, step: int
) -> None:
    stream = codec.compress(picture, timestep=1)
    restored = codec.decompress(stream, timestep=timestep)
    assert restored.timestep == pytest.approx(reached, abs=0.01)
    assert (restored.step, restored.steps) == (step, 11)
    every = list(codec.progressive(stream))
    assert np.array_equal(restored.pixels, every[step - 1].pixels)
    assert restored.payload_bits == every[step - 1].payload_bits


def test_finer_timestep_than_the_file_is_refused(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=100)
    with pytest.raises(ConfigError, match="finer than the stream"):
        codec.decompress(stream, timestep=99)


def test_progressive_ends_with_what_decompress_returns(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=50)
    every = list(codec.progressive(stream))
    assert [restored.step for restored in every] == list(range(1, len(stream.report.steps) + 1))
    assert np.array_equal(every[-1].pixels, codec.decompress(stream).pixels)
    assert every[-1].payload_bits == pytest.approx(stream.report.side_bits + stream.report.path_bits)
    errors = [np.mean((restored.pixels.astype(float) - picture.pixels) ** 2) for restored in every]
    assert errors[-1] < errors[0]
    assert all(a.payload_bits < b.payload_bits for a, b in itertools.pairwise(every))


def test_perturbed_decoder_reads_every_symbol(
    codec: DiffusionCodec, tiny_checkpoint: Checkpoint, picture: Picture
) -> None:
    torch.manual_seed(1)
    decoder = perturbed(tiny_checkpoint)
    for timestep in (300, 30, 1):
        stream = codec.compress(picture, timestep=timestep)
        restored = decoder.decompress(stream)
        assert restored.payload_bits == pytest.approx(stream.report.side_bits + stream.report.path_bits)
        assert largest_difference(restored.pixels, codec.decompress(stream).pixels) <= 1


def test_threads_and_batches_change_nothing_that_is_parsed(codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(12, 10, seed)) for seed in range(3)]
    streams = codec.compress_batch(pictures, timestep=5)
    together, bits = parsed_samples(codec.model, [stream.data for stream in streams])
    assert bits == pytest.approx([stream.report.side_bits + stream.report.path_bits for stream in streams])
    for number, stream in enumerate(streams):
        alone, own_bits = parsed_samples(codec.model, [stream.data])
        with threads(2):
            threaded, threaded_bits = parsed_samples(codec.model, [stream.data])
        assert own_bits == threaded_bits == [bits[number]]
        for one, two, all_ in zip(alone, threaded, together, strict=True):
            np.testing.assert_allclose(one[0], all_[number], atol=1e-5)
            np.testing.assert_allclose(two, one, atol=1e-5)


def test_threads_change_no_more_than_a_grey_level(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=5)
    restored = codec.decompress(stream)
    with threads(2):
        threaded = codec.decompress(stream)
    assert largest_difference(threaded.pixels, restored.pixels) <= 1
    assert threaded.payload_bits == restored.payload_bits


def test_a_batch_is_compressed_as_well_as_each_picture_alone(codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(12, 10, seed)) for seed in range(3)]
    for one, stream in zip(pictures, codec.compress_batch(pictures, timestep=5), strict=True):
        alone = codec.compress(one, timestep=5)
        assert abs(alone.report.rmse - stream.report.rmse) < 0.5


@settings(max_examples=12)
@given(width=st.integers(1, 19), height=st.integers(1, 19), grey=st.booleans(), alpha=st.booleans())
def test_any_size_and_mode_comes_back(codec: DiffusionCodec, width: int, height: int, grey: bool, alpha: bool) -> None:
    pixels = smooth_pixels(height, width)
    plane = smooth_pixels(height, width, seed=5)[..., 0] if alpha else None
    original = Picture(pixels[..., 1] if grey else pixels, plane)
    restored = codec.decompress(codec.compress(original, timestep=10)).picture
    assert (restored.width, restored.height, restored.mode) == (width, height, original.mode)
    assert largest_difference(restored.pixels, original.pixels) < 60
    if plane is not None:
        assert restored.alpha is not None
        assert np.array_equal(restored.alpha, plane)


def test_padding_costs_no_path_bits(codec: DiffusionCodec) -> None:
    """A picture of 13 x 13 sits on a canvas of 16 x 16, half as large again."""
    small = codec.compress(Picture(smooth_pixels(13, 13), None), timestep=20).report
    large = codec.compress(Picture(smooth_pixels(16, 16), None), timestep=20).report
    assert small.path_bits / (13 * 13) < 1.15 * large.path_bits / (16 * 16)


def test_grey_costs_less_than_a_third_more_than_its_luminance(codec: DiffusionCodec) -> None:
    grey = smooth_pixels(16, 16)[..., 0]
    as_grey = codec.compress(Picture(grey, None), timestep=20).report
    as_rgb = codec.compress(Picture(np.repeat(grey[..., None], 3, axis=2), None), timestep=20).report
    assert as_grey.path_bits < 0.6 * as_rgb.path_bits


def test_seed_changes_the_noise_and_is_kept(codec: DiffusionCodec, picture: Picture) -> None:
    streams = [codec.compress(picture, timestep=200, seed=seed) for seed in (0, 7)]
    assert streams[0].data != streams[1].data
    assert streams[1].report.header_bytes == streams[0].report.header_bytes + 8
    restored = codec.decompress(streams[1])
    assert np.sqrt(np.mean((restored.pixels.astype(float) - picture.pixels) ** 2)) == pytest.approx(
        streams[1].report.rmse
    )


def test_large_pictures_go_through_windows(
    codec: DiffusionCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder may cut the canvas into other windows than the encoder, and sees the same picture."""
    original = Picture(smooth_pixels(40, 200), None)
    stream = codec.compress(original, timestep=100)
    whole = codec.decompress(stream)
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 1000)
    assert largest_difference(codec.decompress(stream).pixels, whole.pixels) <= 1


def test_a_picture_is_restored_only_to_measure_it(tiny_checkpoint: Checkpoint, picture: Picture) -> None:
    codec, network = counting(tiny_checkpoint)
    measured = codec.compress(picture, timestep=100)
    evaluations = len(network.batch_sizes())
    plain = codec.compress(picture, timestep=100, measure=False)
    assert len(network.batch_sizes()) == evaluations - 1
    assert plain.data == measured.data
    assert math.isnan(plain.report.psnr_db)
    assert math.isnan(plain.report.rmse)
    sized = codec.compress(picture, target=Target.bytes(len(plain.data)), measure=False)
    assert math.isnan(sized.report.psnr_db)
    assert codec.compress(picture, target=Target.psnr(20), measure=False).report.psnr_db >= 20


def test_every_cut_is_named_and_partial_restores_complete_steps(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=150)
    every = list(codec.progressive(stream))
    header = len(stream.data) - 4 - len(read_container(stream.data).payload)
    seen = set()
    for length in range(len(stream.data)):
        cut = stream.data[:length]
        with pytest.raises(TruncatedStreamError):
            codec.decompress(cut)
        if length < header:
            with pytest.raises(TruncatedStreamError):
                codec.decompress(cut, partial=True)
            continue
        restored = codec.decompress(cut, partial=True)
        assert not restored.verified
        seen.add(restored.step)
        if restored.step:
            assert np.array_equal(restored.pixels, every[restored.step - 1].pixels)
            assert restored.payload_bits == every[restored.step - 1].payload_bits <= 8 * (length - header) + 8
        *_, last = codec.progressive(cut, partial=True)
        assert_same_picture(last.picture, restored.picture)
        assert last.payload_bits == restored.payload_bits
        assert (last.step, last.timestep, last.verified) == (restored.step, restored.timestep, False)
    assert seen == set(range(len(stream.report.steps) + 1))


def test_every_flipped_byte_is_a_stream_error(codec: DiffusionCodec, picture: Picture) -> None:
    data = codec.compress(picture, timestep=300).data
    for damaged in with_one_byte_changed(data):
        with pytest.raises(StreamError):
            codec.decompress(damaged)


@settings(max_examples=60)
@given(st.binary(min_size=0, max_size=60), st.integers(1, 1000))
def test_garbage_with_a_right_checksum_is_a_stream_error_or_a_picture(
    codec: DiffusionCodec, payload: bytes, timestep: int
) -> None:
    header = read_container(codec.compress(Picture(smooth_pixels(4, 4), None), timestep=timestep).data).header
    data = write_container(Container(header, payload))
    try:
        restored = codec.decompress(data)
    except StreamError:
        return
    assert restored.pixels.shape == (4, 4, 3)


def test_damage_behind_a_right_checksum_is_named_with_the_file(codec: DiffusionCodec) -> None:
    """The payload decodes to a length off the grid, the alpha packet to nothing: the message says where."""
    pixels = smooth_pixels(4, 4)
    container = read_container(codec.compress(Picture(pixels, pixels[..., 0]), timestep=9).data)
    for damaged in (
        Container(container.header, b"\xff" * 40, container.alpha),
        Container(container.header, container.payload, b"\x09"),
    ):
        with pytest.raises(CorruptStreamError, match=r"holiday\.dfc is damaged"):
            codec.decompress(ParsedStream.parse(write_container(damaged), name="holiday.dfc"))


def test_a_network_that_returns_no_numbers_is_a_damaged_model(tiny_checkpoint: Checkpoint, picture: Picture) -> None:
    weights = {name: torch.full_like(value, 65504.0) for name, value in tiny_checkpoint.weights.items()}
    broken = DiffusionCodec(dataclasses.replace(tiny_checkpoint, weights=weights))
    with pytest.raises(CheckpointError, match="returned NaN"):
        broken.compress(picture, timestep=300)
    container = read_container(DiffusionCodec(tiny_checkpoint).compress(picture, timestep=300).data)
    header = dataclasses.replace(container.header, fingerprint=broken.fingerprint)
    with pytest.raises(CheckpointError, match="returned NaN"):
        broken.decompress(write_container(Container(header, container.payload)))


def test_noisiest_timesteps_hold_next_to_nothing_and_come_back(codec: DiffusionCodec, picture: Picture) -> None:
    for timestep in (999, 1000):
        stream = codec.compress(picture, timestep=timestep)
        assert len(stream.report.steps) == 1
        assert len(stream.data) <= stream.report.header_bytes + 2
        assert codec.decompress(stream).pixels.shape == picture.pixels.shape


def test_a_version_coarser_than_the_first_level_is_the_models_own(codec: DiffusionCodec, picture: Picture) -> None:
    for timestep in (801, 1000):
        restored = codec.decompress(codec.compress(picture, timestep=20), timestep=timestep)
        assert (restored.step, restored.timestep, restored.payload_bits) == (0, 1000, 0)


def test_numbers_of_numpy_are_integers_too(codec: DiffusionCodec, picture: Picture) -> None:
    plain = codec.compress(picture, timestep=300, effort=9, seed=3)
    assert codec.compress(picture, timestep=np.int64(300), effort=np.uint8(9), seed=np.int32(3)).data == plain.data  # type: ignore[arg-type]


def test_other_models_file_is_refused_with_both_fingerprints(
    codec: DiffusionCodec, tiny_checkpoint: Checkpoint, picture: Picture
) -> None:
    assert tiny_checkpoint.tables is not None
    other = DiffusionCodec(make_tiny_checkpoint(1).with_tables(tiny_checkpoint.tables))
    stream = other.compress(picture, timestep=300)
    with pytest.raises(ModelMismatchError) as caught:
        codec.decompress(stream)
    assert caught.value.needed == other.fingerprint.hex()
    assert codec.fingerprint.hex() in str(caught.value)


def test_too_many_pixels_are_refused_before_anything_is_allocated(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)
    with pytest.raises(ImageTooLargeError):
        codec.decompress(stream, max_pixels=119)
    header = read_container(stream.data).header
    huge = type(header)(**{**header.__dict__, "width": 1 << 20, "height": 1 << 20})
    with pytest.raises(ImageTooLargeError):
        codec.decompress(write_container(Container(huge, b"\0" * 9)))


def test_thin_pictures_count_as_what_the_network_needs_for_them(codec: DiffusionCodec) -> None:
    stream = codec.compress(Picture(smooth_pixels(1000, 1)), timestep=300)
    assert codec.decompress(stream, max_pixels=1000).picture.height == 1000
    thin = write_container(Container(replace(read_container(stream.data).header, height=10**6), b""))
    with pytest.raises(ImageTooLargeError, match=r"1 x 1000000 pixels is so thin that the network .* 4000000 pixels"):
        codec.decompress(thin, max_pixels=10**6)


@pytest.mark.parametrize("partial", [False, True])
def test_a_length_that_the_payload_is_too_short_for_is_refused(codec: DiffusionCodec, *, partial: bool) -> None:
    """Behind a payload there are zeros without end, and a step may say as much as a picture can hold."""
    picture = Picture(smooth_pixels(64, 64))
    stream = codec.compress(picture, timestep=300)
    plan = StepPlan(codec.tables, codec.tables.lists[0], codec.canvas_for(picture), seed=0)
    (batch,) = plan.batches(0, codec.tables.lists[0].levels[0])
    channel, coder, writer = TrellisChannel(), LengthCoder(codec.tables.length_weights), SymbolWriter()
    coder.encode(batch.max_length(channel), batch.expected_length(channel), writer, 0)
    forged = write_container(replace(read_container(stream.data), payload=writer.getvalue()))
    with pytest.raises(
        CorruptStreamError, match=r"the stream is damaged: its payload of \d+ bytes is too short for 97416 more bits"
    ):
        codec.decompress(forged, partial=partial)
    with pytest.raises(CorruptStreamError, match="too short for 97416 more bits"):
        codec.truncate(forged, 9)
    assert codec.decompress(forged[:-5], partial=True).step == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep": -1}, "timestep"),
        ({"timestep": 1001}, "timestep"),
        ({"timestep": 9, "effort": 7}, "effort"),
        ({"timestep": 9, "effort": 17}, "effort"),
        ({"timestep": 9, "channel": "pigeon"}, "channel"),
        ({"timestep": 9, "seed": -1}, "seed"),
        ({"timestep": 9, "seed": 2**64}, "seed"),
        ({"timestep": 9.0}, "timestep: expected an integer, found 9.0"),
        ({"timestep": "9"}, "timestep: expected an integer"),
        ({"timestep": 9, "effort": 12.0}, "effort: expected an integer"),
        ({"timestep": 9, "seed": 1.5}, "seed: expected an integer"),
        ({"target": 800}, r"target: expected a Target, such as Target\.bytes\(800\), found 800"),
        ({"timestep": 9, "steps": 0}, "steps: the model has lists of 11, 4 levels, found 0"),
        ({"psnr": 30}, r"psnr: there is no such argument: pass target=Target\.psnr\(DB\)"),
        ({"tiemstep": 9}, "tiemstep: there is no such argument: expected quality, timestep, target, channel, "),
        ({"timestep": 9, "progress": 5}, "progress: expected True, False or a function, found 5"),
    ],
)
def test_options_out_of_range_are_named(
    codec: DiffusionCodec, picture: Picture, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        codec.compress(picture, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "message"), [("a", "an integer, found 'a'"), (1.5, "an integer"), (0, "at least 1")])
def test_limits_of_pixels_are_checked(codec: DiffusionCodec, picture: Picture, value: Any, message: str) -> None:
    data = codec.compress(picture).data
    with pytest.raises(ConfigError, match=f"max_pixels: expected {message}"):
        codec.decompress(data, max_pixels=value)
    with pytest.raises(ConfigError, match=f"max_pixels: expected {message}"):
        ParsedStream.parse(data, max_pixels=value)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((-1, 3), "width: expected at least 1, found -1"),
        ((3, 0), "height: expected at least 1, found 0"),
        ((3, "4"), "height: expected an integer, found '4'"),
    ],
)
def test_sizes_that_no_picture_has_have_no_model(size: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionCodec.for_size(*size)


def test_other_things_are_no_pictures(codec: DiffusionCodec, picture: Picture) -> None:
    hint = ": read_picture reads files"
    for wrong, found in (("a.png", f"a str{hint}"), (Path("a.png"), f"a Path{hint}"), ([1], "a list"), (None, "None")):
        message = rf"^expected a Picture, .*, or a tensor \(3, H, W\) or \(1, H, W\), found {found}$"
        for error in (ConfigError, TypeError):
            with pytest.raises(error, match=message):
                codec.compress(wrong)  # type: ignore[arg-type]
            with pytest.raises(error, match=message):
                codec.compress_batch([picture, wrong])  # type: ignore[list-item]
    single = ": use compress for a single one"
    for batch, kind in (
        (picture, f"a Picture{single}"),
        (picture.pixels, f"an ndarray{single}"),
        (torch.zeros(3, 4, 4), f"a Tensor{single}"),
        (Image.new("L", (4, 4)), f"an Image{single}"),
        ("a.png", "a str"),
        (5, "an int"),
    ):
        with pytest.raises(WrongTypeError, match=f"^pictures: expected a list, found {kind}$"):
            codec.compress_batch(batch)  # type: ignore[arg-type]
    assert len(codec.compress_batch((picture, picture), timestep=500)) == 2


def test_models_of_neither_colour_nor_grey_pictures_are_refused() -> None:
    checkpoint = make_tiny_checkpoint()
    network = dataclasses.replace(checkpoint.config.network, image_channels=2)
    other = dataclasses.replace(checkpoint.config, network=network)
    with pytest.raises(CheckpointError, match=r"tiny-v0: expected a model with 3 .* or 1 .*, found 2"):
        DiffusionCodec(dataclasses.replace(checkpoint, config=other))


def test_batches_of_different_sizes_are_refused(codec: DiffusionCodec) -> None:
    with pytest.raises(ConfigError, match="one size"):
        codec.compress_batch([Picture(smooth_pixels(4, 4), None), Picture(smooth_pixels(4, 5), None)], timestep=9)
    assert codec.compress_batch([], timestep=9) == []


def test_times_of_network_and_coding_are_reported(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=100)
    every = list(codec.progressive(stream))
    for report in (stream.report, codec.decompress(stream), every[0]):
        assert report.network_s > 0
        assert report.coding_s > 0
    assert all(a.network_s < b.network_s and a.coding_s < b.coding_s for a, b in itertools.pairwise(every))


def test_the_device_is_that_of_the_network(tiny_checkpoint: Checkpoint) -> None:
    elsewhere = tiny_checkpoint.denoiser().to("meta")
    codec = DiffusionCodec(tiny_checkpoint, denoiser=elsewhere)
    assert codec.denoiser is elsewhere
    assert codec.device == torch.device("meta")
    assert DiffusionCodec(tiny_checkpoint).device == torch.device("cpu")
    assert DiffusionCodec(tiny_checkpoint, device=torch.device("cpu")).device == torch.device("cpu")


@pytest.mark.parametrize("device", ["meta", "warp", "cuda:99", torch.device("cuda:99")])
def test_devices_that_cannot_be_used_are_named(tiny_checkpoint: Checkpoint, device: str | torch.device) -> None:
    for load in (DiffusionCodec.from_pretrained, lambda device: DiffusionCodec(tiny_checkpoint, device=device)):
        with pytest.raises(ConfigError, match=f"^device '{device}' cannot be used .*: use the CPU$") as caught:
            load(device=device)
        assert caught.value.parameters == ("device",)


# ------------------------------------------------------------------------------------------- forms of a stream


def assert_same_restoration(found: Restoration, expected: Restoration) -> None:
    """Equal to the last bit, times apart."""
    assert_same_picture(found.picture, expected.picture)
    assert found.picture.metadata == expected.picture.metadata
    for name in ("step", "steps", "timestep", "payload_bits", "verified", "reconstruction", "problem"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    ("compress", "decompress"),
    [
        ({}, {}),
        ({"timestep": 0, "may_store": False}, {}),
        ({"timestep": 0}, {}),
        ({"timestep": 20}, {"timestep": 150}),
        ({"channel": "poisson", "seed": 3}, {"reconstruction": "flow"}),
    ],
)
def test_bitstreams_bytes_and_parsed_streams_restore_alike(
    codec: DiffusionCodec, picture: Picture, compress: CompressOptions, decompress: DecompressOptions
) -> None:
    stream = codec.compress(Picture(picture.pixels, picture.pixels[..., 0].copy()), **compress)
    expected = codec.decompress(stream, **decompress)
    forms = (stream, stream.data, ParsedStream.parse(stream.data), bytearray(stream.data), memoryview(stream.data))
    for form in forms:
        assert_same_restoration(codec.decompress(form, **decompress), expected)
        assert_same_restoration(codec.decompress_batch([form], **decompress)[0], expected)
        if "timestep" not in decompress:
            assert_same_restoration(list(codec.progressive(form, **decompress))[-1], expected)
        assert codec.truncate(form, len(stream.data)) == stream.data
    for found in codec.decompress_batch(forms, **decompress):
        assert largest_difference(found.pixels, expected.pixels) <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Path("a.dfc"), r"a Path: pass path\.read_bytes\(\)"),
        ("a.dfc", r"a str: pass Path\(name\)\.read_bytes\(\)"),
        (io.BytesIO(b"data"), r"a BytesIO: pass file\.read\(\)"),
        (5, "an int"),
        (None, "None"),
        ([1, 2], "a list"),
    ],
)
def test_other_things_are_no_streams(codec: DiffusionCodec, wrong: Any, message: str) -> None:
    for use in (
        codec.decompress,
        codec.progressive,
        DiffusionCodec.for_stream,
        ParsedStream.parse,
        lambda stream: codec.decompress_batch([stream]),
        lambda stream: codec.truncate(stream, 9),
    ):
        with pytest.raises(ConfigError, match=f"^expected the bytes of a .dfc file, found {message}$"):
            use(wrong)


def test_a_batch_is_more_than_a_stream(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture)
    data = stream.data
    for single in (stream, data, bytearray(data), memoryview(data), ParsedStream.parse(data)):
        with pytest.raises(ConfigError, match=r"^streams: expected a list, found .*: use decompress for a single one$"):
            codec.decompress_batch(single)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^streams: expected a list, found a Path$"):
        codec.decompress_batch(Path("a.dfc"))  # type: ignore[arg-type]


def test_cut_bytes_and_a_parsed_cut_stream_restore_alike(codec: DiffusionCodec, picture: Picture) -> None:
    data = codec.compress(picture).data
    cut = data[: len(data) * 2 // 3]
    parsed = ParsedStream.parse(cut, partial=True)
    expected = codec.decompress(cut, partial=True)
    assert 0 < expected.step < expected.steps
    # Whether a cut stream is accepted is decided when it is parsed.
    assert_same_restoration(codec.decompress(parsed), expected)
    assert_same_restoration(codec.decompress_batch([parsed])[0], expected)
    *_, last = codec.progressive(parsed)
    *_, last_of_bytes = codec.progressive(cut, partial=True)
    assert_same_restoration(last, last_of_bytes)
    assert_same_picture(last.picture, expected.picture)
    assert last.step == expected.step


def test_every_form_of_a_stream_names_its_model(picture: Picture) -> None:
    codec = DiffusionCodec.from_pretrained()
    stream = codec.compress(picture, timestep=500)
    for form in (stream, stream.data, ParsedStream.parse(stream.data)):
        assert DiffusionCodec.for_stream(form).fingerprint == codec.fingerprint


# -------------------------------------------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def assorted(codec: DiffusionCodec) -> list[bytes]:
    """Streams of all kinds, none beside its like: sizes, modes, timesteps, seeds, efforts; lossless and stored."""
    rgb = [Picture(smooth_pixels(8, 8, seed)) for seed in range(3)]
    grey = Picture(smooth_pixels(8, 8)[..., 0])
    veiled = Picture(smooth_pixels(8, 8), smooth_pixels(8, 8, 5)[..., 0])
    wide = Picture(smooth_pixels(6, 9))
    flat = [Picture(np.full((8, 8, 3), value, np.uint8)) for value in (50, 60)]
    # Coarse noise is best left early, and smooth pictures late.
    rough = [Picture(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)) for seed in range(2)]
    exact = [
        codec.compress(picture, timestep=0, may_store=False).data for picture in (rgb[0], rough[0], rgb[1], rough[1])
    ]
    once = [
        codec.compress(picture, **options).data
        for picture, options in (
            (wide, {"timestep": 30}),
            (grey, {"timestep": 30}),
            (rgb[0], {"timestep": 30, "seed": 9}),
            (rgb[0], {"timestep": 60}),
            (flat[0], {"timestep": 0}),
            (rgb[0], {"timestep": 30, "effort": 9}),
            (rgb[0], {"timestep": 30, "channel": "poisson"}),
            (rgb[0], {"timestep": 30, "steps": 4}),
            (veiled, {"timestep": 0}),
        )
    ]
    many = codec.compress_batch([*rgb, veiled], timestep=30)
    again = [codec.compress(flat[1], timestep=0).data, codec.compress(wide, timestep=30).data]
    mixed = itertools.zip_longest(once, [stream.data for stream in many] + exact + again)
    return [stream for pair in mixed for stream in pair if stream is not None]


def test_an_assorted_batch_equals_its_streams_one_by_one(codec: DiffusionCodec, assorted: list[bytes]) -> None:
    steps = {
        LosslessPayload.from_bytes(container.payload).steps
        for container in map(read_container, assorted)
        if container.header.timestep == 0
    }
    assert 0 in steps  # stored
    assert len(steps) > 2
    restored = codec.decompress_batch(assorted)
    for stream, together in zip(assorted, restored, strict=True):
        alone = codec.decompress(stream)
        assert together.picture.mode == alone.picture.mode
        assert together.pixels.shape == alone.pixels.shape
        exact = read_container(stream).header.timestep == 0
        assert largest_difference(together.pixels, alone.pixels) <= (0 if exact else 1)
        if alone.picture.alpha is not None:
            assert together.picture.alpha is not None
            assert np.array_equal(together.picture.alpha, alone.picture.alpha)
        for figure in ("step", "steps", "timestep", "payload_bits", "verified", "reconstruction"):
            assert getattr(together, figure) == getattr(alone, figure)


def test_an_empty_batch_restores_nothing(codec: DiffusionCodec) -> None:
    assert codec.decompress_batch([]) == []


def test_the_network_runs_once_for_all_streams_of_a_kind(tiny_checkpoint: Checkpoint) -> None:
    codec, network = counting(tiny_checkpoint)
    streams = codec.compress_batch([Picture(smooth_pixels(8, 8, seed)) for seed in range(3)], timestep=30)
    network.batch_sizes()
    codec.decompress_batch(streams)
    together = network.batch_sizes()
    assert set(together) == {3}
    codec.decompress(streams[0])
    assert network.batch_sizes() == [1] * len(together)


def test_a_batch_restores_coarser_versions(codec: DiffusionCodec) -> None:
    streams = [codec.compress(Picture(smooth_pixels(8, 8, seed)), timestep=t) for seed, t in enumerate((20, 5, 20))]
    for together, stream in zip(codec.decompress_batch(streams, timestep=150), streams, strict=True):
        alone = codec.decompress(stream, timestep=150)
        assert (together.step, together.timestep) == (alone.step, alone.timestep)
        assert largest_difference(together.pixels, alone.pixels) <= 1
    with pytest.raises(ConfigError, match="timestep 10 is finer than stream 1 of 3, which ends at 20"):
        codec.decompress_batch(streams, timestep=10)


NAMES = ("a.dfc", "b.dfc", "c.dfc")


@pytest.mark.parametrize("timestep", [30, 0])
def test_a_damaged_stream_of_a_batch_is_named(codec: DiffusionCodec, timestep: int) -> None:
    pictures = [Picture(smooth_pixels(8, 8, seed), smooth_pixels(8, 8)[..., 0]) for seed in range(3)]
    streams = [stream.data for stream in codec.compress_batch(pictures, timestep=timestep)]
    whole = read_container(streams[1])
    flipped = bytearray(streams[1])
    flipped[-9] ^= 3
    for damaged, message in (
        (bytes(flipped), "b.dfc is damaged: its checksum"),
        (streams[1][:-3], "b.dfc is cut"),
        (write_container(Container(whole.header, b"\xff" * 40, whole.alpha)), "b.dfc is damaged"),
        (write_container(Container(whole.header, whole.payload, b"\x09")), "b.dfc is damaged"),
    ):
        batch = [streams[0], damaged, streams[2]]
        with pytest.raises(StreamError) as caught:
            codec.decompress_batch(
                [ParsedStream.parse(data, name=name) for data, name in zip(batch, NAMES, strict=True)]
            )
        assert str(caught.value).startswith(message)
        with pytest.raises(StreamError, match=r"^stream 2 of 3 is "):
            codec.decompress_batch(batch)


def test_unknown_arguments_are_type_errors_as_in_python(codec: DiffusionCodec, picture: Picture) -> None:
    with pytest.raises(TypeError, match="decoder: there is no such argument: pass reconstruction"):
        codec.decompress(codec.compress(picture), decoder="flow")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="progress: expected True, False or a function, found 5"):
        codec.decompress(codec.compress(picture), progress=5)  # type: ignore[arg-type]
