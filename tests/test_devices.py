"""Device names and precision."""

from __future__ import annotations

import pytest
import torch

from diffcodec.devices import check_device, full_precision
from diffcodec.errors import ConfigError


def test_unknown_and_absent_devices_are_named() -> None:
    assert check_device("cpu").type == "cpu"
    for name in ("warp", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{name}' cannot be used .*: use the CPU$") as caught:
            check_device(name)
        assert caught.value.parameters == ("device",)


def test_tf32_is_off_inside_and_as_before_outside() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with full_precision(torch.device("cuda")):
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
