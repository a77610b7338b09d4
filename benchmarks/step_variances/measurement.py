"""What the network gets wrong at many noise levels, from independent x_t ~ q(x_t | x_0)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.diffusion.units import to_unit
from step_variances.head import Observer, VarianceHead
from step_variances.transforms import COLOUR_DCT, BlockDct, Floats, change_colours

ACTIVITY_BLOCK = 8


@dataclass(frozen=True)
class Measurement:
    """Errors of the x_0 estimate at the nodes between which steps may lead. Node 0 is pure noise.

    Args:
        log_snr: of the nodes, rising from -inf, (nodes,).
        errors: x_0 - xhat_0, [-1, 1] units, (nodes, N, 3, H, W).
        activity: log energy of the estimate's brightness in every 8 x 8 block, but for its mean;
            (nodes, N, H / 8, W / 8).
        log_variance: what each head says of the errors' coefficients, (nodes, N, 3, H, W), half precision; of node 0
            nothing, NaN.
    """

    log_snr: NDArray[np.float64]
    errors: Floats
    activity: Floats
    log_variance: Mapping[str, Floats]

    @property
    def snr(self) -> NDArray[np.float64]:
        """SNR of the nodes, (nodes,)."""
        return np.exp(self.log_snr)


def node_log_snrs(top: float, *, bottom: float, points: int) -> NDArray[np.float64]:
    """Nodes to the log SNR `top`, four times as dense above -1 nats, below which few bits lie.

    Returns:
        (1 + points,), first -inf.
    """
    share = np.linspace(0, 1, points)
    coarse, fine = max(-1 - bottom, 0.0) / 4, top - max(-1, bottom)
    warped = np.array([0, coarse, coarse + fine]) / (coarse + fine)
    return np.concatenate([[-math.inf], np.interp(share, warped, [bottom, max(-1, bottom), top])])


def measure(
    denoiser: Denoiser,
    images: Tensor,
    log_snr: NDArray[np.float64],
    colour: Tensor,
    heads: Mapping[str, VarianceHead],
    *,
    batch_size: int = 32,
    seed: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Measurement:
    """Ask the network about every image at every node.

    Args:
        denoiser: the network.
        images: (N, 3, H, W), uint8.
        log_snr: of the nodes, rising from -inf.
        colour: the estimate given nothing, (3,), [-1, 1] units.
        heads: by name.
        batch_size: images at a time.
        seed: of the noise.
        progress: called after every node.
    """
    observe, generator = Observer(denoiser), torch.Generator().manual_seed(seed)
    x_0 = to_unit(images)
    errors = np.empty((len(log_snr), *images.shape), np.float32)
    log_variance = {name: np.full(errors.shape, np.nan, np.float16) for name in heads}
    blocks = (images.shape[2] // ACTIVITY_BLOCK, images.shape[3] // ACTIVITY_BLOCK)
    activity = np.zeros((*errors.shape[:2], *blocks), np.float32)
    errors[0] = (x_0 - colour[:, None, None]).numpy()
    for node in range(1, len(log_snr)):
        for start in range(0, len(images), batch_size):
            place = slice(start, start + batch_size)
            levels = torch.full((len(x_0[place]),), float(log_snr[node]))
            alpha, sigma = alpha_sigma(levels)
            noise = torch.randn(x_0[place].shape, generator=generator)
            estimate, features, embedding = observe(alpha * x_0[place] + sigma * noise, levels)
            errors[node, place] = (x_0[place] - estimate).numpy()
            activity[node, place] = block_activity(estimate.numpy())
            for name, head in heads.items():
                with torch.no_grad():
                    log_variance[name][node, place] = head(features, embedding).numpy()
        progress()
    return Measurement(log_snr, errors, activity, log_variance)


def block_activity(estimate: Floats) -> Floats:
    """Log energy of the brightness in every 8 x 8 block but for its mean: (N, 3, H, W) -> (N, H / 8, W / 8)."""
    size = ACTIVITY_BLOCK
    energy = BlockDct(size)(change_colours(COLOUR_DCT, estimate)[:, 0]) ** 2
    energy[:, ::size, ::size] = 0
    count, height, width = energy.shape
    blocks = energy.reshape(count, height // size, size, width // size, size)
    return np.asarray(np.log(blocks.sum(axis=(2, 4)) + 1e-4))


def fine_step_bits(measurement: Measurement) -> float:
    """Bits of a picture at the last node in the limit of fine steps, 1/2 integral of the squared error over the SNR.

    Between nodes the error is interpolated geometrically over the log SNR; before the first it is constant.
    """
    squares = (measurement.errors[1:].astype(np.float64) ** 2).sum((2, 3, 4)).mean(1)
    return bits_under_curve(measurement.log_snr[1:], squares)


def bits_under_curve(nodes: NDArray[np.float64], squares: NDArray[np.float64]) -> float:
    """Bits at the last node in the limit of fine steps, from squared errors summed over the picture at log SNRs."""
    fine = np.linspace(nodes[0], nodes[-1], 20_001)
    curve = np.exp(np.interp(fine, nodes, np.log(squares)))
    area = np.trapezoid(curve, np.exp(fine)) + squares[0] * math.exp(nodes[0])
    return float(area / (2 * math.log(2)))
