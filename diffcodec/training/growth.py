"""A larger network that starts as the same function as a trained smaller one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from diffcodec.config import NetworkConfig, PlainUNetConfig


def can_grow(trained: NetworkConfig, wanted: NetworkConfig) -> bool:
    """Whether `grown_weights` makes a network of the wanted shape of one of the trained shape (experts left aside).

    Both are plain networks with equally many scales, and none of the wanted widths and numbers of blocks is smaller.
    """
    if not (isinstance(trained, PlainUNetConfig) and isinstance(wanted, PlainUNetConfig)):
        return False
    if len(trained.widths) != len(wanted.widths):
        return False
    if replace(trained, widths=wanted.widths, blocks=wanted.blocks, expert_edges=wanted.expert_edges) != wanted:
        return False
    pairs = [*zip(trained.widths, wanted.widths, strict=True), *zip(trained.blocks, wanted.blocks, strict=True)]
    return all(smaller <= larger for smaller, larger in pairs)


def grown_weights(initial: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a wider or deeper plain network with the output of a trained one (as Net2Net, Chen et al. 2016).

    The channels of the trained network do not see the new ones, and blocks that it does not have start as the identity.
    New channels keep their initial weights, so all of them get gradients from the first step on, or the second.

    Args:
        initial: of the network to train, as initialised, by parameter name.
        trained: of the smaller network, under the same names; shapes that fit by `can_grow`.

    Returns:
        By parameter name, in float32.
    """
    grown = {name: value.float().clone() for name, value in initial.items()}
    for name, value in trained.items():
        layers = name.split(".")
        if "modulation" in layers:  # scales, then shifts, of all channels
            for new, old in zip(grown[name].chunk(2), value.chunk(2), strict=True):
                _copy(new, old)
        elif "enlarge" in layers and value.dim() > 1:  # transposed convolutions: inputs come first
            _copy(grown[name].transpose(0, 1), value.transpose(0, 1))
        else:
            _copy(grown[name], value)
    return grown


def _copy(new: Tensor, old: Tensor) -> None:
    """Put the weights (outputs, inputs, ...) or biases (outputs) `old` into `new`; their outputs ignore new inputs."""
    outputs = new[: len(old)]
    outputs.zero_()
    (outputs if old.dim() == 1 else outputs[:, : old.shape[1]]).copy_(old)
