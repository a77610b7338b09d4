"""Networks made elsewhere are called as they expect, and are left as they are."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from diffcodec.config import ExternalNetworkConfig, ModelConfig, PredictionKind, ScheduleConfig
from diffcodec.devices import device_of
from diffcodec.diffusion.betas import full_range_model
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.external import ExternalNetwork, Predictor
from diffcodec.errors import CheckpointError, ConfigError, WrongTypeError

SCHEDULE = ScheduleConfig(steps=100)


def config_of(
    prediction: PredictionKind = "eps", conditioning: Literal["timestep", "log_snr"] = "timestep"
) -> ModelConfig:
    return full_range_model(ExternalNetworkConfig(stride=1, conditioning=conditioning), SCHEDULE, prediction)


def denoiser_of(function: Any, config: ModelConfig | None = None) -> Denoiser:
    config = config or config_of()
    assert isinstance(config.network, ExternalNetworkConfig)
    return Denoiser(config, ExternalNetwork(Predictor.of(function), config.network, 3))


class Recorder(nn.Module):
    """Keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("table", torch.ones(2), persistent=False)
        self.calls: list[tuple[Tensor, Tensor, bool]] = []

    def forward(self, x_t: Tensor, level: Tensor) -> Tensor:
        self.calls.append((x_t, level, self.dropout.training))
        found: Tensor = self.dropout(self.layer(x_t))
        return found

    predict = forward


@pytest.mark.parametrize("t", [1, 2, 50, 100])
def test_timesteps_count_from_zero(t: int) -> None:
    network = Recorder()
    denoiser = denoiser_of(network)
    log_snr = denoiser.schedule.level(t).log_snr
    denoiser.predict_x_0(torch.zeros(2, 3, 4, 4), torch.tensor([log_snr + 1e-4]))
    _, level, _ = network.calls[0]
    assert level.dtype == torch.int64
    assert level.tolist() == [t - 1, t - 1]


def test_log_snrs_are_as_they_are_but_in_the_range_of_the_schedule() -> None:
    network = Recorder()
    denoiser = denoiser_of(network, config_of(conditioning="log_snr"))
    for given in (1.25, -90.0, 90.0):
        denoiser.predict_x_0(torch.zeros(2, 3, 4, 4), torch.tensor([given]))
    levels = [level.tolist() for _, level, _ in network.calls]
    lowest, highest = denoiser.schedule.level(100).log_snr, denoiser.schedule.level(1).log_snr
    assert levels[0] == [1.25, 1.25]
    assert levels[1] == pytest.approx([lowest, lowest], rel=1e-5)
    assert levels[2] == pytest.approx([highest, highest], rel=1e-5)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_perfect_predictor_returns_the_image(prediction: PredictionKind) -> None:
    x_0, eps = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    log_snr = torch.tensor([0.5, -1.0])
    alpha, sigma = alpha_sigma(log_snr)
    answer = {"eps": eps, "x0": x_0, "v": alpha * eps - sigma * x_0}[prediction]
    denoiser = denoiser_of(lambda x_t, log_snr: answer, config_of(prediction, "log_snr"))
    assert torch.allclose(denoiser.predict_x_0(alpha * x_0 + sigma * eps, log_snr), x_0, atol=1e-5)
    assert torch.allclose(denoiser(alpha * x_0 + sigma * eps, log_snr), eps, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_modules_are_evaluated_in_evaluation_mode_and_keep_theirs(training: bool) -> None:
    network = Recorder().train(training)
    network.layer.eval()
    modes = {name: module.training for name, module in network.named_modules()}
    denoiser = denoiser_of(network).eval().requires_grad_(False)
    x_t, log_snr = torch.randn(1, 3, 4, 4), torch.tensor([1.0])
    assert torch.equal(denoiser.predict_x_0(x_t, log_snr), denoiser.predict_x_0(x_t, log_snr))
    assert [mode for *_, mode in network.calls] == [False, False]
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not list(denoiser.parameters())


def test_a_failing_network_keeps_its_mode_and_learns_what_it_was_called_with() -> None:
    class Failing(Recorder):
        def forward(self, x_t: Tensor, level: Tensor) -> Tensor:
            raise KeyError("no such thing")

    network = Failing()
    with pytest.raises(KeyError, match="no such thing") as caught:
        denoiser_of(network).predict_x_0(torch.zeros(1, 3, 4, 4), torch.tensor([1.0]))
    assert network.training
    assert "(1, 3, 4, 4)" in caught.value.__notes__[0]
    assert "stride, 1" in caught.value.__notes__[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_get_their_own_type_of_numbers(dtype: torch.dtype) -> None:
    network = Recorder().to(dtype)
    for conditioning, level_type in (("timestep", torch.int64), ("log_snr", dtype)):
        denoiser = denoiser_of(network, config_of(conditioning=conditioning))  # type: ignore[arg-type]
        assert denoiser.predict_x_0(torch.zeros(1, 3, 4, 4), torch.tensor([1.0])).dtype == torch.float32
        assert network.calls[-1][0].dtype == dtype
        assert network.calls[-1][1].dtype == level_type


def test_states_are_where_the_caller_wants_them() -> None:
    denoiser = denoiser_of(Recorder())
    assert device_of(denoiser) == torch.device("cpu")
    assert device_of(denoiser.to("meta")) == torch.device("meta")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda x, t: x[:, :1], CheckpointError, r"returns \(2, 3, 4, 4\), found \(2, 1, 4, 4\)"),
        (lambda x, t: torch.cat([x, x], 1), CheckpointError, r"found \(2, 6, 4, 4\)"),
        (lambda x, t: x[:, :, 1:], CheckpointError, r"found \(2, 3, 3, 4\)"),
        (lambda x, t: x[:1], CheckpointError, r"found \(1, 3, 4, 4\)"),
        (lambda x, t: (x,), WrongTypeError, "returns a tensor, found a tuple"),
        (lambda x, t: None, WrongTypeError, "returns a tensor, found None"),
    ],
)
def test_answers_of_another_form_are_refused(answer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        denoiser_of(answer).predict_x_0(torch.zeros(2, 3, 4, 4), torch.tensor([1.0]))


def test_weights_are_parameters_and_all_buffers() -> None:
    network = Recorder()
    network.register_buffer("count", torch.tensor(3))
    names = {"layer.weight", "layer.bias", "table", "count"}
    for function in (network, network.predict):
        assert denoiser_of(function).weights().keys() == names
    assert denoiser_of(network).weights()["layer.weight"] is network.layer.weight
    assert denoiser_of(lambda x_t, level: network(x_t, level)).weights() == {}


def test_compiled_modules_have_the_weights_of_the_module() -> None:
    network = Recorder()
    compiled = torch.compile(network)
    assert compiled is not network
    assert denoiser_of(compiled).weights().keys() == denoiser_of(network).weights().keys()


def test_state_that_is_no_tensor_is_refused() -> None:
    class Quantised(Recorder):
        def get_extra_state(self) -> Any:
            return {"scale": 3}

    with pytest.raises(CheckpointError, match="dense tensors, found a dict as _extra_state"):
        denoiser_of(Quantised()).weights()


def test_only_what_can_be_called_is_a_network() -> None:
    with pytest.raises(WrongTypeError, match="expected a module or a function, found a str"):
        Predictor.of("network")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 0}, "stride: expected 1 to 16384, found 0"),
        ({"image_channels": 0}, "image_channels: expected 1 to 64, found 0"),
        ({"conditioning": "sigma"}, "conditioning: expected one of log_snr, timestep, found 'sigma'"),
    ],
)
def test_configurations_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExternalNetworkConfig(**changes)


def test_a_configuration_alone_makes_no_network() -> None:
    with pytest.raises(CheckpointError, match="its file: pass it to DiffusionCodec"):
        Denoiser(config_of())
