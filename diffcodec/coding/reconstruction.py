"""How pictures are made of the noisy state at which a stream ends: kinds and options. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import index
from typing import Literal, cast, get_args

from diffcodec.errors import ConfigError

ReconstructionKind = Literal["auto", "mean", "mirrored", "short-flow", "flow", "ancestral"]

RECONSTRUCTIONS: tuple[ReconstructionKind, ...] = get_args(ReconstructionKind)
"""All kinds; docs/sampling.md compares them. `coding.restoring` implements each."""

MIRRORINGS = ((), (2,), (3,), (2, 3))
"""Axes of (N, C, H, W) along which `mirrored` mirrors the state, one evaluation for each."""

MIRRORED_FROM_STEPS = 32
"""Shortest level list for which `auto` is `mirrored` instead of `mean`, if calibration measured a gain."""

SHORT_FLOW = (0.375, 0.75)
"""Log SNRs beyond the state's, in nats, to which `short-flow` follows the flow; benchmarks/short_flow.py."""

SHORT_FLOW_BELOW = 3.0
"""Log SNR of states below which `auto` takes `short-flow` for photographs; above, `mean` looks as good."""

# With 100 of 1000 steps ancestral pictures are still too smooth, flow pictures are not: benchmarks/decoders.py.
DEFAULT_STEPS: dict[ReconstructionKind, int] = {"flow": 100, "ancestral": 250}


@dataclass(frozen=True)
class Reconstruction:
    """How the decoder makes pictures from x_t.

    Args:
        kind: `auto` is what suits model and rate: for models of pixels `short-flow` for coarse files, `mirrored` for
            fine ones of many steps if the model gains by it, else `mean`; for latent models, whose mean looks washed
            out, `flow`. `mean` is the network's x_0 estimate, which has the least error of one evaluation; `mirrored`
            averages the estimates of four mirror images, which errs a little less; `flow` follows the probability flow
            down to the image, and `short-flow` only a little way down, from where it takes the mean: as little error,
            and a cleaner look; `ancestral` draws a sample of p(x_0 | x_t).
        steps: noise levels from pure noise to t = 1, of which those below x_t's are visited; by default 100 for flow
            and 250 for ancestral.
        seed: of `ancestral`, at least 0.

    Raises:
        ConfigError: if a value is invalid.
    """

    kind: ReconstructionKind = "auto"
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in RECONSTRUCTIONS:
            raise ConfigError(f"reconstruction: expected one of {', '.join(RECONSTRUCTIONS)}, found {self.kind!r}")
        if self.kind not in DEFAULT_STEPS and self.steps is not None:
            raise ConfigError(
                f"the reconstruction `{self.kind}` takes no steps: choose flow or ancestral, or leave them out",
                parameters=["reconstruction", "reconstruction_steps"],
            )
        for name, value in (("steps", self.steps or 0), ("seed", self.seed)):
            try:
                index(value)
            except TypeError as error:
                raise ConfigError(
                    f"reconstruction {name}: expected an integer, found {value!r}",
                    parameters=[f"reconstruction_{name}"],
                ) from error
        if self.seed < 0:
            raise ConfigError(
                f"reconstruction seed: expected at least 0, found {self.seed}", parameters=["reconstruction_seed"]
            )
        if self.seed and self.kind != "ancestral":
            raise ConfigError(
                f"the reconstruction `{self.kind}` draws no random numbers: choose ancestral, or leave the seed out",
                parameters=["reconstruction", "reconstruction_seed"],
            )

    def resolved(self, usual: ReconstructionKind) -> Reconstruction:
        """The reconstruction, with a kind of its own in the place of `auto`."""
        return replace(self, kind=usual) if self.kind == "auto" else self

    @classmethod
    def of(cls, reconstruction: Reconstruction | ReconstructionKind) -> Reconstruction:
        """The reconstruction itself, or the one of that kind with default steps and seed."""
        return reconstruction if isinstance(reconstruction, cls) else cls(cast(ReconstructionKind, reconstruction))
