"""From the last noisy state to a picture: mean, flow, ancestral."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffcodec.checkpoint import Checkpoint, load_checkpoint
from diffcodec.codec import DiffusionCodec
from diffcodec.decoders import Decoder
from diffcodec.diffusion.sampling import ReverseProcess
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.images import Picture
from diffcodec.results import Stopwatch
from diffcodec.training.data import load_images
from diffcodec.walk import Walk
from tests.conftest import assert_same_picture, smooth_pixels

DRAWN = ("flow", "ancestral")


def difference(a: Picture, b: Picture) -> float:
    """Root mean squared, in grey levels."""
    return float(np.sqrt(np.mean((a.pixels.astype(float) - b.pixels) ** 2)))


def almost_equal(a: Picture, b: Picture) -> bool:
    """The network's last digits depend on the batch: within a grey level."""
    return a.mode == b.mode and int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 1


def test_mean_is_the_default_and_what_the_encoder_saw(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=200)
    preview = codec.restore(stream)
    assert preview.decoder == "mean"
    assert_same_picture(codec.decompress(stream, decoder="mean"), preview.picture)
    assert difference(preview.picture, picture) == pytest.approx(stream.report.rmse)


@pytest.mark.parametrize("decoder", DRAWN)
def test_decoders_restore_pictures_of_their_own(codec: DiffusionCodec, picture: Picture, decoder: str) -> None:
    stream = codec.compress(picture, timestep=60)
    preview = codec.restore(stream, decoder=decoder)  # type: ignore[arg-type]
    mean = codec.restore(stream)
    assert preview.decoder == decoder
    assert (preview.step, preview.steps, preview.timestep) == (mean.step, mean.steps, mean.timestep)
    assert (preview.picture.width, preview.picture.height, preview.picture.mode) == (10, 12, "RGB")
    assert difference(preview.picture, mean.picture) > 1
    # A file says much of its picture, whoever reads it.
    other = Picture(smooth_pixels(12, 10, seed=9))
    assert difference(preview.picture, picture) < 0.8 * difference(preview.picture, other)


def test_seeds_move_what_is_random_and_nothing_else(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)

    def restore(decoder: str, seed: int) -> Picture:
        return codec.decompress(stream, decoder=Decoder(decoder, seed=seed))  # type: ignore[arg-type]

    torch.manual_seed(0)
    first = restore("ancestral", 1)
    torch.manual_seed(1)
    assert_same_picture(restore("ancestral", 1), first)
    assert difference(restore("ancestral", 2), first) > 1
    assert_same_picture(restore("flow", 1), restore("flow", 2))
    assert_same_picture(restore("mean", 1), restore("mean", 2))


def test_more_steps_of_flow_come_closer_to_its_limit(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)
    found = [codec.decompress(stream, decoder=Decoder("flow", k)) for k in (1, 10, 100, 1000)]
    assert_same_picture(found[0], codec.decompress(stream))  # the mean at once
    errors = [difference(each, found[-1]) for each in found[:-1]]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_at_the_finest_state_there_is_nothing_left_to_draw(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=1)
    for decoder in DRAWN:
        assert_same_picture(codec.decompress(stream, decoder=decoder), codec.decompress(stream))  # type: ignore[arg-type]


def test_a_picture_does_not_depend_on_its_company(codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(10, 9, seed)) for seed in range(3)]
    streams = [codec.compress(each, timestep=t) for each, t in zip(pictures, (300, 300, 100), strict=True)]
    decoder = Decoder("ancestral", seed=4)
    together = codec.restore_batch(streams, decoder=decoder)
    for stream, preview in zip(streams, together, strict=True):
        assert preview.decoder == "ancestral"
        assert almost_equal(preview.picture, codec.decompress(stream, decoder=decoder))
    for found, preview in zip(codec.decompress_batch(streams, decoder=decoder), together, strict=True):
        assert_same_picture(found, preview.picture)


@pytest.mark.parametrize("decoder", DRAWN)
def test_grey_pictures_stay_grey_and_alpha_stays_exact(codec: DiffusionCodec, decoder: str) -> None:
    pixels = smooth_pixels(9, 7)
    picture = Picture(np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1]))
    found = codec.decompress(codec.compress(picture, timestep=300), decoder=decoder)  # type: ignore[arg-type]
    assert found.mode == "LA"
    assert np.array_equal(found.alpha, picture.alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", DRAWN)
def test_what_is_known_of_grey_pictures_enters_every_estimate(
    codec: DiffusionCodec, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    estimate = ReverseProcess.estimate

    def watched(self: ReverseProcess, x_t: torch.Tensor, level: NoiseLevel) -> object:
        found = estimate(self, x_t, level)
        seen.append(found.x_0)
        return found

    monkeypatch.setattr(ReverseProcess, "estimate", watched)
    stream = codec.compress(Picture(np.ascontiguousarray(smooth_pixels(9, 7)[..., 0])), timestep=300)
    codec.decompress(stream, decoder=Decoder(decoder, 20))  # type: ignore[arg-type]
    assert len(seen) == 7  # t = 300, and the six of twenty levels that lie below
    for x_0 in seen:
        assert x_0.shape == (1, 3, 12, 8)
        assert torch.equal(x_0[:, 0], x_0[:, 2])
        assert float(x_0.abs().max()) <= 1


def test_coarser_versions_and_previews_are_drawn_from_their_own_states(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=20)
    coarse = codec.restore(stream, timestep=200, decoder="flow")
    assert coarse.timestep == pytest.approx(200, abs=0.01)
    assert_same_picture(codec.decompress(codec.compress(picture, timestep=200), decoder="flow"), coarse.picture)
    previews = list(codec.progressive(stream, decoder=Decoder("ancestral", 10, 1)))
    assert [preview.step for preview in previews] == list(range(1, stream.report.steps + 1))
    assert all(preview.decoder == "ancestral" for preview in previews)
    last = codec.decompress(stream, decoder=Decoder("ancestral", 10, 1))
    assert_same_picture(previews[-1].picture, last)


def test_cut_files_are_drawn_from_the_last_state_there_is(codec: DiffusionCodec, picture: Picture) -> None:
    data = codec.compress(picture, timestep=100).data
    for kept in (len(data) - 4, len(data) // 2, 25):
        preview = codec.restore(data[:kept], partial=True, decoder="ancestral")
        assert not preview.verified
        assert preview.picture.pixels.shape == picture.pixels.shape
        again = codec.restore(data[:kept], partial=True, decoder="ancestral")
        assert_same_picture(again.picture, preview.picture)


def test_without_a_single_step_a_decoder_samples_from_the_model(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=100)
    drawn = codec.restore(stream, timestep=1000, decoder="ancestral")
    assert (drawn.step, drawn.timestep) == (0, 1000)
    assert difference(drawn.picture, codec.restore(stream, timestep=1000).picture) > 1


def test_every_file_has_noise_of_its_own(codec: DiffusionCodec, picture: Picture) -> None:
    """Or all pictures of a folder would show the same inventions."""
    streams = [codec.compress(each, timestep=100) for each in (picture, Picture(smooth_pixels(12, 10, seed=5)))]
    for decoder, alike in (("mean", True), ("flow", True), ("ancestral", False)):
        # Before the first step all pictures are in one state.
        a, b = (codec.decompress(stream, timestep=1000, decoder=decoder) for stream in streams)  # type: ignore[arg-type]
        assert np.array_equal(a.pixels, b.pixels) == alike


@pytest.mark.parametrize("decoder", ["mean", *DRAWN])
def test_lossless_files_are_exact_with_every_decoder(codec: DiffusionCodec, decoder: str) -> None:
    for pixels in (smooth_pixels(8, 8), np.full((8, 8, 3), 7, np.uint8)):
        preview = codec.restore(codec.compress(Picture(pixels), timestep=0), decoder=decoder)  # type: ignore[arg-type]
        assert preview.decoder == "exact"
        assert np.array_equal(preview.picture.pixels, pixels)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("median",), "decoder: expected one of mean, flow, ancestral, found 'median'"),
        (("mean", 5), "the decoder mean takes none"),
        (("flow", 2.5), "decoder steps: expected an integer, found 2.5"),
        (("ancestral", 5, -1), "decoder seed: expected at least 0, found -1"),
    ],
)
def test_decoders_that_make_no_sense_are_refused(values: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Decoder(*values)


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_decoder_has_no_more_steps_than_the_model(codec: DiffusionCodec, picture: Picture, steps: int) -> None:
    stream = codec.compress(picture, timestep=300)
    for restore in (codec.decompress, lambda data, decoder: codec.decompress_batch([data], decoder=decoder)):
        with pytest.raises(ConfigError, match=f"steps: expected 1 to the model's 1000, found {steps}"):
            restore(stream, decoder=Decoder("flow", steps))
        with pytest.raises(ConfigError, match="expected one of mean, flow, ancestral"):
            restore(stream, decoder="median")  # type: ignore[arg-type]


def test_damaged_weights_are_named(tiny_checkpoint: Checkpoint, picture: Picture) -> None:
    codec = DiffusionCodec(tiny_checkpoint)
    stream = codec.compress(picture, timestep=300)
    with torch.no_grad():
        next(codec.denoiser.parameters()).fill_(float("nan"))
    walk = Walk(
        codec.denoiser, codec.tables, codec.plane_for(picture), 0, codec.tables.level(300), 0, 1, Stopwatch()
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="not numbers"):
        Decoder("flow").restore(walk, [0])
    with pytest.raises(CheckpointError, match="not numbers"):
        codec.decompress(stream)


# The bundled model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored() -> dict[str, NDArray[np.float64]]:
    """CIFAR-10 test images and what the decoders make of them at t = 300, (N, 32, 32, 3)."""
    data = Path(__file__).parent.parent / "benchmarks" / "data" / "cifar10-test-100.webp"
    pixels = load_images(str(data))[:6].permute(0, 2, 3, 1).contiguous().numpy()
    codec = DiffusionCodec.from_pretrained()
    streams = codec.compress_batch([Picture(each) for each in pixels], timestep=300, steps=8)
    found = {"original": pixels.astype(float)}
    for decoder in ("mean", *DRAWN):
        steps = None if decoder == "mean" else 50
        made = codec.decompress_batch(streams, decoder=Decoder(decoder, steps))  # type: ignore[arg-type]
        found[decoder] = np.stack([picture.pixels for picture in made]).astype(float)
    return found


def test_the_mean_errs_least_and_a_sample_most(restored: dict[str, NDArray[np.float64]]) -> None:
    errors = [np.mean((restored[decoder] - restored["original"]) ** 2) for decoder in ("mean", *DRAWN)]
    assert errors[0] < errors[1] < errors[2]
    # A sample of p(x_0 | x_t) errs as the original does, from the same mean: twice its squared error.
    assert 1.4 * errors[0] < errors[2] < 2.2 * errors[0]


def test_drawn_pictures_have_the_detail_that_the_mean_lacks(restored: dict[str, NDArray[np.float64]]) -> None:
    def roughness(pixels: NDArray[np.float64]) -> float:
        return float(np.mean(np.diff(pixels, axis=1) ** 2) + np.mean(np.diff(pixels, axis=2) ** 2))

    original = roughness(restored["original"])
    assert roughness(restored["mean"]) < 0.45 * original
    for decoder in DRAWN:
        assert roughness(restored["mean"]) * 1.3 < roughness(restored[decoder]) < 1.3 * original


def test_a_drawn_picture_is_one_that_its_state_could_come_from(picture: Picture) -> None:
    """x_t - alpha x_0 of an ancestral sample is noise of standard deviation sigma; of the mean it is too small."""
    checkpoint = load_checkpoint("cifar10-small-v3")
    codec = DiffusionCodec(checkpoint)
    level = NoiseLevel(-1.0)
    pixels = smooth_pixels(32, 32)
    x_0 = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1
    walk = Walk(
        codec.denoiser, codec.tables, codec.plane_for(Picture(pixels)), 0, codec.tables.level(300), 0, 1, Stopwatch()
    )  # fmt: skip
    walk.level = level
    walk.x_t = level.alpha * x_0 + level.sigma * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    walk._estimate = None
    rest = {
        kind: float(((walk.x_t - level.alpha * Decoder(kind).restore(walk, [0])) / level.sigma).std())  # type: ignore[arg-type]
        for kind in ("mean", "ancestral")
    }
    assert rest["mean"] < rest["ancestral"]
    assert rest["ancestral"] == pytest.approx(1, abs=0.04)
