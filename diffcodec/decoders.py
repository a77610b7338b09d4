"""From the noisy state at which a stream ends to pictures: docs/sampling.md compares the ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from diffcodec.devices import full_precision
from diffcodec.diffusion.samplers import Sampler
from diffcodec.diffusion.sampling import ReverseProcess, own_noise
from diffcodec.diffusion.windows import check_numbers
from diffcodec.errors import ConfigError
from diffcodec.walk import Walk

DecoderKind = Literal["mean", "flow", "ancestral"]

# With 100 of 1000 steps ancestral pictures are still too smooth, those of flow are not: benchmarks/decoders.py.
_DEFAULT_STEPS: dict[DecoderKind, int] = {"flow": 100, "ancestral": 250}


@dataclass(frozen=True)
class Decoder:
    """How the receiver makes pictures of x_t.

    Args:
        kind: `mean` is the network's x_0 estimate, which has the least error; `flow` follows the probability flow down
            to the image; `ancestral` draws a sample of p(x_0 | x_t).
        steps: noise levels from pure noise to t = 1, of which those below x_t's are taken; by default 100 for flow and
            250 for ancestral.
        seed: of `ancestral`, from 0 on.

    Raises:
        ConfigError: if a value makes no sense.
    """

    kind: DecoderKind = "mean"
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(DecoderKind):
            raise ConfigError(f"decoder: expected one of {', '.join(get_args(DecoderKind))}, found {self.kind!r}")
        if self.kind == "mean" and self.steps is not None:
            raise ConfigError("decoder steps: the decoder mean takes none; choose flow or ancestral")
        for name, value in (("steps", self.steps or 0), ("seed", self.seed)):
            try:
                index(value)
            except TypeError as error:
                raise ConfigError(f"decoder {name}: expected an integer, found {value!r}") from error
        if self.seed < 0:
            raise ConfigError(f"decoder seed: expected at least 0, found {self.seed}")

    @classmethod
    def of(cls, decoder: Decoder | DecoderKind) -> Decoder:
        """The decoder itself, or that of a name with its default steps and seed."""
        return decoder if isinstance(decoder, cls) else cls(cast(DecoderKind, decoder))

    @torch.no_grad()
    def restore(self, walk: Walk, names: Sequence[int]) -> Tensor:
        """Pictures on their canvases, (N, 3, H, W), from the present state of a walk.

        What is known of the pictures is put into every estimate on the way.

        Args:
            walk: its state.
            names: for every picture, a number that tells it from others, and its noise from theirs; so the noise
                depends neither on a picture's company nor is it the same for a whole folder.

        Raises:
            ConfigError: if the model has not that many steps.
            CheckpointError: if the network returns what are not numbers.
        """
        if self.kind == "mean":
            return walk.estimate()
        process = ReverseProcess(walk.denoiser, restrict=walk.plane.with_what_is_known)
        schedule = walk.denoiser.schedule
        steps = min(_DEFAULT_STEPS[self.kind], schedule.steps) if self.steps is None else self.steps
        sampler = Sampler(self.kind, steps=steps)
        # A walk starts at pure noise; t = T is as good as that, and has a finite log SNR.
        start = max(walk.level, schedule.level(schedule.steps), key=lambda level: level.log_snr)
        noise = own_noise(self.seed, names, walk.plane.canvas_shape, walk.device)
        with walk.watch.network(), full_precision(walk.device):
            for state in sampler.walk(process, walk.x_t, sampler.levels(schedule, start), noise):
                picture = state.x_t
        check_numbers(picture)
        return picture
