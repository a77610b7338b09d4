"""The programs printed in docs/format.md read what the package writes: messages, whole files, models."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from PIL import Image

from diffcodec.bitstream.container import Container, read_container, write_container
from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.channel import Channel, ChannelId, Groups, StreamKey, make_channel
from diffcodec.channel.base import MAX_WEIGHT
from diffcodec.channel.layout import lanes_of
from diffcodec.channel.poisson import zipf_weights
from diffcodec.channel.randomness import shared_order
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.canvas import GREY, RGB, Canvas
from diffcodec.coding.signals import ColourPictures
from diffcodec.coding.step_plan import TileMessages
from diffcodec.coding.step_prior import BandVariances
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.tiling import Tiling, by_shape
from diffcodec.config import ModelConfig, PlainUNetConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.images import Picture
from diffcodec.lossless.coder import LosslessCoder
from diffcodec.lossless.context import LATTICES, passes_for
from diffcodec.lossless.payload import LosslessPayload
from diffcodec.lossless.residuals import ResidualModel, shares_of_values
from diffcodec.lossless.rounding import round_alike, round_values
from diffcodec.lossless.stored import StoredKind
from diffcodec.lossless.tables import ResidualFit
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.levels import LOG_SNR_SCALE, MSE_SCALE, Level, LevelList
from diffcodec.model.locations import bundled_models
from diffcodec.model.tables import INFORMATION_FROM, INFORMATION_TO, OCTAVE_STEPS, Variances
from tests.bitstream.containers import HEADER, containers
from tests.coding.parsed import parsed_samples
from tests.conftest import make_tiny_checkpoint, smooth_pixels

DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """All names that the document's programs define, run in the order in which they are printed."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile("\n\n".join(blocks), str(DOCUMENT), "exec"), names)
    return names


@pytest.fixture(scope="module")
def equal_codec(tiny_checkpoint: Checkpoint) -> DiffusionCodec:
    """The tiny model as it was before there were variances by band: lists with an error for each step."""
    tables = tiny_checkpoint.tables
    assert tables is not None
    assert tables.variances is not None

    def mse(level: Level | None) -> int:
        assert tables is not None
        assert tables.variances is not None
        return round(MSE_SCALE * float(np.mean(2.0 ** (np.array(tables.variances.at(level)) / OCTAVE_STEPS))))

    lists = tuple(
        LevelList(each.max_pixels, each.levels, tuple(mse(each.start_of(step)) for step in range(len(each.levels))))
        for each in tables.lists
    )
    return DiffusionCodec(tiny_checkpoint.with_tables(replace(tables, lists=lists, variances=None, default_steps=0)))


@pytest.fixture(params=["variances", "equal"])
def either_codec(request: pytest.FixtureRequest, codec: DiffusionCodec, equal_codec: DiffusionCodec) -> DiffusionCodec:
    return codec if request.param == "variances" else equal_codec


def message(channel: ChannelId, length: int, chosen: NDArray[np.int64]) -> bytes:
    """A payload that holds one message."""
    writer = SymbolWriter()
    if channel is ChannelId.TRELLIS:
        writer.write_bits((chosen % 2).astype(np.uint8))
    else:
        writer.write_symbols(chosen, zipf_weights())
    return writer.getvalue()


def decoded(
    channel: Channel, dims: int, length: int, seed: int, step: int, payload: bytes, groups: Groups | None = None
) -> NDArray[np.float32]:
    sample: NDArray[np.float32] = channel.decode(
        dims, groups, [length], [StreamKey(seed, step)], [SymbolReader(payload)]
    )[0]
    return sample


def printed_groups(groups: Groups) -> dict[str, NDArray[Any]]:
    """Groups of one image as the document's programs want them."""
    return {"of": groups.of, "std": groups.each_std[0], "weights": groups.weights[0][groups.of]}


TRELLIS_CASES = [
    # dims, length, effort, seed, step
    (3072, 0, 12, 0, 0),  # no message
    (1, 0, 8, 3, 1),
    (3072, 1, 12, 0, 0),  # fewer bits than a state: 2^B candidates
    (3072, 2, 8, 0, 1),
    (3072, 7, 12, 2**64 - 1, 2),
    (100_000, 9, 16, 1, 0),  # blocks wider than the table
    (40, 16, 12, 0, 3),  # a state and nothing else
    (40, 17, 12, 0, 3),  # L is raised to 16, and every tail that is shorter than four
    (40, 18, 12, 0, 3),
    (40, 19, 12, 0, 3),
    (40, 20, 12, 0, 3),
    (40, 21, 12, 0, 3),
    (3072, 22, 8, 0, 3),  # a raised state
    (3072, 40, 12, 5, 6),
    (3072, 150, 12, 0, 47),
    (3072, 640, 12, 7, 4095),
    (3072, 2048, 10, 0, 0),  # the longest single lane
    (3072, 2049, 9, 0, 0),  # two lanes
    (3072, 9001, 8, 11, 5),  # five lanes, more bits than dims
    (70_000, 300, 9, 0, 9),
    (3, 40, 8, 5, 6),  # many positions without dims
    (1, 72, 8, 0, 0),  # the longest message of one number
    (2, 80, 13, 1, 1),
    (1, 21, 16, 0, 2),  # no ordinary position has a dim
    (257, 2050, 8, 1, 1),  # the most bits a number that have two lanes
    (6400, 200, 8, 3, 4),  # just wide: split labels
    (6399, 200, 8, 3, 4),
    (20_000, 9, 8, 2, 1),  # wide, with too few bits to be split
    (20_000, 10, 8, 2, 1),
    (30_000, 30, 16, 9, 9),
    (150_000, 2500, 9, 1, 5),  # two wide lanes, pieces within positions
]


@pytest.mark.parametrize(("dims", "length", "effort", "seed", "step"), TRELLIS_CASES)
def test_printed_trellis_reader(
    printed: dict[str, Any], dims: int, length: int, effort: int, seed: int, step: int
) -> None:
    chosen = np.random.default_rng(length).integers(0, 2, length)
    payload = message(ChannelId.TRELLIS, length, chosen)
    expected = decoded(make_channel(ChannelId.TRELLIS, effort), dims, length, seed, step, payload)
    if length:
        bits = printed["read_bits"](printed["RangeDecoder"](payload), length)
        assert bits == chosen.tolist()
        sample = printed["trellis_sample"](bits, dims, effort, (seed, step))
    else:
        sample = printed["normals"]((seed, step), dims)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_trellis_cases_cover_the_layout() -> None:
    """Lanes, cut blocks, empty blocks and raised states all occur above."""
    lanes = [
        (lane, effort)
        for dims, length, effort, _, _ in TRELLIS_CASES
        if length
        for lane in lanes_of(length, dims, effort, None)
    ]
    assert any(lane.start > 0 for lane, _ in lanes)
    assert any(len(lane.pieces.extra) and lane.pieces.position[lane.pieces.extra].max() > 0 for lane, _ in lanes)
    assert any(len(lane.pieces.extra) and lane.pieces.slabs > 1 for lane, _ in lanes)
    assert any((np.diff(lane.borders) == 0).any() for lane, _ in lanes)
    assert any(len(lane.borders) > 6 and np.diff(lane.borders)[1:-4].max() == 0 for lane, _ in lanes)
    assert any(lane.memory > effort for lane, effort in lanes)
    assert {lane.memory for lane, _ in lanes} >= {1, 2, 8, 16}
    assert {min(lane.positions, 7) for lane, _ in lanes} == set(range(1, 8))
    assert {lane.memory for lane, _ in lanes if lane.split} >= {10, 11, 16}
    assert any(lane.split and len(lane.pieces.extra) > lane.pieces.first[1] for lane, _ in lanes)


@pytest.mark.parametrize(
    ("dims", "length", "seed", "step"),
    [
        (3072, 0, 0, 0),
        (3072, 1, 0, 0),
        (3072, 10, 2**64 - 1, 3),
        (70_000, 4, 5, 6),  # the affine order
        (3, 5, 1, 2),  # empty chunks
        (1, 4, 1, 2),
        (300, 48, 0, 40),  # chunks narrower than the table
    ],
)
def test_printed_poisson_reader(printed: dict[str, Any], dims: int, length: int, seed: int, step: int) -> None:
    count = len({dims * (k + 1) // length for k in range(length)} - {0}) if length else 0
    chosen = np.random.default_rng(length).integers(0, 65536, count)
    payload = message(ChannelId.POISSON, length, chosen)
    expected = decoded(make_channel(ChannelId.POISSON), dims, length, seed, step, payload)
    if length:
        indices = printed["read_indices"](printed["RangeDecoder"](payload), length, dims, (seed, step))
        assert indices == chosen.tolist()
        sample = printed["poisson_sample"](indices, length, dims, (seed, step))
    else:
        sample = printed["normals"]((seed, step), dims)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


GROUP_CASES = [
    # dims, groups, largest weight
    (3072, 1, 1),
    (3072, 40, 1 << 20),
    (3072, 3000, 1 << 10),  # most of a single coefficient
    (70_000, 90, 1 << 16),  # the affine order
    (40, 3, MAX_WEIGHT - 1),
    (6, 6, MAX_WEIGHT - 1),  # lanes without dims
    (1, 1, 5),
]


def some_groups(dims: int, count: int, largest: int) -> Groups:
    """Groups of one image, not all of them used, with weights of very different sizes."""
    rng = np.random.default_rng(dims + count)
    weights = np.rint(largest ** rng.uniform(0, 1, (1, count))).astype(np.int64)
    return Groups(rng.integers(0, count, dims), rng.uniform(0.02, 1.0, (1, count)), weights)


@pytest.mark.parametrize(("dims", "count", "largest"), GROUP_CASES)
@pytest.mark.parametrize(("length", "effort"), [(1, 8), (9, 12), (17, 12), (22, 9), (300, 10), (9001, 8)])
def test_printed_trellis_reader_of_groups(
    printed: dict[str, Any], dims: int, count: int, largest: int, length: int, effort: int
) -> None:
    groups = some_groups(dims, count, largest)
    chosen = np.random.default_rng(length).integers(0, 2, length)
    payload = message(ChannelId.TRELLIS, length, chosen)
    expected = decoded(make_channel(ChannelId.TRELLIS, effort), dims, length, 3, 4, payload, groups)
    sample = printed["trellis_sample"](chosen.tolist(), dims, effort, (3, 4), printed_groups(groups))
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_group_cases_cover_the_layout() -> None:
    """Lanes without dims, and positions without, and blocks that are cut, occur above."""
    lanes = []
    for case in GROUP_CASES:
        groups = some_groups(*case)
        order = shared_order(StreamKey(3, 4), case[0])
        lanes += lanes_of(9001, case[0], 8, groups.weights[0][groups.of[order]])
    assert any(lane.start == lane.stop for lane in lanes)
    assert any(lane.start < lane.stop and (np.diff(lane.borders) == 0).any() for lane in lanes)
    assert any(len(lane.pieces.extra) for lane in lanes)


@pytest.mark.parametrize(("dims", "count", "largest"), GROUP_CASES)
@pytest.mark.parametrize("length", [1, 3, 50])
def test_printed_poisson_reader_of_groups(
    printed: dict[str, Any], dims: int, count: int, largest: int, length: int
) -> None:
    groups = some_groups(dims, count, largest)
    chosen = np.random.default_rng(length).integers(0, 65536, length)
    reader = RangeReads(message(ChannelId.POISSON, length, chosen))
    expected = make_channel(ChannelId.POISSON).decode(dims, groups, [length], [StreamKey(3, 4)], [reader])[0]
    of = printed_groups(groups)
    decoder = printed["RangeDecoder"](reader.payload)
    indices = printed["read_indices"](decoder, length, dims, (3, 4), of)
    assert indices == chosen[: reader.symbols].tolist()
    sample = printed["poisson_sample"](indices, length, dims, (3, 4), of)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


class RangeReads(SymbolReader):
    """Counts the symbols that are read."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.payload, self.symbols = payload, 0

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        self.symbols += count
        return super().read_symbols(count, weights)


def test_printed_weights_of_indices(printed: dict[str, Any]) -> None:
    assert printed["zipf_weights"]() == zipf_weights().tolist()


@pytest.mark.parametrize(
    ("channel", "grey", "height", "width", "timestep", "seed", "alpha"),
    [
        ("trellis", False, 12, 10, 1, 0, False),
        ("trellis", False, 13, 11, 77, 2**64 - 1, True),
        ("trellis", True, 13, 11, 20, 5, False),
        ("trellis", False, 8, 8, 990, 0, False),
        ("trellis", False, 67, 34, 300, 1, False),  # three blocks by two, of unequal lengths
        ("trellis", True, 1, 97, 1, 0, False),
        ("poisson", False, 12, 10, 30, 0, False),
        ("poisson", True, 5, 3, 2, 9, True),
        ("poisson", False, 33, 65, 300, 0, False),
        ("poisson", True, 70, 3, 40, 0, False),
    ],
)
def test_printed_reader_of_files(
    printed: dict[str, Any],
    either_codec: DiffusionCodec,
    channel: str,
    grey: bool,
    height: int,
    width: int,
    timestep: int,
    seed: int,
    alpha: bool,
) -> None:
    pixels = smooth_pixels(height, width)
    picture = Picture(pixels[..., 1] if grey else pixels, pixels[..., 0].copy() if alpha else None)
    data = either_codec.compress(picture, timestep=timestep, channel=channel, effort=9, seed=seed).data
    expected, _ = parsed_samples(either_codec.model, [data])
    restored = either_codec.decompress(data)

    model = printed["read_model"](either_codec.checkpoint.to_bytes())
    file = printed["open_payload"](printed["read_container"](data))
    samples = list(printed["read_samples"](file, model["tables"], printed["RangeDecoder"](file["body"])))
    stops = ParsedStream.parse(data).stops(either_codec.tables)
    assert len(samples) == len(expected) > 0
    for (level, sample), stop, expected_sample in zip(samples, stops, expected, strict=True):
        assert level == stop.log_snr / LOG_SNR_SCALE
        np.testing.assert_allclose(sample, expected_sample[0], rtol=1e-4, atol=1e-4)

    decoded_pixels = read_by_document(printed, data, model, either_codec)
    assert decoded_pixels.shape == restored.pixels.shape
    assert np.abs(decoded_pixels - restored.pixels.astype(int)).max() <= 1


def test_printed_reader_of_models_without_a_start(printed: dict[str, Any], either_codec: DiffusionCodec) -> None:
    """There the network is asked about pure noise."""
    checkpoint = either_codec.checkpoint.with_tables(replace(either_codec.tables, start=None, lossless=None))
    codec = DiffusionCodec(checkpoint)
    for pixels in (smooth_pixels(7, 6), smooth_pixels(7, 6)[..., 1].copy()):
        data = codec.compress(Picture(pixels), timestep=300, effort=8).data
        model = printed["read_model"](checkpoint.to_bytes())
        found, restored = read_by_document(printed, data, model, codec), codec.decompress(data).pixels
        assert np.abs(found - restored.astype(int)).max() <= 1


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "seed", "channel", "alpha", "start"),
    [
        (12, 10, 0, "trellis", False, None),  # from where the encoder likes
        (9, 11, 2**64 - 1, "trellis", True, 0),  # from the noisiest level
        (9, 7, 5, "poisson", False, -1),  # from the cleanest
        (1, 5, 0, "trellis", False, 1),  # passes without pixels
        (35, 7, 0, "trellis", False, 0),  # several blocks
    ],
)
def test_printed_reader_of_lossless_files(
    printed: dict[str, Any],
    either_codec: DiffusionCodec,
    monkeypatch: pytest.MonkeyPatch,
    grey: bool,
    height: int,
    width: int,
    seed: int,
    channel: str,
    alpha: bool,
    start: int | None,
) -> None:
    pixels = smooth_pixels(height, width)
    pixels[0, 0] = 0, 255, 0  # what no estimate expects
    picture = Picture(
        np.ascontiguousarray(pixels[..., 1]) if grey else pixels, pixels[..., 0].copy() if alpha else None
    )
    if start is not None:
        starts = LosslessCoder.starts
        monkeypatch.setattr(LosslessCoder, "starts", lambda self: {sorted(starts(self))[start]})
    # The tiny model is no match for WebP.
    data = either_codec.compress(picture, timestep=0, channel=channel, effort=9, seed=seed, may_store=False).data
    assert LosslessPayload.from_bytes(read_container(data).payload).stored is None
    model = printed["read_model"](either_codec.checkpoint.to_bytes())
    np.testing.assert_array_equal(read_by_document(printed, data, model, either_codec), picture.pixels)


def test_printed_reader_knows_the_estimate_far_better_than_the_guard(
    printed: dict[str, Any], codec: DiffusionCodec, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = codec.compress(Picture(smooth_pixels(12, 10)), timestep=0, effort=9, may_store=False).data
    seen: list[NDArray[np.float64]] = []
    grey_levels = ColourPictures.grey_levels

    def spy(self: ColourPictures, x_0: torch.Tensor, canvas: Canvas) -> NDArray[np.float64]:
        seen.append(grey_levels(self, x_0, canvas))
        return seen[-1].copy()

    monkeypatch.setattr(ColourPictures, "grey_levels", spy)
    codec.decompress(data)
    model = printed["read_model"](tiny_checkpoint.to_bytes())
    file = printed["open_payload"](printed["read_container"](data))
    found = printed["last_estimate"](file, model, raw_network(codec.denoiser), printed["RangeDecoder"](file["body"]))
    (expected,) = seen
    assert np.abs(found - expected).max() < 1 / 128 / 10


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize(
    ("shape", "kind"), [((9, 11), StoredKind.WEBP), ((1, 16384), StoredKind.PNG), ((3, 4), StoredKind.WEBP)]
)
def test_printed_reader_of_stored_pictures(
    printed: dict[str, Any],
    codec: DiffusionCodec,
    tiny_checkpoint: Checkpoint,
    mode: str,
    shape: tuple[int, int],
    kind: StoredKind,
) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[:, 2:, 1] = 77
    alpha = np.full(shape, 255, np.uint8)
    alpha[0, 0] = 254 if shape[0] == 9 else 255  # or opaque, of which WebP takes no note
    picture = Picture(pixels[..., 1].copy() if mode.startswith("L") else pixels, alpha if "A" in mode else None)
    data = codec.compress(picture, timestep=0, effort=8).data
    container = read_container(data)
    assert LosslessPayload.from_bytes(container.payload).stored is kind
    assert container.alpha == (b"" if "A" in mode else None)
    model = printed["read_model"](tiny_checkpoint.to_bytes())
    np.testing.assert_array_equal(read_by_document(printed, data, model, codec), picture.pixels)
    file = printed["open_payload"](printed["read_container"](data))
    planes = read_image(printed["stored_file"](file["stored"], file["body"]))
    if planes.shape[-1] in (2, 4):
        assert "A" in mode
        np.testing.assert_array_equal(planes[..., -1], alpha)
    else:
        assert "A" not in mode or (alpha == 255).all()


@pytest.mark.parametrize("spacing", [4, 16, 32, 64, 512, 2**15])
def test_printed_rounding(printed: dict[str, Any], spacing: int) -> None:
    """Differences below the guard change nothing; blocks for which no pattern is clear occur, too."""
    rng = np.random.default_rng(spacing)
    values = np.concatenate([rng.uniform(0, 32640, 300), np.zeros(40), np.full(45, 32640.0)])
    out = SymbolWriter()
    expected = round_values(values, spacing, out)
    out.write_symbols(np.array([5]), np.arange(1, 10))
    off = values + rng.uniform(-0.999, 0.999, values.shape)
    decoder = printed["RangeDecoder"](out.getvalue())
    assert printed["round_alike"](off.tolist(), spacing, decoder) == expected.tolist()
    assert decoder.decode(printed["categorical"](list(range(1, 10)))) == 5
    assert round_alike(off, spacing, SymbolReader(out.getvalue())).tolist() == expected.tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_printed_passes(printed: dict[str, Any], channels: int) -> None:
    found = [(channel, lattice, tuple(near)) for channel, lattice, near in printed["neighbours_of_passes"](channels)]
    assert found == [(step.channel, LATTICES[step.lattice], step.neighbours) for step in passes_for(channels)]


def test_printed_distribution_of_pixels(printed: dict[str, Any], codec: DiffusionCodec) -> None:
    assert codec.tables.lossless is not None
    shape = codec.tables.lossless.shape
    for heights in (shape, (0, shape[-1] // 3, shape[-1] // 2, shape[-1])):  # of an even number of entries, too
        for centre in (-(2**30), -5000, -1, 0, 64, 12_345, 32_640, 40_000, 2**30):
            for scale in (1, 300, 4096, 65_536, 1 << 24):
                shares = shares_of_values(np.array(heights), np.array([centre]), np.array([scale]))[0]
                found = printed["pixel_frequencies"](heights, centre, scale)
                assert found == (shares + 1).tolist()
                assert sum(found) == 2**24


@pytest.mark.parametrize("channels", [1, 3])
def test_printed_reader_of_pixels_from_bad_estimates(
    printed: dict[str, Any], codec: DiffusionCodec, channels: int
) -> None:
    """Some pixels as their means have it, the rest at random."""
    assert codec.tables.lossless is not None
    shape = codec.tables.lossless.shape
    fit: ResidualFit = (codec.tables.lossless.grey if channels == 1 else codec.tables.lossless.colour)[0]
    rng = np.random.default_rng(channels)
    means = rng.integers(-100, 32_800, (channels, 7, 6))
    pixels = rng.integers(0, 256, means.shape).astype(np.uint8)
    pixels[:, :2] = np.clip(means[:, :2] // 128, 0, 255)
    out = SymbolWriter()
    ResidualModel(shape, fit).encode(pixels, means, out)
    found = printed["read_pixels"](means, fit.to_dict(), shape, printed["RangeDecoder"](out.getvalue()))
    np.testing.assert_array_equal(found, pixels)


def test_printed_reader_of_lossless_files_checks_the_pixels(
    printed: dict[str, Any], codec: DiffusionCodec, tiny_checkpoint: Checkpoint
) -> None:
    picture = Picture(smooth_pixels(6, 6)[..., 0].copy())
    data = codec.compress(picture, timestep=0, effort=8, may_store=False).data
    model = printed["read_model"](tiny_checkpoint.to_bytes())
    network = raw_network(codec.denoiser)
    with pytest.raises(ValueError, match="too differently"):
        printed["decode_picture"](data, model, lambda x, condition: network(x, condition) + 0.05, read_image)


FILES_FOR_STEPS = ((1, 0, 0), (40, 1, 0), (20, 0, 1), (1000, 0, 0))
"""Timestep, colour mode, channel."""


def test_printed_steps_without_variances(printed: dict[str, Any], equal_codec: DiffusionCodec) -> None:
    tables = printed["read_model"](equal_codec.checkpoint.to_bytes())["tables"]
    for index, levels in enumerate(equal_codec.tables.lists):
        for timestep, colour, channel in FILES_FOR_STEPS:
            end, unit = equal_codec.tables.level(timestep), make_channel(ChannelId(channel)).bits_per_length
            file = {"list": index, "t": timestep, "colour": colour, "channel": channel, "width": 4001, "height": 2999}
            dims, whole = 4001 * 2999 * (1 if colour else 3), (0, 0, 0, 2999, 4001)
            assert list(printed["steps_of"](file, tables)) == [
                (stop.log_snr, [(whole, levels.expected_bits(step, end=stop, dims=dims) * 9 // 8 // unit, None)])
                for step, stop in enumerate(levels.steps_to(end))
            ]


@pytest.mark.parametrize(("height", "width", "raised"), [(1, 1, 0), (70, 41, 0), (5, 3, 260), (5, 3, -250)])
def test_printed_priors(printed: dict[str, Any], codec: DiffusionCodec, height: int, width: int, raised: int) -> None:
    """Expected lengths, and what any length makes of the coefficients; also beyond the table of information."""
    assert codec.tables.variances is not None
    octaves = tuple(tuple(value + raised for value in row) for row in codec.tables.variances.octaves)
    variances = replace(codec.tables.variances, octaves=octaves, unsent_share=26 * (height > 50))
    tables = replace(codec.tables, variances=variances).to_dict()
    for index, levels in enumerate(codec.tables.lists):
        for timestep, colour, channel_id in FILES_FOR_STEPS:
            channel = make_channel(ChannelId(channel_id))
            file = {"list": index, "t": timestep, "colour": colour, "channel": channel_id}
            steps = printed["steps_of"](file | {"width": width, "height": height}, tables)
            stops = levels.steps_to(codec.tables.level(timestep))
            before, whole = 0.0, Tiling(width, height, 0).tiles(0)
            for step, (stop, found) in enumerate(zip(stops, steps, strict=True)):
                snr = math.exp(stop.log_snr / LOG_SNR_SCALE)
                transform = (GREY if colour else RGB).transform(width, height)
                prior = BandVariances(transform, variances, levels, step, stop, snr - before)
                before = snr
                log_snr, ((_, expected, printed_prior),) = found
                batch = TileMessages(whole, prior, [], transform.channels)
                assert (log_snr, expected) == (stop.log_snr, batch.expected_length(channel))
                for length in (0, 1, 2, 3, expected // 256, 50, 1 << 20):
                    groups = prior.groups([channel.information_in(length)])
                    own = printed_prior.groups(channel_id, length)
                    np.testing.assert_array_equal(own["weights"], groups.weights[0][groups.of])
                    # The numbers of the groups differ, not what is in them.
                    assert len(set(zip(own["of"].tolist(), groups.of.tolist(), strict=True))) == len(set(own["of"]))
                    assert len(set(own["of"])) == len(np.unique(groups.of))
                    np.testing.assert_allclose(own["std"], groups.std[0][groups.of], rtol=1e-9)


def test_printed_octaves(printed: dict[str, Any]) -> None:
    """Before, between, at and after the places where variances were measured; also of a single place."""
    rng = np.random.default_rng(0)
    for places in ((-7,), (-70_000, -3, 0, 99_991)):
        rows = tuple(tuple(rng.integers(-300, 300, RGB.bands).tolist()) for _ in range(len(places) + 1))
        information = tuple(range(1, INFORMATION_TO - INFORMATION_FROM + 2))
        variances = Variances(places, rows[1:], rows[0], information)
        assert tuple(printed["octaves_at"](variances.to_dict(), -math.inf)) == variances.at(None)
        for log_snr in (-(10**6), -70_000, -69_999, -30_003, -7, -4, -3, -2, -1, 0, 1, 50_000, 99_990, 99_991, 10**6):
            found = printed["octaves_at"](variances.to_dict(), log_snr)
            assert tuple(found) == variances.at(Level(log_snr, 1))


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (3, 1, 1), (1, 33, 65), (3, 97, 5), (1, 2, 64)])
def test_printed_transform(printed: dict[str, Any], channels: int, height: int, width: int) -> None:
    transform = (GREY if channels == 1 else RGB).transform(width, height)
    assert printed["band_of_coefficients"](channels, height, width) == transform.band.tolist()
    y = np.random.default_rng(0).standard_normal((1, channels * height * width)).astype(np.float32)
    found = printed["transformed_back"](y[0], (channels, height, width))
    np.testing.assert_allclose(found, transform.inverse(y)[0], atol=1e-5)


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_printed_reader_of_bundled_models(printed: dict[str, Any], name: str) -> None:
    codec = DiffusionCodec.from_pretrained(name)
    data = codec.compress(Picture(smooth_pixels(9, 14)), timestep=150, effort=8).data
    model = printed["read_model"](codec.checkpoint.to_bytes())
    assert model["fingerprint"] == codec.fingerprint
    found, restored = read_by_document(printed, data, model, codec), codec.decompress(data).pixels
    assert np.abs(found - restored.astype(int)).max() <= 1


def test_printed_reader_of_the_container(printed: dict[str, Any], codec: DiffusionCodec, picture: Picture) -> None:
    transparent = Picture(picture.pixels, picture.pixels[..., 0].copy())
    for one, seed in ((picture, 0), (transparent, 0), (picture, 2**63), (transparent, 1)):
        data = codec.compress(one, timestep=300, effort=13, seed=seed).data
        container = read_container(data)
        header = container.header
        assert printed["read_container"](data) == {
            "fingerprint": header.fingerprint,
            "colour": header.colour,
            "channel": header.channel,
            "effort": header.effort,
            "list": header.level_list,
            "t": header.timestep,
            "width": header.width,
            "height": header.height,
            "seed": header.seed,
            "payload": container.payload,
            "alpha": container.alpha,
            "metadata": None,
        }
        with pytest.raises(ValueError, match="whole"):
            printed["read_container"](data[:-1])


@given(containers)
def test_printed_reader_of_blocks_and_packets(printed: dict[str, Any], container: Container) -> None:
    data = write_container(container)
    file, header = printed["read_container"](data), container.header
    assert (file["payload"], file["alpha"], file["metadata"]) == (
        container.payload,
        container.alpha,
        container.metadata,
    )
    assert (file["t"], file["seed"]) == (header.timestep, header.seed)
    shortened = None if header.shortened is None else (header.shortened.timestep, header.shortened.steps)
    assert shortened == ((file["original_t"], file["steps"]) if "steps" in file else None)


def test_printed_reader_finds_damage_in_blocks(printed: dict[str, Any]) -> None:
    data = write_container(Container(HEADER, bytes(5000), b"alpha", b"notes"))
    for position in (*range(40), *range(2060, 2080), *range(5000, len(data))):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises((ValueError, StopIteration, RuntimeError)):
            printed["read_container"](bytes(damaged))


@pytest.mark.parametrize("timestep", [0, 2])
def test_printed_reader_of_shortened_files(
    printed: dict[str, Any], either_codec: DiffusionCodec, timestep: int
) -> None:
    picture = Picture(smooth_pixels(9, 11))
    whole = either_codec.compress(picture, timestep=timestep, effort=9, may_store=False).data
    data = either_codec.truncate(whole, len(whole) // 2)
    model = printed["read_model"](either_codec.checkpoint.to_bytes())
    found = read_by_document(printed, data, model, either_codec)
    assert np.abs(found - either_codec.decompress(data).pixels.astype(int)).max() <= 1


def test_printed_fingerprint(printed: dict[str, Any], tiny_checkpoint: Checkpoint) -> None:
    for checkpoint in (tiny_checkpoint, make_tiny_checkpoint(3)):
        model = printed["read_model"](checkpoint.to_bytes())
        assert model["fingerprint"] == checkpoint.fingerprint
        assert model["config"]["prediction"] == checkpoint.config.prediction


def check_printed_estimate(
    printed: dict[str, Any], config: ModelConfig, size: tuple[int, int], levels: Sequence[float]
) -> None:
    """Whether the printed estimates of a random network at some log SNRs are the codec's."""
    torch.manual_seed(0)
    denoiser = Denoiser(config).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1)
    x = torch.randn(1, 3, *size)
    for log_snr in levels:
        expected = denoiser.predict_x_0(x, torch.tensor([max(log_snr, -8.5)]))[0].numpy()
        found = printed["estimate_x_0"](x[0].numpy(), log_snr, config.to_dict(), raw_network(denoiser))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("prediction", "conditioning"), [("v", "log_snr"), ("x0", "log_snr"), ("eps", "log_snr"), ("eps", "timestep")]
)
def test_printed_estimate(printed: dict[str, Any], prediction: Any, conditioning: Any) -> None:
    network = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, embedding_channels=16, conditioning=conditioning)
    config = ModelConfig(network=network, prediction=prediction, data_std=0.5)
    check_printed_estimate(printed, config, (8, 8), (-np.inf, -10.0, -8.5, -3.25, 0.0, 6.5, 11.0))


def test_printed_estimate_at_lower_resolutions(printed: dict[str, Any]) -> None:
    network = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, patch=2, embedding_channels=16)
    config = ModelConfig(network=network, prediction="v", data_std=0.5, half_resolution_below=-1.0)
    check_printed_estimate(printed, config, (24, 36), (-9.0, -3.25, -1.1, -1.0, 5.0))


def test_printed_estimate_of_plain_networks(printed: dict[str, Any]) -> None:
    network = PlainUNetConfig(widths=(8, 8, 12), blocks=(1, 1, 1), embedding_channels=16)
    config = ModelConfig(network=network, prediction="v", data_std=0.5, half_resolution_below=0.0)
    check_printed_estimate(printed, config, (24, 36), (-9.0, -3.25, -0.1, 0.0, 5.0))


@pytest.mark.parametrize("colour", [pytest.param(True, marks=pytest.mark.slow), False])
def test_printed_reader_of_tiled_files(printed: dict[str, Any], tiled_codec: DiffusionCodec, colour: bool) -> None:
    codec = tiled_codec
    pixels = smooth_pixels(64, 133)
    picture = Picture(pixels if colour else pixels[..., 0].copy())
    assert codec.canvas_for(picture).tiling.depth == 2
    data = codec.compress(picture, timestep=60, effort=8, seed=5).data
    found = read_by_document(printed, data, printed["read_model"](codec.checkpoint.to_bytes()), codec)
    assert np.abs(found - codec.decompress(data).pixels.astype(int)).max() <= 1


def test_printed_tiles(printed: dict[str, Any]) -> None:
    for width, height, side in (
        (768, 512, 512),
        (4000, 3000, 512),
        (5000, 33, 128),
        (1, 1, 32),
        (97, 200, 0),
        (95, 96, 32),
    ):
        tiling = Tiling(width, height, side)
        found = printed["divisions"]({"width": width, "height": height}, {"tile_side": side})
        expected = [
            [
                (tile.number, tile.top, tile.left, *tile.shape)
                for tiles in by_shape(tiling.tiles(division))
                for tile in tiles
            ]
            for division in range(tiling.depth + 1)
        ]
        assert found == expected


def read_by_document(printed: dict[str, Any], data: bytes, model: Any, codec: DiffusionCodec) -> NDArray[np.int64]:
    """What the document's programs make of a file, (H, W, 3) or (H, W)."""
    pixels = printed["decode_picture"](data, model, raw_network(codec.denoiser), read_image)
    return pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, 2)


def read_image(data: bytes) -> NDArray[np.uint8]:
    """A WebP or PNG file as the document's programs want it, (H, W, planes)."""
    with Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as image:
        return np.atleast_3d(np.asarray(image))


def raw_network(denoiser: Denoiser) -> Any:
    """The network alone, as the document's programs call it."""

    def network(x: NDArray[np.float64], condition: float) -> NDArray[np.float64]:
        with torch.no_grad():
            raw = denoiser.network(torch.from_numpy(np.asarray(x, np.float32))[None], torch.tensor([float(condition)]))
        answer: NDArray[np.float64] = raw[0].double().numpy()
        return answer

    return network
