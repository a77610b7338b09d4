"""Codecs of networks in memory: their files, and the fingerprints that keep other networks away from these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcodec.calibration.calibrate import calibrate
from diffcodec.codec import DiffusionCodec
from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError, ModelMismatchError, WrongTypeError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.tables import CodecTables
from tests.conftest import make_tiny_checkpoint, smooth_pixels

BETAS = np.linspace(1e-4, 0.02, 1000)
PIXELS = smooth_pixels(9, 7)


def white(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """The noise, if all pixels were independent, of unit variance."""
    return x_t * torch.sigmoid(-log_snr).sqrt()[:, None, None, None]


def codec_of_function(function: Any = white, name: str = "white", **options: Any) -> DiffusionCodec:
    return DiffusionCodec.from_noise_predictor(
        function, BETAS, conditioning="log_snr", stride=options.pop("stride", 2), name=name, **options
    )


class Network(nn.Module):
    """A little of everything that a state can hold."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(1.0), persistent=False)
        self.scale: Tensor

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.int64
        found: Tensor = self.dropout(self.norm(self.layer(x_t))) * self.scale
        return found


def codec_of(network: nn.Module, **options: Any) -> DiffusionCodec:
    return DiffusionCodec.from_noise_predictor(network, BETAS, **{"stride": 1, **options})


@pytest.mark.parametrize("timestep", [400, 30, 1])
def test_functions_compress_what_they_restore(timestep: int) -> None:
    stream = codec_of_function().compress(PIXELS, timestep=timestep)
    restored = codec_of_function().decompress(stream)  # in another codec of the same function
    rmse = np.sqrt(np.mean((restored.pixels.astype(float) - PIXELS) ** 2))
    assert rmse == pytest.approx(stream.report.rmse)
    assert rmse < {400: 90, 30: 20, 1: 4}[timestep]


def test_modules_compress_what_they_restore_while_they_are_trained() -> None:
    network = Network().train()
    codec = codec_of(network)
    assert not codec.is_calibrated
    stream = codec.compress(PIXELS, timestep=20)
    assert np.array_equal(codec.decompress(stream).pixels, codec_of(Network().eval()).decompress(stream).pixels)
    assert network.training


@pytest.mark.parametrize("prediction", ["eps", "x_0", "v"])
def test_predictions_of_the_same_image_make_the_same_file(prediction: Any) -> None:
    def answer(x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = (torch.sigmoid(sign * log_snr).sqrt()[:, None, None, None] for sign in (1, -1))
        x_0, eps = alpha * x_t, sigma * x_t
        return {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0}[prediction]

    expected = codec_of_function().compress(PIXELS, timestep=50).report
    found = codec_of_function(answer, prediction=prediction).compress(PIXELS, timestep=50).report
    assert found.file_bytes == pytest.approx(expected.file_bytes, abs=2)
    assert found.psnr_db == pytest.approx(expected.psnr_db, abs=0.01)


@pytest.mark.parametrize("schedule", [BETAS, list(BETAS), torch.from_numpy(BETAS)], ids=["array", "list", "tensor"])
def test_betas_are_arrays_lists_or_tensors(schedule: Any) -> None:
    codec = DiffusionCodec.from_noise_predictor(white, schedule, name="white", conditioning="log_snr", stride=2)
    assert codec.fingerprint == codec_of_function().fingerprint
    assert len(codec.tables.timesteps) == 1000


def test_sides_are_multiples_of_the_stride() -> None:
    seen = []

    def network(x_t: Tensor, log_snr: Tensor) -> Tensor:
        seen.append(tuple(x_t.shape))
        return white(x_t, log_snr)

    codec_of_function(network, stride=4).compress_batch([PIXELS, PIXELS], timestep=500)
    assert set(seen) == {(2, 3, 12, 8)}
    assert DiffusionCodec.from_noise_predictor(white, BETAS, name="a").canvas_for(Picture(PIXELS)).stride == 8


# --------------------------------------------------------------------------------------------- fingerprints


def test_any_change_of_a_module_s_state_is_another_model() -> None:
    stream = codec_of(Network()).compress(PIXELS, timestep=300)
    assert codec_of(Network()).decompress(stream).timestep == pytest.approx(300, abs=0.01)
    for name in ("layer.weight", "layer.bias", "norm.running_mean", "norm.num_batches_tracked", "scale"):
        other = Network()
        tensors = {**dict(other.named_parameters()), **dict(other.named_buffers())}
        with torch.no_grad():
            tensors[name].add_(1)
        with pytest.raises(ModelMismatchError):
            codec_of(other).decompress(stream)
    with pytest.raises(ModelMismatchError):
        codec_of(Network().double()).decompress(stream)


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"prediction": "v"}, {"conditioning": "log_snr"}, {"name": "other"}], ids=str
)
def test_any_change_of_the_options_is_another_model(options: dict[str, Any]) -> None:
    assert codec_of(Network(), **options).fingerprint != codec_of(Network()).fingerprint
    other = DiffusionCodec.from_noise_predictor(Network(), BETAS * 0.9, stride=1)
    assert other.fingerprint != codec_of(Network()).fingerprint


def test_fingerprints_do_not_change_from_release_to_release() -> None:
    """Or files would be lost: only fields with defaults may be added to configurations. Default tables count, too."""
    network = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.fill_(0.5)
        network.bias.fill_(0.25)  # type: ignore[union-attr]
    found = DiffusionCodec.from_noise_predictor(network, ScheduleConfig(kind="cosine"), stride=4, name="fixed")
    assert found.fingerprint.hex() == "ee3a925e"


def test_functions_are_told_apart_by_their_names() -> None:
    stream = codec_of_function(name="a").compress(PIXELS, timestep=300)
    with pytest.raises(ModelMismatchError):
        codec_of_function(name="b").decompress(stream)
    with pytest.raises(ConfigError, match=r"name: expected one for a function.*same function under the same") as no:
        codec_of_function(name="")
    assert no.value.parameters == ("name",)


def test_a_codec_of_weights_that_have_changed_refuses_to_go_on() -> None:
    network = Network()
    codec = codec_of(network)
    stream = codec.compress(PIXELS, timestep=300)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)).square().sum().backward()
    optimizer.step()
    uses: list[Callable[[], object]] = [
        lambda: codec.compress(PIXELS),
        lambda: codec.decompress(stream),
        lambda: codec.progressive(stream),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match="weights have changed since this codec was made"):
            use()
    again = codec_of(network)
    assert again.fingerprint != codec.fingerprint
    assert DiffusionCodec(codec.checkpoint).fingerprint == again.fingerprint
    with pytest.raises(ModelMismatchError):
        again.decompress(stream)


def test_a_codec_whose_network_is_replaced_refuses_to_go_on(tiny_checkpoint: Checkpoint) -> None:
    codec = DiffusionCodec(tiny_checkpoint)
    codec.denoiser = make_tiny_checkpoint(1).denoiser()
    with pytest.raises(ConfigError, match="weights have changed"):
        codec.compress(PIXELS)
    codec = DiffusionCodec(tiny_checkpoint)
    codec.denoiser.load_state_dict(make_tiny_checkpoint(1).denoiser().state_dict())
    with pytest.raises(ConfigError, match="weights have changed"):
        codec.compress(PIXELS)


def test_files_of_another_denoiser_have_its_fingerprint(codec: DiffusionCodec, tiny_checkpoint: Checkpoint) -> None:
    """Or else the checkpoint's own network would decode them to a wrong picture."""
    denoiser = make_tiny_checkpoint(1).denoiser()
    other = DiffusionCodec(tiny_checkpoint, denoiser=denoiser)
    stream = other.compress(PIXELS, timestep=100)
    assert np.array_equal(other.decompress(stream).pixels, other.decompress(stream.data).pixels)
    with pytest.raises(ModelMismatchError):
        codec.decompress(stream)
    with pytest.raises(ModelMismatchError):
        other.decompress(codec.compress(PIXELS, timestep=100))
    stored = replace(tiny_checkpoint, weights={name: value.clone() for name, value in denoiser.state_dict().items()})
    assert DiffusionCodec(stored).fingerprint == other.fingerprint == other.checkpoint.fingerprint


def test_the_checkpoint_s_own_weights_keep_its_fingerprint(tiny_checkpoint: Checkpoint) -> None:
    for denoiser in (tiny_checkpoint.denoiser(), tiny_checkpoint.denoiser().double()):
        assert DiffusionCodec(tiny_checkpoint, denoiser=denoiser).fingerprint == tiny_checkpoint.fingerprint


def test_a_denoiser_of_another_configuration_is_refused(tiny_checkpoint: Checkpoint) -> None:
    other = Denoiser(replace(tiny_checkpoint.config, prediction="eps"))
    with pytest.raises(ConfigError, match="denoiser: expected a network of the configuration of tiny-v0"):
        DiffusionCodec(tiny_checkpoint, denoiser=other)


# --------------------------------------------------------------------------------- channels and calibration


@pytest.mark.parametrize("channels", [3, 1])
def test_networks_are_calibrated_and_their_tables_kept(channels: int) -> None:
    images = np.stack([smooth_pixels(8, 8, seed)[..., :channels] for seed in range(4)]).transpose(0, 3, 1, 2)
    codec = codec_of_function(image_channels=channels)
    calibrated = calibrate(codec.checkpoint, torch.from_numpy(images.copy()), points=8, length_pictures=1, effort=8)
    assert calibrated.tables is not None
    tables = CodecTables.from_dict(json.loads(json.dumps(calibrated.tables.to_dict())))
    again = codec_of_function(image_channels=channels, tables=tables)
    assert again.is_calibrated
    assert again.fingerprint == DiffusionCodec(calibrated).fingerprint != codec.fingerprint
    picture = PIXELS[..., :channels]
    stream = again.compress(picture, timestep=20)
    assert stream.report.file_bytes < codec.compress(picture, timestep=20).report.file_bytes
    exact = again.compress(picture, timestep=0, may_store=False)
    assert np.array_equal(DiffusionCodec(calibrated).decompress(exact).pixels, np.squeeze(picture))
    with pytest.raises(CheckpointError, match="white: its network is an object in memory"):
        calibrated.to_bytes()


def test_networks_with_one_channel_are_for_grey_pictures() -> None:
    seen = []

    def network(x_t: Tensor, log_snr: Tensor) -> Tensor:
        seen.append(x_t.shape[1])
        return white(x_t, log_snr)

    codec = codec_of_function(network, image_channels=1)
    grey = PIXELS[..., 1]
    for timestep in (300, 20):
        stream = codec.compress(grey, timestep=timestep)
        restored = codec.decompress(stream)
        assert restored.picture.mode == "L"
        rmse = np.sqrt(np.mean((restored.pixels.astype(float) - grey) ** 2))
        assert rmse == pytest.approx(stream.report.rmse)
        assert restored.to_tensor().shape == (1, 9, 7)
    assert set(seen) == {1}
    with pytest.raises(ConfigError, match="white is for grey pictures, found one in RGB"):
        codec.compress(PIXELS)
    with pytest.raises(ConfigError, match="white is for grey pictures, found one in RGB"):
        codec.canvas_for(Picture(PIXELS))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prediction": "x0"}, ConfigError, "prediction: expected one of eps, x_0, v, found 'x0'"),
        ({"conditioning": "sigma"}, ConfigError, "conditioning: expected one of log_snr, timestep"),
        ({"stride": 0}, ConfigError, "stride: expected 1 to"),
        ({"stride": 2.0}, WrongTypeError, "stride: expected int, found a float"),
        ({"name": 3}, WrongTypeError, "name: expected str, found an int"),
        ({"tables": {}}, WrongTypeError, "tables: expected CodecTables, found a dict"),
        ({"image_channels": 4}, CheckpointError, "Network: expected a model with 3 .* or 1 .*, found 4"),
        ({"precision": "fp8"}, ConfigError, "precision: expected one of"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        codec_of(Network(), **options)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("linear", "schedule: expected a ScheduleConfig or betas, found a str"),
        (None, "schedule: expected"),
        (0.1, r"schedule: expected betas \(T,\), found \(\)"),
        (np.zeros((2, 2)), r"schedule: expected betas \(T,\), found \(2, 2\)"),
        ([0.1, 2.0], "betas: expected numbers between 1e-30 and 1, found 2.0"),
        ([0.1, float("nan")], "betas: expected numbers"),
        ([], "steps: expected an integer from 1 to 4095, found 0"),
    ],
)
def test_schedules_that_make_no_sense_are_named(schedule: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionCodec.from_noise_predictor(Network(), schedule)
    with pytest.raises(WrongTypeError, match="expected a module or a function, found None"):
        DiffusionCodec.from_noise_predictor(None, BETAS)  # type: ignore[arg-type]
