"""Measures a model and makes its integer tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffcodec.bitstream.lengths import DEFAULT_WEIGHTS, fit_weights
from diffcodec.calibration.error_curve import make_variances, measure_error_curve
from diffcodec.calibration.evaluation_profile import measure_profile
from diffcodec.calibration.level_lists import END_WEIGHTS, STEPS, list_lengths, make_level, make_level_lists
from diffcodec.calibration.lossless_fit import FIT_TIMESTEPS, fit_lossless
from diffcodec.calibration.samples import Samples
from diffcodec.channel import TrellisChannel
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder, last
from diffcodec.coding.matching import check_channels
from diffcodec.coding.report import Stopwatch
from diffcodec.coding.step_coding import OutgoingPayload
from diffcodec.devices import device_of
from diffcodec.errors import ConfigError
from diffcodec.images import Picture, as_picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.latent import LatentModel
from diffcodec.model.tables import CodecTables

Model = TypeVar("Model", bound=Checkpoint)

PHOTO_END_WEIGHTS = {1: 0.3, 5: 0.3, 20: 1.0, 50: 1.0, 100: 1.0, 200: 0.6, 400: 0.3}
"""END_WEIGHTS for photographs, which are rarely stored losslessly."""

FIT_PICTURES = 400
"""Number of pictures to which the lossless model is fitted."""

PROFILE_PIXELS = 1 << 17
"""Number of pixels on which the evaluation profile is measured."""

LENGTH_TIMESTEPS = (1, 50, 150, 300)
"""End timesteps of the files to whose step lengths the code is fitted."""


@dataclass(frozen=True)
class Plan:
    """Planning parameters for a kind of pictures.

    Args:
        steps: number of levels of the default list.
        weights: timesteps at which files may end, and the weight of their length.
        longest_step: largest increase of the log SNR in a step, in nats. The tiles of a large picture differ, and the
            table's variances are averages: atypical tiles waste bits in large steps.
        tile_side: see `CodecTables`.
        unsent_share: see `Variances`. Photographs gain by it, as the weakest coefficients hold no detail that is worth
            its bits; small pictures have no such coefficients, and lose.
    """

    steps: int
    weights: Mapping[int, float]
    longest_step: float = math.inf
    tile_side: int = 0
    unsent_share: int = 0


PLAN = Plan(16, END_WEIGHTS)
LATENT_PLAN = Plan(24, PHOTO_END_WEIGHTS)
PHOTO_PLAN = Plan(16, PHOTO_END_WEIGHTS, longest_step=1.5, tile_side=512, unsent_share=26)


def calibrate(
    checkpoint: Model,
    images: Tensor,
    *,
    default_steps: int | None = None,
    points: int = 96,
    length_pictures: int = 48,
    effort: int = 12,
    device: str | torch.device = "cpu",
    progress: Callable[[str], None] = lambda stage: None,
) -> Model:
    """The model with tables measured on images.

    Args:
        checkpoint: the model; existing tables are replaced.
        images: (N, 3, H, W), or (N, 1, H, W) for a network with one channel, uint8: pictures like those to be
            compressed, but not those of a benchmark. Sides are multiples of the model's stride in pixels.
        default_steps: number of levels of the default list, one of STEPS; by default that of `PLAN`, or of
            `PHOTO_PLAN` for a model with lower resolutions, or of `LATENT_PLAN`.
        points: number of points of the error curve, see `measure_error_curve`.
        length_pictures: number of pictures to compress for fitting the code of step lengths.
        effort: of the trellis for which the lists are planned.
        device: where the network runs.
        progress: called with the name of each stage.

    Raises:
        ConfigError: if there are no images, they do not fit the network, or there is no list of default_steps.
        CheckpointError: if the model is for neither colour nor grey pictures.
    """
    check_channels(checkpoint.config, checkpoint.card.name)
    if len(images) == 0:
        raise ConfigError("calibration needs pictures")
    config = checkpoint.config
    channels = 3 if config.latent else config.network.image_channels
    if images.ndim != 4 or images.shape[1] != channels or images.dtype != torch.uint8:
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ConfigError(f"images: expected torch.uint8 (N, {channels}, H, W), found {found}")
    stride = config.network.stride * (config.latent.downscale if config.latent else 1)
    if any(side % stride for side in images.shape[2:]):
        raise ConfigError(f"size: expected a multiple of {stride}, found {' x '.join(map(str, images.shape[2:]))}")
    plan = LATENT_PLAN if config.latent else PLAN if config.half_resolution_below is None else PHOTO_PLAN
    default_steps = plan.steps if default_steps is None else default_steps
    if default_steps not in STEPS:
        raise ConfigError(f"steps: expected one of {', '.join(map(str, STEPS))}, found {default_steps}")
    denoiser = checkpoint.denoiser(device)
    schedule = denoiser.schedule
    between = checkpoint.config.network.conditioning == "log_snr"
    lengths_of_lists = list_lengths(schedule, between=between)
    if default_steps not in lengths_of_lists:
        known = ", ".join(map(str, lengths_of_lists))
        raise ConfigError(f"steps: the model's schedule allows lists of {known} levels, found {default_steps}")
    progress("error curve")
    if isinstance(checkpoint, LatentModel):
        samples = Samples.of_latents(images, checkpoint.autoencoder(device_of(denoiser)), config)
    else:
        samples = Samples.of_pixels(images)
    curve = measure_error_curve(denoiser, samples, points=points)
    progress("level lists")
    lists = make_level_lists(
        curve,
        schedule,
        between=between,
        effort=effort,
        weights=plan.weights,
        longest_step=plan.longest_step,
        pixels_per_point=config.latent.downscale if config.latent else 1,
    )
    if default_steps not in {len(levels.levels) for levels in lists}:
        known = ", ".join(str(len(levels.levels)) for levels in lists if levels.max_pixels == 0)
        raise ConfigError(f"steps: the model allows lists of {known} levels, found {default_steps}")
    timesteps = tuple(make_level(float(value)) for value in schedule.log_snr[1:])
    lossless = None
    if config.latent is None:
        progress("lossless model")
        fit_timesteps = [t for t in FIT_TIMESTEPS if t <= schedule.steps]
        lossless = fit_lossless(denoiser, images[:FIT_PICTURES], timesteps=fit_timesteps)
    tables = CodecTables(
        timesteps,
        lists,
        DEFAULT_WEIGHTS,
        None if config.latent else samples.start,
        lossless,
        replace(make_variances(curve), unsent_share=plan.unsent_share),
        default_steps,
        plan.tile_side,
        samples.start if config.latent else (),
    )
    progress("evaluation profile")
    pictures_needed = max(1, PROFILE_PIXELS // math.prod(samples.x_0.shape[2:]))
    measured = replace(checkpoint, profile=measure_profile(denoiser, samples.x_0[:pictures_needed]))
    progress("step lengths")
    codec = DiffusionCodec(measured.with_tables(tables), denoiser=denoiser, precision="fp32")
    pictures = [as_picture(image) for image in images[:length_pictures]]
    channel = TrellisChannel(effort)
    # With few steps and with many, because lengths vary more with few.
    counts = [
        payload.lengths.counts
        for steps in (8, default_steps, 32)
        if steps in {len(levels.levels) for levels in lists}
        for timestep in LENGTH_TIMESTEPS
        if timestep <= schedule.steps
        for payload in _sent(codec, pictures, timestep, channel, steps)
    ]
    return measured.with_tables(replace(tables, length_weights=fit_weights(np.sum(counts, axis=0))))


def _sent(
    codec: DiffusionCodec, pictures: Sequence[Picture], timestep: int, channel: TrellisChannel, steps: int
) -> list[OutgoingPayload]:
    """Payloads of pictures, sent down to a timestep."""
    level_list = codec.tables.list_for(pictures[0].width * pictures[0].height, steps)
    encoder = Encoder(codec.context_for(pictures[0], channel, level_list=level_list), Stopwatch())
    return last(encoder.send(pictures, codec.tables.level(timestep))).payloads
