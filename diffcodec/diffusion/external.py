"""Networks that are made elsewhere: any module or function that predicts noise, images or v."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from diffcodec.config import ExternalNetworkConfig
from diffcodec.errors import CheckpointError, WrongTypeError, kind_of

COMPILED = "_orig_mod."
"""What `torch.compile` puts into the names of a module's weights."""

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that a network computes with."""

Function = Callable[[Tensor, Tensor], Tensor]
"""From x_t, (B, C, H, W), and the noise level of every image, (B,), to the prediction, (B, C, H, W)."""


@dataclass(frozen=True)
class Predictor:
    """A function, and the module whose weights it uses.

    Args:
        function: evaluates the network.
        module: None if it is not known.
    """

    function: Function
    module: nn.Module | None

    @classmethod
    def of(cls, function: Any) -> Predictor:
        """The predictor that a callable is: modules, and methods of modules, have known weights.

        Raises:
            WrongTypeError: if it cannot be called.
        """
        if not callable(function):
            raise WrongTypeError(f"expected a module or a function, found {kind_of(function)}")
        owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
        return cls(function, owner if isinstance(owner, nn.Module) else None)

    @property
    def place(self) -> Tensor | None:
        """A weight that has the device and the type of numbers which the module takes; None if it has no weights."""
        if self.module is None:
            return None
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next((each for each in tensors if each.dtype in NUMBERS), None)


class ExternalNetwork(nn.Module):
    """A predictor in the place of one of our networks.

    The predictor's module is no part of this one: moving this one, or putting it in another mode, leaves it alone.

    Args:
        predictor: the network.
        config: the form of its inputs.
        out_channels: channels of its output.
    """

    home: Tensor

    def __init__(self, predictor: Predictor, config: ExternalNetworkConfig, out_channels: int) -> None:
        super().__init__()
        self.config, self.out_channels = config, out_channels
        self._predictor = (predictor,)
        self.register_buffer("home", torch.empty(0), persistent=False)  # on the device of the states

    @property
    def predictor(self) -> Predictor:
        """The network."""
        return self._predictor[0]

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the module, also those that its state dict leaves out.

        Raises:
            CheckpointError: if its state has other parts, such as those of quantised layers.
        """
        module = self.predictor.module
        if module is None:
            return {}
        state: dict[str, Any] = {**dict(module.named_buffers()), **module.state_dict(keep_vars=True)}
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
                raise CheckpointError(f"the network's state: expected dense tensors, found {kind_of(value)} as {name}")
        return {name.replace(COMPILED, ""): value for name, value in state.items()}

    def forward(self, x_t: Tensor, condition: Tensor) -> Tensor:
        """The prediction.

        Args:
            x_t: (B, C, H, W).
            condition: (B,) or (1,), log SNR or timestep from 0, as configured.

        Returns:
            (B, out_channels, H, W), on the device of x_t.

        Raises:
            WrongTypeError, CheckpointError: if the network does not return a tensor of this shape.
        """
        predictor, place = self.predictor, self.predictor.place
        device, dtype = (x_t.device, x_t.dtype) if place is None else (place.device, place.dtype)
        # Levels of networks with timesteps are timesteps, up to rounding.
        level = condition.round().long() if self.config.conditioning == "timestep" else condition.to(dtype)
        inputs = x_t.to(device, dtype), level.to(device).expand(len(x_t)).clone()
        with nullcontext() if predictor.module is None else _evaluation_mode(predictor.module):
            try:
                found = predictor.function(*inputs)
            except Exception as error:
                error.add_note(
                    f"diffcodec called the network with x_t {tuple(x_t.shape)} and {self.config.conditioning} (B,); "
                    f"height and width are multiples of the stride, {self.config.stride}"
                )
                raise
        if not isinstance(found, Tensor):
            raise WrongTypeError(f"expected a network that returns a tensor, found {kind_of(found)}")
        expected = (len(x_t), self.out_channels, *x_t.shape[2:])
        if tuple(found.shape) != expected:
            raise CheckpointError(f"expected a network that returns {expected}, found {tuple(found.shape)}")
        return found.to(x_t.device)


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation mode; its owner may be training it."""
    training = [each for each in module.modules() if each.training]
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True
