"""Pictures from a trained network: seeds, batches, shared states, interpolation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcodec.diffusion import windows
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.interpolation import interpolate
from diffcodec.diffusion.samplers import Sampler
from diffcodec.diffusion.sampling import (
    ReverseProcess,
    checked_pixels,
    common_noise,
    own_noise,
    sample_images,
    sample_progressively,
    sample_shared,
)
from diffcodec.errors import CheckpointError, ConfigError
from tests.conftest import make_tiny_checkpoint, smooth_pixels

CPU = torch.device("cpu")
FEW = Sampler(steps=12)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return make_tiny_checkpoint().denoiser()


def picture(height: int = 8, width: int = 8, seed: int = 0) -> Tensor:
    return torch.from_numpy(smooth_pixels(height, width, seed).transpose(2, 0, 1).copy())


def almost_equal(a: Tensor, b: Tensor) -> bool:
    """A network's last digits depend on the batch: within a grey level."""
    return a.shape == b.shape and int((a.int() - b.int()).abs().max()) <= 1


def test_noise_comes_from_a_stream_for_every_picture() -> None:
    draw = own_noise(5, range(3), (3, 4, 4), CPU)
    first, second = draw(), draw()
    assert first.shape == (3, 3, 4, 4)
    assert len({float(x[0, 0, 0]) for x in (*first, *second)}) == 6
    alone = own_noise(5, [2], (3, 4, 4), CPU)
    assert torch.equal(alone()[0], first[2])
    assert torch.equal(alone()[0], second[2])
    assert not torch.equal(own_noise(6, [2], (3, 4, 4), CPU)()[0], first[2])
    common = common_noise(5, 2, (3, 4, 4), CPU)()
    assert torch.equal(common, first[:1].repeat(2, 1, 1, 1))


def test_noise_is_standard_normal_across_pictures_and_draws() -> None:
    draw = own_noise(0, range(2000), (1, 4, 4), CPU)
    values = torch.stack([draw(), draw()]).flatten(2)  # (draws, pictures, pixels)
    assert abs(float(values.mean())) < 5 / values.numel() ** 0.5
    assert float(values.var()) == pytest.approx(1, abs=5 * (2 / values.numel()) ** 0.5)
    neighbours = (values[:, 1:] * values[:, :-1]).mean()
    assert abs(float(neighbours)) < 5 / values.numel() ** 0.5


@pytest.mark.parametrize("kind", ["ancestral", "flow", "langevin"])
def test_a_sample_depends_on_its_number_and_the_seed_alone(denoiser: Denoiser, kind: str) -> None:
    def make(count: int, **options: int) -> Tensor:
        return sample_images(denoiser, count, size=8, steps=6, sampler=kind, **options)  # type: ignore[arg-type]

    torch.manual_seed(1)
    five = make(5, seed=3)
    torch.manual_seed(2)
    assert five.dtype == torch.uint8
    assert five.shape == (5, 3, 8, 8)
    assert almost_equal(make(5, seed=3, batch_size=2), five)
    assert almost_equal(make(3, seed=3), five[:3])
    assert not almost_equal(make(5, seed=4), five)
    assert not almost_equal(five[:1], five[1:2])


def test_torchs_own_generator_is_left_alone(denoiser: Denoiser) -> None:
    before = torch.get_rng_state()
    sample_images(denoiser, 1, size=4, steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_reported_for_every_level_and_sample(denoiser: Denoiser) -> None:
    reported: list[int] = []
    sample_images(denoiser, 5, size=4, steps=3, batch_size=2, progress=reported.append)
    assert reported == [2] * 4 + [2] * 4 + [1] * 4


def test_estimates_on_the_way_end_with_the_sample(denoiser: Denoiser) -> None:
    frames = sample_progressively(denoiser, FEW, 2, size=(8, 4), frames=5, seed=1)
    assert frames.shape == (5, 2, 3, 8, 4)
    assert torch.equal(frames[-1], sample_progressively(denoiser, FEW, 2, size=(8, 4), frames=1, seed=1)[0])
    assert not torch.equal(frames[0], frames[-1])
    # More frames than levels show some twice; none is left out.
    many = sample_progressively(denoiser, replace(FEW, steps=3), 1, size=(4, 4), frames=8, seed=1)
    assert many.shape[0] == 8


def test_sizes_that_the_network_does_not_take_are_refused(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="multiples of the network's 4 pixels, found 10 x 10"):
        sample_images(denoiser, 1, size=10)
    with pytest.raises(ConfigError, match="multiples of the network's 4 pixels, found 6 x 8"):
        sample_shared(denoiser, FEW, picture(8, 6), 100, 1)


def test_pictures_of_other_channels_are_refused(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="expected a picture with the network's 3 channels, found 1"):
        sample_shared(denoiser, FEW, picture()[:1], 100, 1)
    with pytest.raises(ConfigError, match="expected a picture with the network's 3 channels, found 1"):
        interpolate(denoiser, FEW, picture()[:1], picture()[:1], 100, [0.5])


def test_learned_variances_are_asked_of_those_who_have_them(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="has no learned variances"):
        sample_progressively(denoiser, Sampler(variance="learned"), 1, size=(8, 8), frames=1)
    learned = Denoiser(replace(denoiser.config, variance="learned")).eval().requires_grad_(False)
    assert sample_images(learned, 2, size=8, steps=4).shape == (2, 3, 8, 8)
    assert ReverseProcess(learned).variance == "learned"
    assert ReverseProcess(learned, variance="fixedlarge").variance == "fixedlarge"


def test_learned_variances_come_through_windows(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    learned = Denoiser(replace(denoiser.config, variance="learned")).eval().requires_grad_(False)
    for parameter in learned.parameters():
        parameter.normal_(0, 0.1)
    network = learned.config.network
    margin = network.receptive_radius
    x_t = torch.randn(1, 3, 2 * network.stride, 4 * margin)
    whole = learned.estimate(x_t, torch.zeros(1))
    monkeypatch.setattr(windows, "MAX_WINDOW_PIXELS", 0)
    found = windows.estimate(learned, x_t, 0.0)
    assert found.variance_mix is not None
    assert whole.variance_mix is not None
    assert torch.allclose(found.x_0, whole.x_0, atol=1e-4)
    assert torch.allclose(found.variance_mix, whole.variance_mix, atol=1e-4)
    assert whole.variance_mix.std() > 1e-3


# Shared states -----------------------------------------------------------------------------------------------


def test_samples_that_share_a_state_are_alike_when_it_says_much(denoiser: Denoiser) -> None:
    image = picture()
    spreads = []
    for t in (1, 100, 900):
        x_t, found = sample_shared(denoiser, FEW, image, t, 6, seed=2)
        assert x_t.shape == (3, 8, 8)
        assert found.shape == (6, 3, 8, 8)
        spreads.append(float(found.float().std(dim=0).mean()))
    assert spreads[0] == 0  # one step, which adds no noise
    assert spreads[1] < spreads[2]


def test_the_shared_state_is_a_sample_of_q(denoiser: Denoiser) -> None:
    image = picture(32, 32)
    level = denoiser.schedule.level(20)  # little noise: hardly a pixel leaves the range
    x_t, _ = sample_shared(denoiser, FEW, image, 20, 1, seed=2)
    noise = (x_t.float() / 127.5 - 1 - level.alpha * (image.float() / 127.5 - 1)) / level.sigma
    inside = (x_t > 0) & (x_t < 255)
    assert float(noise[inside].mean()) == pytest.approx(0, abs=5 / 3072**0.5)
    assert float(noise[inside].std()) == pytest.approx(1, abs=0.08)
    again, _ = sample_shared(denoiser, FEW, image, 20, 3, seed=2, batch_size=1)
    assert torch.equal(again, x_t)
    assert not torch.equal(sample_shared(denoiser, FEW, image, 20, 1, seed=3)[0], x_t)


@pytest.mark.parametrize("timestep", [0, -1, 1001])
def test_timesteps_that_do_not_exist_are_refused(denoiser: Denoiser, timestep: int) -> None:
    with pytest.raises(ConfigError, match=f"timestep: expected 1 to the model's 1000, found {timestep}"):
        sample_shared(denoiser, FEW, picture(), timestep, 1)
    with pytest.raises(ConfigError, match="timestep: expected 1"):
        interpolate(denoiser, FEW, picture(), picture(), timestep, [0.5])


# Interpolation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ancestral", "flow"])
def test_the_ends_of_an_interpolation_are_reconstructions_of_the_pictures(denoiser: Denoiser, kind: str) -> None:
    sampler = Sampler(kind, steps=20)  # type: ignore[arg-type]
    a, b = picture(seed=1), picture(seed=2)
    found = interpolate(denoiser, sampler, a, b, 300, [0, 0.5, 1], seed=5)
    assert found.shape == (3, 3, 8, 8)
    for place, image in ((0, a), (2, b)):
        alone = interpolate(denoiser, sampler, image, image, 300, [0.3], seed=5)[0]
        assert almost_equal(found[place], alone)
    # So little noise leaves the pictures themselves.
    near = interpolate(denoiser, sampler, a, b, 1, [0, 1], seed=5)
    assert float((near[0].float() - a).abs().mean()) < 3
    assert float((near[1].float() - b).abs().mean()) < 3


def test_interpolations_turn_from_one_picture_to_the_other(denoiser: Denoiser) -> None:
    a, b = picture(seed=1), picture(seed=2)
    weights = [0.0, 0.25, 0.5, 0.75, 1.0]
    found = interpolate(denoiser, FEW, a, b, 60, weights, seed=5).float()
    from_a = [float((x - a).square().mean()) for x in found]
    from_b = [float((x - b).square().mean()) for x in found]
    assert from_a == sorted(from_a)
    assert from_b == sorted(from_b, reverse=True)


def test_pictures_of_two_sizes_are_not_mixed(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="the same size, found 8 x 8 and 8 x 12"):
        interpolate(denoiser, FEW, picture(8, 8), picture(12, 8), 10, [0.5])


def test_what_are_not_numbers_is_blamed_on_the_weights() -> None:
    with pytest.raises(CheckpointError, match="returned NaN"):
        checked_pixels(torch.tensor([0.0, float("nan")]))
    assert checked_pixels(torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0])).tolist() == [0, 0, 128, 255, 255]


def test_negative_seeds_are_refused(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="seed"):
        sample_images(denoiser, 1, size=4, steps=1, seed=-1)
