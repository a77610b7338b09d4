"""The network of plain convolutions: shapes, locality, conditioning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffcodec.config import ModelConfig, PlainUNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.plain_unet import PlainUNet
from diffcodec.errors import ConfigError

CONFIG = PlainUNetConfig(widths=(8, 12, 16), blocks=(1, 0, 2), embedding_channels=16)


def randomised(config: PlainUNetConfig = CONFIG) -> PlainUNet:
    torch.manual_seed(0)
    network = PlainUNet(config).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.1)
    return network.requires_grad_(False)


def test_a_new_network_predicts_nothing() -> None:
    assert not PlainUNet(CONFIG)(torch.randn(2, 3, 16, 24), torch.tensor([1.0, 2.0])).any()


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 3, 16, 24), (1, 3, 36, 20)])
def test_the_output_has_the_shape_of_the_input(shape: tuple[int, ...]) -> None:
    network = randomised()
    one = network(torch.randn(shape), torch.tensor([3.0]))
    assert one.shape == shape
    assert PlainUNet(CONFIG, 6)(torch.randn(shape), torch.tensor([3.0])).shape == (shape[0], 6, *shape[2:])


def test_every_image_is_evaluated_at_its_own_level() -> None:
    network, x = randomised(), torch.randn(2, 3, 16, 16)
    together = network(x, torch.tensor([-2.0, 6.0]))
    for image, level, expected in zip(x, (-2.0, 6.0), together, strict=True):
        assert torch.allclose(network(image[None], torch.tensor([level]))[0], expected, atol=1e-5)
    assert not torch.allclose(network(x, torch.tensor([-2.0]))[1], together[1], atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [CONFIG, PlainUNetConfig(widths=(8,), blocks=(2,)), PlainUNetConfig(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1))],
    ids=["three", "one", "four"],
)
def test_nothing_beyond_the_receptive_radius_matters(config: PlainUNetConfig) -> None:
    network, radius = randomised(config), config.receptive_radius
    side = 2 * radius + 2 * config.stride
    x = torch.randn(1, 3, side, config.stride)
    middle = radius + config.stride // 2

    def reach(changed: Tensor) -> set[int]:
        difference = (network(changed, torch.tensor([1.0])) - network(x, torch.tensor([1.0]))).abs().amax(dim=(0, 1, 3))
        return set(difference.nonzero()[:, 0].tolist())

    changed = x.clone()
    changed[:, :, middle] += 1
    touched = reach(changed)
    assert touched, "the change is seen somewhere"
    assert max(abs(row - middle) for row in touched) <= radius
    assert radius % config.stride == 0


def test_a_configuration_survives_json() -> None:
    model = ModelConfig(CONFIG, prediction="v", half_resolution_below=-1.0)
    assert ModelConfig.from_dict(model.to_dict()) == model
    assert Denoiser(model).network.config == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": ()}, "widths: expected 1 to 8 integers"),
        ({"blocks": (1,)}, "blocks: expected 3 integers"),
        ({"kind": "fancy"}, "kind: expected one of plain, external, found 'fancy'"),
        ({"channels": 8}, "unknown key 'channels'"),
    ],
)
def test_configurations_that_do_not_fit_are_errors(change: dict[str, object], message: str) -> None:
    data = {"network": CONFIG.to_dict() | change}
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(data)


# ------------------------------------------------------------------------------- evaluation without gradients


@torch.no_grad()
def evaluated(network: PlainUNet, x: Tensor, log_snr: float, dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        result: Tensor = network(x, torch.tensor([log_snr]))
        return result.float()


def trained(network: PlainUNet, x: Tensor, log_snr: float) -> Tensor:
    """The same as computed in training."""
    with torch.enable_grad():
        result: Tensor = network(x, torch.tensor([log_snr]))
        return result.detach()


@given(st.lists(st.integers(1, 3).map(lambda k: 4 * k), min_size=1, max_size=3), st.data())
@settings(max_examples=20)
def test_inference_computes_what_was_trained(widths: list[int], data: st.DataObject) -> None:
    blocks = data.draw(st.lists(st.integers(0, 2), min_size=len(widths), max_size=len(widths)))
    network = randomised(PlainUNetConfig(widths=tuple(widths), blocks=tuple(blocks), embedding_channels=8))
    x, log_snr = torch.randn(2, 3, 16, 8), data.draw(st.floats(-10, 10))
    assert torch.allclose(evaluated(network, x, log_snr), trained(network, x, log_snr), atol=1e-5)


def test_half_precision_rounds_a_little() -> None:
    network, x = randomised(), torch.randn(1, 3, 32, 32)
    exact = trained(network, x, 1.0)
    error = float((evaluated(network, x, 1.0, torch.bfloat16) - exact).std() / exact.std())
    assert 1e-4 < error < 2e-2


def test_inference_leaves_its_input_alone_and_follows_new_weights() -> None:
    network, x = randomised(), torch.randn(1, 3, 16, 16)
    before = x.clone()
    first = evaluated(network, x, 1.0)
    assert torch.equal(x, before)
    assert torch.equal(evaluated(network, x, 1.0), first)
    other = randomised()
    for parameter in other.parameters():
        parameter.mul_(1.1)
    network.load_state_dict(other.state_dict())
    assert torch.equal(evaluated(network, x, 1.0), evaluated(other, x, 1.0))
    assert not torch.allclose(evaluated(network, x, 1.0), first, atol=1e-3)
