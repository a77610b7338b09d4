"""Options of the codec's methods: each is declared, documented and checked here, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from operator import index
from typing import Any, TypedDict, TypeVar

from diffcodec.channel import Channel, ChannelId
from diffcodec.coding.progress import ProgressCallback
from diffcodec.coding.reconstruction import Reconstruction, ReconstructionKind
from diffcodec.coding.speed import DEFAULT_SPEED, SPEEDS, steps_at
from diffcodec.coding.targets import DEFAULT_TIMESTEP, Target
from diffcodec.config import DEFAULT_MAX_PIXEL_EVALUATIONS, DEFAULT_MAX_PIXELS, MAX_EFFORT, MIN_EFFORT
from diffcodec.errors import ConfigError, WrongTypeError, kind_of
from diffcodec.model.tables import CodecTables

Item = TypeVar("Item")

CHANNELS = tuple(channel.name.lower() for channel in ChannelId if channel is not ChannelId.OWN)
"""Names of the channels."""

MAX_BATCH, MAX_BATCH_PIXELS = 16, 1 << 18
"""Most pictures, and most pixels, that go through the network together when many are processed: they bound the memory.
Larger pictures gain nothing from company."""


class CompressOptions(TypedDict, total=False):
    """Options of `compress` and `compress_batch`, described in `CompressionSettings`."""

    quality: float | None
    timestep: int | None
    target: Target | None
    channel: str | Channel
    speed: int
    effort: int | None
    seed: int
    steps: int | None
    may_store: bool
    repeat_front: bool
    measure: bool
    progress: ProgressCallback | bool


class DecompressOptions(TypedDict, total=False):
    """Options of `decompress`, `decompress_batch` and `progressive`, described in `DecompressionSettings`."""

    timestep: int | None
    reconstruction: Reconstruction | ReconstructionKind
    partial: bool
    max_pixels: int
    max_pixel_evaluations: int
    channel: Channel | None
    progress: ProgressCallback | bool


OTHER_NAMES = {
    "bytes": "target=Target.bytes(N)",
    "max_bytes": "target=Target.bytes(N)",
    "bpp": "target=Target.bpp(X)",
    "max_bpp": "target=Target.bpp(X)",
    "psnr": "target=Target.psnr(DB)",
    "decoder": "reconstruction",
    "t": "timestep",
}
"""Names of options elsewhere, with what they are called here."""

Settings = TypeVar("Settings")


def checked_settings(kind: type[Settings], options: Mapping[str, Any]) -> Settings:
    """Settings made of keyword arguments.

    Raises:
        WrongTypeError: if there is no such argument.
        ConfigError: as the settings.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            hint = f"pass {OTHER_NAMES[name]}" if name in OTHER_NAMES else f"expected {', '.join(names)}"
            raise WrongTypeError(f"{name}: there is no such argument: {hint}")
    return kind(**options)


def _check_progress(progress: object) -> None:
    if not isinstance(progress, bool) and not callable(progress):
        raise WrongTypeError(f"progress: expected True, False or a function, found {progress!r}")


@dataclass(frozen=True)
class CompressionSettings:
    """How pictures are compressed.

    Args:
        quality: perceived quality from 0 to 100: 100 is visually lossless, 50 near t = 50. The timestep is searched by
            the SSIMULACRA 2 of the picture.
        timestep: instead, noise level t at which to stop, 1 (finest) to T (almost pure noise), or 0 for lossless;
            DEFAULT_TIMESTEP if neither it nor a target is given.
        target: instead, a size, rate or PSNR to meet, see `Target`. Such a file is never lossless.
        channel: `trellis`, `poisson`, or a `Channel` of your own, which `decompress` then needs, too.
        speed: 0 (smallest files) to 10 (fastest); stands for an effort and a number of steps, see `SPEEDS`.
        effort: 8 to 16; the trellis has 2^effort states. None: that of the speed.
        seed: of the shared randomness, below 2^64. A seed other than 0 adds 8 bytes.
        steps: length of the level list, from pure noise to t = 1: fewer are faster, more give smaller files. The
            model has lists of several lengths. None: that of the speed.
        may_store: whether a lossless file may store a plain lossless format where that is shorter.
        repeat_front: whether the file ends with a copy of its header and first 2048 bytes, so that wrong bits there do
            not lose all of the picture.
        measure: whether to restore the pictures to report PSNR and RMSE, which takes one more evaluation of the
            network.
        progress: is called during the work with a `Progress`; True shows a bar, on a terminal or in a notebook.

    Raises:
        ConfigError: if a value is out of range, or of a wrong type.
    """

    quality: float | None = None
    timestep: int | None = None
    target: Target | None = None
    channel: str | Channel = "trellis"
    speed: int = DEFAULT_SPEED
    effort: int | None = None
    seed: int = 0
    steps: int | None = None
    may_store: bool = True
    repeat_front: bool = False
    measure: bool = True
    progress: ProgressCallback | bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("quality", "timestep", "target") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"expected one of quality, timestep and target, found {' and '.join(given)}")
        if self.target is not None and not isinstance(self.target, Target):
            raise WrongTypeError(f"target: expected a Target, such as Target.bytes(800), found {self.target!r}")
        if self.quality is not None:
            Target.quality(self.quality)  # checks it
        for name in ("timestep", "speed", "effort", "seed", "steps"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_integer(name, value))
        _check_progress(self.progress)
        if not isinstance(self.channel, Channel) and self.channel not in CHANNELS:
            raise ConfigError(f"channel: expected {', '.join(CHANNELS)} or a Channel object, found {self.channel!r}")
        if not 0 <= self.speed < len(SPEEDS):
            raise ConfigError(f"speed: expected 0 to {len(SPEEDS) - 1}, found {self.speed}")
        if self.effort is not None and not MIN_EFFORT <= self.effort <= MAX_EFFORT:
            raise ConfigError(f"effort: expected {MIN_EFFORT} to {MAX_EFFORT}, found {self.effort}")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"seed: expected 0 to 2^64 - 1, found {self.seed}")

    @property
    def goal(self) -> Target | None:
        """The target, or the quality as one; None if a timestep is given, or nothing."""
        return self.target if self.quality is None else Target.quality(self.quality)

    @property
    def end(self) -> int:
        """The timestep, or the default if none was given."""
        return DEFAULT_TIMESTEP if self.timestep is None else self.timestep

    @property
    def path_effort(self) -> int:
        """The effort, or that of the speed if none was given."""
        return SPEEDS[self.speed].effort if self.effort is None else self.effort

    def level_list(self, tables: CodecTables, pixels: int) -> int:
        """Index of the level list for a picture.

        Raises:
            ConfigError: if the model has no list with that number of steps.
        """
        return tables.list_for(pixels, steps_at(self.speed, tables, pixels) if self.steps is None else self.steps)

    @property
    def channel_id(self) -> ChannelId:
        """The channel's number."""
        return self.channel.channel_id if isinstance(self.channel, Channel) else ChannelId[self.channel.upper()]


@dataclass(frozen=True)
class DecompressionSettings:
    """How streams are restored.

    Args:
        timestep: restore a coarser version: the last level of the stream that is not finer than this. If it is coarser
            than the first level, the picture is made from pure noise. A stored picture (t = 0) has no coarser version.
        reconstruction: how to make a picture from the noisy state x_t at the stream's end: one of the kinds that
            `Reconstruction` describes, or a `Reconstruction`, which also sets steps and seed.
            Exact pixels (t = 0) do not depend on it.
        partial: if the stream is cut or damaged, restore its last complete step instead of raising. Damaged streams
            need more than a few KiB for this: only those have a checksum for every block.
        max_pixels: refuse to decode larger pictures.
        max_pixel_evaluations: refuse streams whose steps take more evaluations of the network times pixels. The default
            is what a photograph of 46 megapixels takes at 64 steps, the slowest setting of the bundled models.
        channel: that of the streams, if it is not part of diffcodec.
        progress: is called during the work with a `Progress`; True shows a bar, on a terminal or in a notebook.

    Raises:
        ConfigError: if a value is out of range, or of a wrong type.
    """

    timestep: int | None = None
    reconstruction: Reconstruction | ReconstructionKind = "auto"
    partial: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_pixel_evaluations: int = DEFAULT_MAX_PIXEL_EVALUATIONS
    channel: Channel | None = None
    progress: ProgressCallback | bool = False

    def __post_init__(self) -> None:
        if self.timestep is not None:
            object.__setattr__(self, "timestep", as_integer("timestep", self.timestep))
        for name in ("max_pixels", "max_pixel_evaluations"):
            object.__setattr__(self, name, as_integer(name, getattr(self, name), least=1))
        object.__setattr__(self, "reconstruction", Reconstruction.of(self.reconstruction))
        _check_progress(self.progress)
        if not isinstance(self.channel, Channel | None):
            raise WrongTypeError(f"channel: expected a Channel or None, found {kind_of(self.channel)}")


def as_integer(name: str, value: Any, *, least: int | None = None) -> int:
    """The value, of any integer type, as a Python integer.

    Raises:
        WrongTypeError: if it is not an integer.
        ConfigError: if it is smaller than `least`.
    """
    try:
        found = index(value)
    except TypeError as error:
        raise WrongTypeError(f"{name}: expected an integer, found {value!r}") from error
    if least is not None and found < least:
        raise ConfigError(f"{name}: expected at least {least}, found {found}")
    return found


def as_batch(name: str, values: Iterable[Item], is_single: Callable[[object], bool], function: str) -> list[Item]:
    """The members of a batch.

    Args:
        name: of the argument.
        values: the argument.
        is_single: whether a value is a single member.
        function: that takes a single one.

    Raises:
        WrongTypeError: if it is a single member, or of a type that cannot be a batch.
    """
    if is_single(values):
        raise WrongTypeError(f"{name}: expected a list, found {kind_of(values)}: use {function} for a single one")
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise WrongTypeError(f"{name}: expected a list, found {kind_of(values)}")
    return list(values)
