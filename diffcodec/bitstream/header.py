"""The fields of a .dfc file's header: everything that the decoder needs besides the model and the payload."""

from dataclasses import dataclass
from enum import IntEnum

from diffcodec.errors import ConfigError

FINGERPRINT_BYTES = 4
MAX_SIDE = 1 << 28
"""Largest width or height in pixels that a varint of four bytes can hold."""

MAX_SHORTENED_STEPS = (1 << 14) - 1
"""Largest number of steps of a shortened file, in a varint of two bytes."""

PACKED_FIELDS = (("colour", 2), ("channel", 2), ("effort", 4), ("level_list", 4), ("timestep", 12))
"""Fields packed into 24 bits, highest first, with their widths in bits."""

LOWEST = {"effort": 8}
"""Fields that are stored minus their lowest value."""


class ColourMode(IntEnum):
    """Colour mode of the payload's pixels, as numbered in the file. Alpha is a separate packet."""

    RGB = 0
    L = 1


@dataclass(frozen=True)
class Shortened:
    """Origin of a shortened file.

    Args:
        timestep: at which the original's payload ends, 0 to 4095.
        steps: number of the original's steps that it keeps, 1 to 16383.

    Raises:
        ConfigError: if a number is out of its range.
    """

    timestep: int
    steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.timestep <= 4095 or not 1 <= self.steps <= MAX_SHORTENED_STEPS:
            raise ConfigError(f"a file for t = {self.timestep} cannot be shortened to {self.steps} steps")


@dataclass(frozen=True)
class Header:
    """Everything that the decoder needs besides the model and the payload.

    Args:
        fingerprint: of the model, 4 bytes.
        colour: colour mode of the pixels.
        channel: number of the channel simulation, 0 to 3.
        effort: the channel's search effort, 8 to 23.
        level_list: index of the model's list of noise levels, 0 to 15.
        timestep: the noise level t at which the payload ends, 0 to 4095. A shortened file may end between two
            timesteps: then the noisier one.
        width, height: of the picture in pixels, at least 1.
        seed: of the shared randomness, below 2**64.
        shortened: origin of a shortened file, all of whose steps end at levels of the list.
        repeats_front: whether the file ends with a copy of its header and first block.

    Raises:
        ConfigError: if a field is out of its range.
    """

    fingerprint: bytes
    colour: ColourMode
    channel: int
    effort: int
    level_list: int
    timestep: int
    width: int
    height: int
    seed: int = 0
    shortened: Shortened | None = None
    repeats_front: bool = False

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ConfigError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")
        if self.colour not in tuple(ColourMode):
            raise ConfigError(f"the colour mode must be a ColourMode, not {self.colour!r}")
        limits = {
            name: (low := LOWEST.get(name, 0), low + (1 << bits) - 1)
            for name, bits in PACKED_FIELDS
            if name != "colour"
        }
        limits |= {"width": (1, MAX_SIDE), "height": (1, MAX_SIDE), "seed": (0, (1 << 64) - 1)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if self.shortened is not None and not max(1, self.shortened.timestep) <= self.timestep:
            raise ConfigError(f"a file for t = {self.shortened.timestep} cannot be shortened to t = {self.timestep}")

    @property
    def pixels(self) -> int:
        """Number of pixels, width x height."""
        return self.width * self.height
