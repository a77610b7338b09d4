"""Searches the timestep whose file meets a target: follows one trajectory down the levels until the target is met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from diffcodec.bitstream.container import Container, Header, write_container
from diffcodec.coding.encoder import EncodedPicture, Encoder
from diffcodec.coding.packets import encoded_packets
from diffcodec.coding.targets import Target
from diffcodec.coding.waypoint import Waypoint
from diffcodec.errors import TargetError
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error


@dataclass(frozen=True)
class Attempt:
    """A candidate file. Its size is known without the network; its PSNR takes an evaluation."""

    picture: Picture
    container: Container
    reached: Waypoint

    @cached_property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return len(write_container(self.container))

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.file_bytes / self.container.header.pixels

    @cached_property
    def psnr_db(self) -> float:
        """PSNR of the restored picture; infinite if it is exact."""
        return psnr_db(squared_error(self.picture.pixels, self.reached.restored))


def encode_to(
    target: Target, encoder: Encoder, picture: Picture, header: Header, *, restore: bool = True
) -> EncodedPicture:
    """The finest file within a limit, or the coarsest that reaches a PSNR.

    The trajectory goes down the level list. Of the integer timesteps between two of its levels the finest is tried
    first: if it passes the target, the others are bisected, starting from the previous state.

    The file meets the target, and equals what `compress` makes for its timestep. Size and PSNR are only nearly
    monotone in t. It is guaranteed that the file of the next finer timestep (next coarser, for a PSNR) was tried and
    does not meet the target; a better file may lie beyond it.

    Args:
        target: to be met.
        encoder: for pictures of this size and mode.
        picture: the picture.
        header: of the file, except for its timestep.
        restore: whether to restore the picture, too; a search for a PSNR has done so anyway.

    Raises:
        TargetError: if not even the coarsest file (the finest, for a PSNR) meets the target.
    """
    tables, levels = encoder.context.tables, encoder.context.levels
    trajectory, x_0 = encoder.start([picture], levels.levels[-1])
    with encoder.watch.coding():
        packets = encoded_packets(picture)
    reached = Waypoint(trajectory, encoder.new_payload())
    best: Attempt | None = None

    def attempt(timestep: int) -> Attempt:
        there = reached.to(tables.level(timestep), x_0, encoder)
        with encoder.watch.coding():
            payload = there.payload.writer.getvalue()
            return Attempt(picture, Container(replace(header, timestep=timestep), payload, *packets), there)

    def is_far_enough(tried: Attempt) -> bool:
        """Whether nothing finer need be tried."""
        return target.is_met_by(tried) != target.is_limit

    from_coarse_to_fine = range(len(tables.timesteps), 0, -1)
    for steps, between in groupby(from_coarse_to_fine, lambda t: levels.steps_before(tables.level(t))):
        timesteps = list(between)
        while reached.steps < steps:
            reached = reached.to(levels.levels[reached.steps], x_0, encoder)
        tried = attempt(timesteps[-1])
        best = tried if target.is_met_by(tried) else best
        if is_far_enough(tried):
            low, high = 0, len(timesteps) - 1
            while low < high:
                middle = (low + high) // 2
                tried = attempt(timesteps[middle])
                best = tried if target.is_met_by(tried) else best
                low, high = (low, middle) if is_far_enough(tried) else (middle + 1, high)
            break
        if tables.level(timesteps[-1]) in levels.levels:
            reached = tried.reached
    if best is None:
        raise TargetError(target.explain_miss(tried, tried.container.header.timestep))
    restored = best.reached.restored if restore or not target.is_limit else None
    ceiling = None if restored is None else encoder.ceiling(x_0)
    return EncodedPicture(best.container, best.reached.payload, restored, ceiling)
