"""Names of devices, checked before anything is loaded onto them."""

from __future__ import annotations

import torch

from diffcodec.errors import ConfigError


def check_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: if torch does not know it or it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}): try --device cpu") from error
    return device
