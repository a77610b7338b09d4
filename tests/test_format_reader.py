"""The programs printed in docs/format.md read what the package writes: messages, whole files, models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffcodec.bitstream.container import read_container
from diffcodec.bitstream.entropy import SymbolReader, SymbolWriter
from diffcodec.channel import Channel, ChannelId, StreamKey, make_channel
from diffcodec.channel.layout import lanes_of
from diffcodec.channel.poisson import zipf_weights
from diffcodec.checkpoint import Checkpoint
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.images import Picture
from diffcodec.walk import Walk
from tests.conftest import make_tiny_checkpoint, smooth_pixels

DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """All names that the document's programs define, run in the order in which they are printed."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile("\n\n".join(blocks), str(DOCUMENT), "exec"), names)
    return names


def message(channel: ChannelId, length: int, chosen: NDArray[np.int64]) -> bytes:
    """A payload that holds one message."""
    writer = SymbolWriter()
    if channel is ChannelId.TRELLIS:
        writer.write_bits((chosen % 2).astype(np.uint8))
    else:
        writer.write_symbols(chosen, zipf_weights())
    return writer.getvalue()


def decoded(channel: Channel, dims: int, length: int, seed: int, step: int, payload: bytes) -> NDArray[np.float32]:
    return channel.decode(dims, 1.0, [length], StreamKey(seed, step), [SymbolReader(payload)])[0]


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
        indices = printed["read_indices"](printed["RangeDecoder"](payload), length, dims)
        assert indices == chosen.tolist()
        sample = printed["poisson_sample"](indices, length, dims, (seed, step))
    else:
        sample = printed["normals"]((seed, step), dims)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_printed_weights_of_indices(printed: dict[str, Any]) -> None:
    assert printed["zipf_weights"]() == zipf_weights().tolist()


@pytest.mark.parametrize(
    ("channel", "grey", "height", "width", "timestep", "seed", "alpha"),
    [
        ("trellis", False, 12, 10, 1, 0, False),
        ("trellis", False, 13, 11, 77, 2**64 - 1, True),
        ("trellis", True, 13, 11, 20, 5, False),
        ("trellis", False, 8, 8, 990, 0, False),
        ("poisson", False, 12, 10, 30, 0, False),
        ("poisson", True, 5, 3, 2, 9, True),
    ],
)
def test_printed_reader_of_files(
    printed: dict[str, Any], codec: DiffusionCodec, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch,
    channel: str, grey: bool, height: int, width: int, timestep: int, seed: int, alpha: bool,
) -> None:  # fmt: skip
    pixels = smooth_pixels(height, width)
    picture = Picture(pixels[..., 1] if grey else pixels, pixels[..., 0].copy() if alpha else None)
    data = codec.compress(picture, timestep=timestep, channel=channel, effort=9, seed=seed).data
    expected: list[tuple[float, NDArray[np.float32]]] = []
    advance = Walk.advance

    def spy(self: Walk, step: int, stop: Any, estimate: Any, sample: NDArray[np.float32]) -> None:
        expected.append((stop.log_snr, sample[0].copy()))
        advance(self, step, stop, estimate, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Walk, "advance", spy)
        restored = codec.decompress(data)

    model = printed["read_model"](tiny_checkpoint.to_bytes())
    samples = list(printed["read_samples"](data, model["tables"]))
    assert len(samples) == len(expected) > 0
    for (level, sample), (expected_level, expected_sample) in zip(samples, expected, strict=True):
        assert level == expected_level
        np.testing.assert_allclose(sample, expected_sample, atol=1e-5)

    decoded_pixels = printed["decode_picture"](data, model, raw_network(codec.denoiser))
    if not grey:
        decoded_pixels = decoded_pixels.transpose(1, 2, 0)
    assert decoded_pixels.shape == restored.pixels.shape
    assert np.abs(decoded_pixels - restored.pixels.astype(int)).max() <= 1


def test_printed_steps(printed: dict[str, Any], codec: DiffusionCodec, tiny_checkpoint: Checkpoint) -> None:
    tables = printed["read_model"](tiny_checkpoint.to_bytes())["tables"]
    for index, levels in enumerate(codec.tables.lists):
        for timestep, colour, channel in ((1, 0, 0), (40, 1, 0), (20, 0, 1), (1000, 0, 0)):
            end, unit = codec.tables.level(timestep), make_channel(ChannelId(channel)).bits_per_length
            file = {"list": index, "t": timestep, "colour": colour, "channel": channel, "width": 4001, "height": 2999}
            dims = 4001 * 2999 * (1 if colour else 3)
            assert list(printed["steps_of"](file, tables)) == [
                (stop.log_snr, levels.expected_bits(step, end=stop, dims=dims) * 9 // 8 // unit)
                for step, stop in enumerate(levels.steps_to(end))
            ]


def test_printed_reader_of_the_container(printed: dict[str, Any], codec: DiffusionCodec, picture: Picture) -> None:
    transparent = Picture(picture.pixels, picture.pixels[..., 0].copy())
    for one, seed in ((picture, 0), (transparent, 0), (picture, 2**63), (transparent, 1)):
        data = codec.compress(one, timestep=300, effort=13, seed=seed).data
        container = read_container(data)
        header = container.header
        assert printed["read_container"](data) == {
            "fingerprint": header.fingerprint, "colour": header.colour, "channel": header.channel,
            "effort": header.effort, "list": header.level_list, "t": header.timestep, "width": header.width,
            "height": header.height, "seed": header.seed, "payload": container.payload, "alpha": container.alpha,
        }  # fmt: skip
        with pytest.raises(ValueError, match="whole"):
            printed["read_container"](data[:-1])


def test_printed_fingerprint(printed: dict[str, Any], tiny_checkpoint: Checkpoint) -> None:
    for checkpoint in (tiny_checkpoint, make_tiny_checkpoint(3)):
        model = printed["read_model"](checkpoint.to_bytes())
        assert model["fingerprint"] == checkpoint.fingerprint
        assert model["config"]["prediction"] == checkpoint.config.prediction


@pytest.mark.parametrize(
    ("prediction", "conditioning"), [("v", "log_snr"), ("x0", "log_snr"), ("eps", "log_snr"), ("eps", "timestep")]
)
def test_printed_estimate(printed: dict[str, Any], prediction: Any, conditioning: Any) -> None:
    network = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, embedding_channels=16, conditioning=conditioning)
    config = ModelConfig(network=network, prediction=prediction, data_std=0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(config).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1)
    x = torch.randn(1, 3, 8, 8)
    for log_snr in (-np.inf, -10.0, -8.5, -3.25, 0.0, 6.5, 11.0):
        expected = denoiser.predict_x_0(x, torch.tensor([max(log_snr, -8.5)]))[0].numpy()
        found = printed["estimate_x_0"](x[0].numpy(), log_snr, config.to_dict(), raw_network(denoiser))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


def raw_network(denoiser: Denoiser) -> Any:
    """The network alone, as the document's programs call it."""

    def network(x: NDArray[np.float64], condition: float) -> NDArray[np.float64]:
        with torch.no_grad():
            raw = denoiser.network(torch.from_numpy(np.asarray(x, np.float32))[None], torch.tensor([float(condition)]))
        return raw[0].double().numpy()

    return network
