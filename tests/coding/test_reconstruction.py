"""From the last noisy state to a picture: mean, mirrored, flow, ancestral."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import read_container, write_container
from diffcodec.channel import ChannelId, make_channel
from diffcodec.codec import DiffusionCodec
from diffcodec.coding import reconstruction as reconstruction_module
from diffcodec.coding.options import DecompressOptions
from diffcodec.coding.progress import Progress
from diffcodec.coding.reconstruction import SHORT_FLOW, Reconstruction, ReconstructionKind
from diffcodec.coding.report import Bitstream, Restoration, Stopwatch
from diffcodec.coding.restoring import reconstruct
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.trajectory import Trajectory
from diffcodec.diffusion.sampling import ReverseProcess
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.evaluation_profile import EvaluationProfile
from diffcodec.model.levels import LevelList
from diffcodec.model.loading import load_checkpoint
from diffcodec.training.data import load_images
from tests.conftest import assert_same_picture, smooth_pixels

DRAWN: tuple[ReconstructionKind, ...] = ("flow", "ancestral")
ALL: tuple[ReconstructionKind, ...] = ("mean", "mirrored", "short-flow", *DRAWN)


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws below hold with any number of steps."""
    fewer: dict[ReconstructionKind, int] = {"flow": 25, "ancestral": 60}
    for kind, steps in fewer.items():
        monkeypatch.setitem(reconstruction_module.DEFAULT_STEPS, kind, steps)


def difference(a: Picture, b: Picture) -> float:
    """Root mean squared, in grey levels."""
    return float(np.sqrt(np.mean((a.pixels.astype(float) - b.pixels) ** 2)))


def almost_equal(a: Picture, b: Picture) -> bool:
    """The network's last digits depend on the batch: within a grey level."""
    return a.mode == b.mode and int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 1


def test_mean_is_the_default_and_what_the_encoder_saw(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=200)
    restored = codec.decompress(stream)
    assert restored.reconstruction == "mean"
    assert_same_picture(codec.decompress(stream, reconstruction="mean").picture, restored.picture)
    assert difference(restored.picture, picture) == pytest.approx(stream.report.rmse)


@pytest.mark.parametrize("kind", DRAWN)
def test_every_reconstruction_makes_a_picture_of_its_own(
    codec: DiffusionCodec, picture: Picture, kind: ReconstructionKind
) -> None:
    stream = codec.compress(picture, timestep=60)
    restored = codec.decompress(stream, reconstruction=kind)
    mean = codec.decompress(stream)
    assert restored.reconstruction == kind
    assert (restored.step, restored.steps, restored.timestep) == (mean.step, mean.steps, mean.timestep)
    assert (restored.picture.width, restored.picture.height, restored.picture.mode) == (10, 12, "RGB")
    assert difference(restored.picture, mean.picture) > 1
    # Whatever the method, the result resembles the file's picture.
    other = Picture(smooth_pixels(12, 10, seed=9))
    assert difference(restored.picture, picture) < 0.8 * difference(restored.picture, other)


def restored_from_its_state(
    codec: DiffusionCodec, stream: Bitstream, kind: ReconstructionKind
) -> tuple[Restoration, Trajectory]:
    """What a decoder makes of a file, and the state that it makes it of."""
    states = []

    def kept(how: Reconstruction, trajectory: Trajectory, names: Sequence[int]) -> Tensor:
        states.append(trajectory)
        return reconstruct(how, trajectory, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffcodec.coding.decoder.reconstruct", kept)
        restored = codec.decompress(stream, reconstruction=kind)
    (state,) = states
    return restored, state


def test_mirrored_averages_the_estimates_of_four_mirror_images(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=60)
    (context,) = codec.contexts_of([ParsedStream.parse(stream.data)])
    restored, state = restored_from_its_state(codec, stream, "mirrored")
    expected = torch.zeros(1, 3, 12, 10)
    for axes in ([], [2], [3], [2, 3]):
        mirrored = predict_x_0(codec.denoiser, state.x_t.flip(axes), state.level.log_snr).clamp(-1, 1)
        expected += mirrored.flip(axes)[..., :12, :10] / 4
    grey_levels = (expected[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(grey_levels - restored.pixels).max() < 0.6
    assert restored.reconstruction == "mirrored"
    assert context.canvas.shape[1:] == state.x_t.shape[2:]


def test_at_pure_noise_mirrored_is_the_mean(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)
    both = [codec.decompress(stream, timestep=1000, reconstruction=kind) for kind in ("mean", "mirrored", "short-flow")]
    assert all(np.array_equal(both[0].pixels, each.pixels) for each in both[1:])


def test_seeds_move_what_is_random(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)

    def restore(kind: ReconstructionKind, seed: int) -> Picture:
        return codec.decompress(stream, reconstruction=Reconstruction(kind, seed=seed)).picture

    torch.manual_seed(0)
    first = restore("ancestral", 1)
    torch.manual_seed(1)
    assert_same_picture(restore("ancestral", 1), first)
    assert difference(restore("ancestral", 2), first) > 1


@pytest.mark.parametrize("kind", ["auto", "mean", "mirrored", "short-flow", "flow"])
def test_reconstructions_that_draw_nothing_take_no_seed(kind: ReconstructionKind) -> None:
    with pytest.raises(ConfigError, match=f"`{kind}` draws no random numbers"):
        Reconstruction(kind, seed=1)
    assert Reconstruction(kind, seed=0) == Reconstruction(kind)


def test_more_steps_of_flow_come_closer_to_its_limit(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=300)
    found = [codec.decompress(stream, reconstruction=Reconstruction("flow", k)).picture for k in (1, 10, 100, 400)]
    assert_same_picture(found[0], codec.decompress(stream).picture)  # the mean at once
    errors = [difference(each, found[-1]) for each in found[:-1]]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_at_the_finest_state_there_is_nothing_left_to_draw(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=1)
    for kind in DRAWN:
        assert_same_picture(codec.decompress(stream, reconstruction=kind).picture, codec.decompress(stream).picture)


def test_a_picture_does_not_depend_on_its_company(codec: DiffusionCodec) -> None:
    pictures = [Picture(smooth_pixels(10, 9, seed)) for seed in range(3)]
    streams = [codec.compress(each, timestep=t) for each, t in zip(pictures, (300, 300, 100), strict=True)]
    reconstruction = Reconstruction("ancestral", seed=4)
    together = codec.decompress_batch(streams, reconstruction=reconstruction)
    for stream, restored in zip(streams, together, strict=True):
        assert restored.reconstruction == "ancestral"
        assert almost_equal(restored.picture, codec.decompress(stream, reconstruction=reconstruction).picture)


@pytest.mark.parametrize("kind", DRAWN)
def test_grey_pictures_stay_grey_and_alpha_stays_exact(codec: DiffusionCodec, kind: ReconstructionKind) -> None:
    pixels = smooth_pixels(9, 7)
    picture = Picture(np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1]))
    found = codec.decompress(codec.compress(picture, timestep=300), reconstruction=kind).picture
    assert found.mode == "LA"
    assert found.alpha is not None
    assert np.array_equal(found.alpha, pixels[..., 1])


@pytest.mark.parametrize("kind", DRAWN)
def test_what_is_known_of_grey_pictures_enters_every_estimate(
    codec: DiffusionCodec, kind: ReconstructionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    estimate = ReverseProcess.estimate

    def watched(self: ReverseProcess, x_t: torch.Tensor, level: NoiseLevel) -> object:
        found = estimate(self, x_t, level)
        seen.append(found.x_0)
        return found

    monkeypatch.setattr(ReverseProcess, "estimate", watched)
    stream = codec.compress(Picture(np.ascontiguousarray(smooth_pixels(9, 7)[..., 0])), timestep=300)
    codec.decompress(stream, reconstruction=Reconstruction(kind, 20))
    assert len(seen) == 7  # t = 300, and the six of twenty levels that lie below
    for x_0 in seen:
        assert x_0.shape == (1, 3, 12, 8)
        assert torch.equal(x_0[:, 0], x_0[:, 2])
        assert float(x_0.abs().max()) <= 1


def test_coarser_versions_are_drawn_from_their_own_states(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=20)
    coarse = codec.decompress(stream, timestep=200, reconstruction="flow")
    assert coarse.timestep == pytest.approx(200, abs=0.01)
    alone = codec.decompress(codec.compress(picture, timestep=200), reconstruction="flow")
    assert_same_picture(alone.picture, coarse.picture)
    every = list(codec.progressive(stream, reconstruction=Reconstruction("ancestral", 10, 1)))
    assert [restored.step for restored in every] == list(range(1, len(stream.report.steps) + 1))
    assert all(restored.reconstruction == "ancestral" for restored in every)
    last = codec.decompress(stream, reconstruction=Reconstruction("ancestral", 10, 1))
    assert_same_picture(every[-1].picture, last.picture)


def test_cut_files_are_drawn_from_the_last_state_there_is(codec: DiffusionCodec, picture: Picture) -> None:
    data = codec.compress(picture, timestep=100).data
    for kept in (len(data) - 4, len(data) // 2, 25):
        restored = codec.decompress(data[:kept], partial=True, reconstruction="ancestral")
        assert not restored.verified
        assert restored.pixels.shape == picture.pixels.shape
        again = codec.decompress(data[:kept], partial=True, reconstruction="ancestral")
        assert_same_picture(again.picture, restored.picture)


def test_without_a_single_step_a_picture_is_drawn_from_the_model(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=100)
    drawn = codec.decompress(stream, timestep=1000, reconstruction="ancestral")
    assert (drawn.step, drawn.timestep) == (0, 1000)
    assert difference(drawn.picture, codec.decompress(stream, timestep=1000).picture) > 1


def test_every_file_has_noise_of_its_own(codec: DiffusionCodec, picture: Picture) -> None:
    """Or all pictures of a folder would show the same inventions."""
    streams = [codec.compress(each, timestep=100) for each in (picture, Picture(smooth_pixels(12, 10, seed=5)))]
    kinds: list[tuple[ReconstructionKind, bool]] = [("mean", True), ("flow", True), ("ancestral", False)]
    for kind, alike in kinds:
        # Before the first step all pictures are in one state.
        a, b = (codec.decompress(stream, timestep=1000, reconstruction=kind) for stream in streams)
        assert np.array_equal(a.pixels, b.pixels) == alike


@pytest.mark.parametrize("kind", ["mean", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ALL[1:])])
def test_lossless_files_are_exact_with_every_reconstruction(codec: DiffusionCodec, kind: ReconstructionKind) -> None:
    for pixels in (smooth_pixels(8, 8), np.full((8, 8, 3), 7, np.uint8)):
        restored = codec.decompress(codec.compress(Picture(pixels), timestep=0), reconstruction=kind)
        assert restored.reconstruction == "exact"
        assert np.array_equal(restored.pixels, pixels)


@pytest.mark.parametrize(
    ("values", "words", "parameters"),
    [
        (
            ("median",),
            "reconstruction: expected one of auto, mean, mirrored, short-flow, flow, ancestral, found 'median'",
            (),
        ),
        (
            ("mean", 5),
            "the reconstruction `mean` takes no steps: choose flow or ancestral, or leave them out",
            ("reconstruction", "reconstruction_steps"),
        ),
        (("flow", 2.5), "reconstruction steps: expected an integer, found 2.5", ("reconstruction_steps",)),
        (("ancestral", 5, "x"), "reconstruction seed: expected an integer, found 'x'", ("reconstruction_seed",)),
        (("ancestral", 5, -1), "reconstruction seed: expected at least 0, found -1", ("reconstruction_seed",)),
    ],
)
def test_reconstructions_that_make_no_sense_are_refused(
    values: tuple[Any, ...], words: str, parameters: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Reconstruction(*values)
    assert (str(caught.value), caught.value.parameters) == (words, parameters)


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_reconstruction_has_no_more_steps_than_the_model(codec: DiffusionCodec, picture: Picture, steps: int) -> None:
    stream = codec.compress(picture, timestep=300)

    def decompress_one(stream: Bitstream, **options: Unpack[DecompressOptions]) -> Restoration:
        return codec.decompress_batch([stream], **options)[0]

    for restore in (codec.decompress, decompress_one):
        with pytest.raises(ConfigError, match=f"^reconstruction steps: expected 1 to the model's 1000, found {steps}"):
            restore(stream, reconstruction=Reconstruction("flow", steps))
        with pytest.raises(ConfigError, match="expected one of auto, mean, mirrored, short-flow, flow, ancestral"):
            restore(stream, reconstruction="median")  # type: ignore[arg-type]


def trajectory_of(codec: DiffusionCodec, picture: Picture) -> Trajectory:
    """One that leads to t = 300, at its start."""
    context = codec.context_for(picture, make_channel(ChannelId.TRELLIS))
    return Trajectory(context, codec.tables.level(300), 1, Stopwatch())


def test_damaged_weights_are_named(tiny_checkpoint: Checkpoint, picture: Picture) -> None:
    weights = dict(tiny_checkpoint.weights)
    name = next(iter(weights))
    damaged = DiffusionCodec(
        replace(tiny_checkpoint, weights={**weights, name: torch.full_like(weights[name], math.nan)})
    )
    with pytest.raises(CheckpointError, match="returned NaN"):
        reconstruct(Reconstruction("flow"), trajectory_of(damaged, picture), [0])
    container = read_container(DiffusionCodec(tiny_checkpoint).compress(picture, timestep=300).data)
    header = replace(container.header, fingerprint=damaged.fingerprint)
    with pytest.raises(CheckpointError, match="returned NaN"):
        damaged.decompress(write_container(replace(container, header=header)))


# The bundled model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored() -> dict[str, NDArray[np.float64]]:
    """CIFAR-10 test images and what is reconstructed of them at t = 300, (N, 32, 32, 3)."""
    data = Path(__file__).parents[2] / "benchmarks" / "data" / "cifar10-test-100.webp"
    pixels = load_images(str(data))[:6].permute(0, 2, 3, 1).contiguous().numpy()
    codec = DiffusionCodec.from_pretrained()
    streams = codec.compress_batch([Picture(each) for each in pixels], timestep=300, steps=8)
    found = {"original": pixels.astype(float)}
    for kind in ALL:
        made = codec.decompress_batch(streams, reconstruction=Reconstruction(kind, 50 if kind in DRAWN else None))
        found[kind] = np.stack([each.pixels for each in made]).astype(float)
    return found


def test_the_mean_errs_least_and_a_sample_most(restored: dict[str, NDArray[np.float64]]) -> None:
    errors = {kind: np.mean((restored[kind] - restored["original"]) ** 2) for kind in ALL}
    assert errors["mean"] < errors["flow"] < errors["ancestral"]
    # A sample of p(x_0 | x_t) errs as the original does, from the same mean: twice its squared error.
    assert 1.4 * errors["mean"] < errors["ancestral"] < 2.2 * errors["mean"]
    assert errors["mirrored"] < 1.02 * errors["mean"]


def test_drawn_pictures_have_the_detail_that_the_mean_lacks(restored: dict[str, NDArray[np.float64]]) -> None:
    def roughness(pixels: NDArray[np.float64]) -> float:
        return float(np.mean(np.diff(pixels, axis=1) ** 2) + np.mean(np.diff(pixels, axis=2) ** 2))

    original = roughness(restored["original"])
    assert roughness(restored["mean"]) < 0.45 * original
    for kind in DRAWN:
        assert roughness(restored["mean"]) * 1.3 < roughness(restored[kind]) < 1.3 * original


def test_a_drawn_picture_is_one_that_its_state_could_come_from(picture: Picture) -> None:
    """x_t - alpha x_0 of an ancestral sample is noise of standard deviation sigma; of the mean it is too small."""
    checkpoint = load_checkpoint("cifar10-small-v3")
    codec = DiffusionCodec(checkpoint)
    level = NoiseLevel(-1.0)
    pixels = smooth_pixels(32, 32)
    x_0 = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1
    trajectory = trajectory_of(codec, Picture(pixels))
    trajectory.level = level
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    trajectory._x_t = level.alpha * x_0 + level.sigma * noise

    def rest(kind: ReconstructionKind) -> float:
        """Standard deviation of what is left of x_t, in units of sigma."""
        picture = reconstruct(Reconstruction(kind), trajectory, [0])
        return float(((trajectory.x_t - level.alpha * picture) / level.sigma).std())

    trajectory._estimate = None  # that of the start
    assert rest("mean") < rest("ancestral")
    assert rest("ancestral") == pytest.approx(1, abs=0.04)


def test_short_flow_is_the_mean_further_down_the_flow(codec: DiffusionCodec, picture: Picture) -> None:
    stream = codec.compress(picture, timestep=200)
    restored, trajectory = restored_from_its_state(codec, stream, "short-flow")
    assert restored.reconstruction == "short-flow"
    x_t, level = trajectory.x_t, trajectory.level
    for distance in SHORT_FLOW:
        further = NoiseLevel(trajectory.level.log_snr + distance)
        x_0 = predict_x_0(codec.denoiser, x_t, level.log_snr).clamp(-1, 1)
        x_t = further.alpha * x_0 + further.sigma * (x_t - level.alpha * x_0) / level.sigma
        level = further
    expected = predict_x_0(codec.denoiser, x_t, level.log_snr).clamp(-1, 1)
    with torch.no_grad():
        found = reconstruct(Reconstruction("short-flow"), trajectory, [0])
    assert torch.allclose(found, expected, atol=2e-3)
    assert not torch.allclose(found, trajectory.checked_estimate(), atol=2e-2)


@pytest.mark.parametrize(("timestep", "kind"), [(300, "short-flow"), (20, "mean")])
def test_auto_goes_by_rate_for_photographs(timestep: int, kind: str, codec: DiffusionCodec) -> None:
    large = codec.compress(Picture(smooth_pixels(116, 120)), timestep=timestep)
    assert codec.decompress(large).reconstruction == kind
    chosen = codec.decompress(large, reconstruction=kind)  # type: ignore[arg-type]
    assert np.array_equal(codec.decompress(large).pixels, chosen.pixels)
    assert {each.reconstruction for each in codec.progressive(large)} == {"mean"}
    small = codec.compress(Picture(smooth_pixels(30, 120)), timestep=timestep)
    assert codec.decompress(small).reconstruction == "mean"


@pytest.mark.parametrize(
    ("levels", "gain", "kind"), [(32, 0.1, "mirrored"), (31, 0.1, "mean"), (32, 0.0, "mean"), (32, None, "mean")]
)
def test_auto_mirrors_fine_files_of_many_steps_if_the_model_gains(
    levels: int, gain: float | None, kind: str, tiny_checkpoint: Checkpoint, picture: Picture
) -> None:
    tables = tiny_checkpoint.tables
    assert tables is not None
    timesteps = np.unique(np.geomspace(1, 900, 200).round().astype(int))[::-1]
    fine = tuple(tables.level(int(t)) for t in (*timesteps[: levels - 1], 1))
    lists = (LevelList(0, fine, ()),)
    profile = EvaluationProfile((-20.0, 20.0), (1.0, 1.0), mirror_gains=(gain,) * 2 if gain is not None else ())
    checkpoint = tiny_checkpoint.with_tables(replace(tables, lists=lists, default_steps=levels))
    codec = DiffusionCodec(replace(checkpoint, profile=profile))
    stream = codec.compress(picture, timestep=1)
    seen: list[Progress] = []
    restored = codec.decompress(stream, progress=seen.append)
    assert restored.reconstruction == kind
    assert seen[-1].evaluations == seen[-1].expected
    assert_same_picture(codec.decompress(stream, reconstruction=kind).picture, restored.picture)  # type: ignore[arg-type]


@pytest.mark.parametrize(("room", "evaluated"), [(0.5, 3), (0.3, 2), (0.03, 1)])
def test_short_flow_stays_with_the_network_of_its_level(
    room: float, evaluated: int, tiny_checkpoint: Checkpoint, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose estimate at the states that another one made is worse."""
    codec = DiffusionCodec(tiny_checkpoint)
    monkeypatch.setattr(codec.denoiser, "same_network_until", lambda shape, log_snr: log_snr + room)
    _, trajectory = restored_from_its_state(codec, codec.compress(picture, timestep=200), "short-flow")
    levels: list[float] = []

    def noted(x_t: Tensor, log_snr: Tensor) -> Tensor:
        levels.append(float(log_snr))
        return torch.zeros_like(x_t)

    monkeypatch.setattr(codec.denoiser, "predict_x_0", noted)
    fresh = Trajectory(trajectory.context, trajectory.stops[-1], 1, Stopwatch())
    fresh.level = trajectory.level
    reconstruct(Reconstruction("short-flow"), fresh, [0])
    assert len(levels) == evaluated
    assert max(levels) < trajectory.level.log_snr + room
