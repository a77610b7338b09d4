"""Reconstructs the signal from the noisy state at which a stream ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffcodec.coding.reconstruction import DEFAULT_STEPS, MIRRORINGS, SHORT_FLOW, Reconstruction
from diffcodec.coding.trajectory import Trajectory
from diffcodec.devices import evaluation_precision
from diffcodec.diffusion.samplers import Sampler
from diffcodec.diffusion.sampling import ReverseProcess, own_noise
from diffcodec.diffusion.windows import check_numbers
from diffcodec.errors import ConfigError

LEAST_FLOW = 0.02
"""Shortest step of `short-flow`, in nats of the log SNR."""


@torch.no_grad()
def reconstruct(reconstruction: Reconstruction, trajectory: Trajectory, names: Sequence[int]) -> Tensor:
    """Estimates of x_0 from the current state of a trajectory, (N, C, H, W).

    Args:
        reconstruction: method.
        trajectory: gives state, level and network.
        names: a number per picture, which keys its noise: the noise does not depend on the rest of the batch, and
            pictures of a folder do not share it.

    Raises:
        ConfigError: if the model has fewer steps than wanted.
        CheckpointError: if the network returns values that are not finite.
    """
    match reconstruction.kind:
        case "mean":
            return trajectory.checked_estimate()
        case "mirrored":
            return _mirrored(trajectory)
        case "short-flow":
            return _short_flow(trajectory)
        case "flow" | "ancestral":
            return _sample(reconstruction, trajectory, names)
        case "auto":
            raise AssertionError("resolved before")


def _mirrored(trajectory: Trajectory) -> Tensor:
    """The mean of the estimates of four mirror images of the state."""
    estimate, log_snr = trajectory.checked_estimate(), trajectory.level.log_snr
    if math.isinf(log_snr):  # pure noise: the model's mean, not an evaluation
        return estimate
    return mean_of_mirrored(lambda x_t: trajectory.estimate_at(x_t, log_snr), trajectory.x_t, estimate)


def mean_of_mirrored(estimate: Callable[[Tensor], Tensor], x_t: Tensor, plain: Tensor) -> Tensor:
    """The mean of the estimates of four mirror images of a state.

    Mirror images of photographs are as likely as they are, but a trained network is not quite symmetric, and a part of
    its error averages out.

    Args:
        estimate: of x_0 from a state.
        x_t: the state, (N, C, H, W).
        plain: the estimate from the state itself, (N, C, H, W).

    Returns:
        (N, C, H, W).
    """
    mirrored = (estimate(x_t.flip(axes)).flip(axes) for axes in MIRRORINGS if axes)
    return torch.stack([plain, *mirrored]).mean(dim=0)


def _short_flow(trajectory: Trajectory) -> Tensor:
    """The mean from a state a little further down the probability flow.

    The state of a file is one of many that its picture could have. A step along the flow takes a part of its noise
    away, and the estimate from there has less of the mottle that the noise leaves in smooth areas. The way ends where
    another network or resolution takes over: its estimate of a state that it did not make has more mottle, not less.
    """
    estimate, level = trajectory.checked_estimate(), trajectory.level
    context, x_t = trajectory.context, trajectory.x_t
    if math.isinf(level.log_snr):  # pure noise: the model's mean, not an evaluation
        return estimate
    end = context.denoiser.same_network_until(x_t.shape, level.log_snr) - LEAST_FLOW
    for distance in SHORT_FLOW:
        further = context.level_near(min(trajectory.level.log_snr + distance, end))
        if further.log_snr < level.log_snr + LEAST_FLOW:
            continue
        eps = (x_t - level.alpha * estimate) / level.sigma
        x_t, level = further.alpha * estimate + further.sigma * eps, further
        estimate = trajectory.estimate_at(x_t, level.log_snr)
    check_numbers(estimate)
    return estimate


def _sample(reconstruction: Reconstruction, trajectory: Trajectory, names: Sequence[int]) -> Tensor:
    """Denoise the state level by level; every intermediate estimate is restricted to valid signals."""
    kind, context = reconstruction.kind, trajectory.context
    assert kind in ("flow", "ancestral")
    process = ReverseProcess(context.denoiser, restrict=context.signal.restrict, evaluated=trajectory.watch.evaluated)
    schedule = context.denoiser.schedule
    steps = min(DEFAULT_STEPS[kind], schedule.steps) if reconstruction.steps is None else reconstruction.steps
    if not 1 <= steps <= schedule.steps:
        raise ConfigError(
            f"reconstruction steps: expected 1 to the model's {schedule.steps}, found {steps}",
            parameters=["reconstruction_steps"],
        )
    sampler = Sampler(kind, steps=steps)
    # A trajectory starts at pure noise; t = T is practically the same, and has a finite log SNR.
    start = max(trajectory.level, schedule.level(schedule.steps), key=lambda level: level.log_snr)
    # Later levels are cleaner: what is accurate enough at the last one is so at all.
    dtype = context.dtype_at(schedule.level(1).log_snr)
    noise = own_noise(reconstruction.seed, names, context.canvas.shape, trajectory.device)
    with trajectory.watch.network(), evaluation_precision(trajectory.device, dtype):
        for state in sampler.states(process, trajectory.x_t, sampler.levels(schedule, start), noise):
            x_0 = state.x_t
    check_numbers(x_0)
    return x_0
