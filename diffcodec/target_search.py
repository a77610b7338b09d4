"""The search for the timestep whose file meets a target: one walk down the levels that stops where it is met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import Container, Header, write_container
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Channel
from diffcodec.compression import Compressed, Sender, encoded_packets, psnr_db, squared_error
from diffcodec.errors import TargetError
from diffcodec.images import Picture
from diffcodec.tables import Level
from diffcodec.targets import Target
from diffcodec.walk import Message, Walk, take_step


@dataclass(frozen=True)
class Sent:
    """One picture, sent down to a level. It never changes: what goes on from here is a copy.

    Args:
        walk: at that level.
        message: what was sent.
        steps: number of steps taken.
    """

    walk: Walk
    message: Message
    steps: int = 0

    def to(self, end: Level, x_0: Tensor, channel: Channel) -> Sent:
        """Sent one step further, to a level before which the list has no other."""
        walk, message = self.walk.fork(end), self.message.copy()
        *_, (step, stop) = walk.steps()
        take_step(walk, step, stop, x_0, channel, [message])
        return Sent(walk, message, step + 1)


@dataclass(frozen=True)
class Attempt:
    """A file that may be the one. Its size is known without the network; its PSNR takes an evaluation."""

    picture: Picture
    container: Container
    sent: Sent

    @cached_property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return len(write_container(self.container))

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.file_bytes / self.container.header.pixels

    @cached_property
    def restored(self) -> NDArray[np.uint8]:
        """What the receiver will see."""
        return self.sent.walk.plane.pixels(self.sent.walk.estimate()[0])

    @property
    def psnr_db(self) -> float:
        """Of the restored picture; infinite if it is exact."""
        return psnr_db(squared_error(self.picture.pixels, self.restored))


def compress_to(target: Target, sender: Sender, picture: Picture, header: Header) -> Compressed:
    """The finest file that a limit allows, or the coarsest that reaches a PSNR.

    The walk goes down the level list. Of the integer timesteps between two of its levels the finest is tried first:
    if that passes the target, the others by bisection, from the state before.

    The file meets the target, and is what `compress` makes for its timestep. Size and PSNR are only nearly
    monotone in t. What holds: the file of the next finer timestep (of the next coarser, for a PSNR) was made, and
    does not meet the target. A still better one may lie beyond it.

    Args:
        target: to be met.
        sender: for pictures of this size and mode.
        picture: the picture.
        header: of the file, its timestep apart.

    Raises:
        TargetError: if not even the coarsest file (the finest, for a PSNR) meets the target.
    """
    tables, levels = sender.tables, sender.tables.lists[sender.level_list]
    walk, x_0 = sender.start([picture], levels.levels[-1])
    with sender.watch.coding():
        packets = encoded_packets(picture)
    sent = Sent(walk, Message(LengthCoder(tables.length_weights)))
    best: Attempt | None = None

    def attempt(timestep: int) -> Attempt:
        there = sent.to(tables.level(timestep), x_0, sender.channel)
        with sender.watch.coding():
            payload = there.message.writer.getvalue()
            return Attempt(picture, Container(replace(header, timestep=timestep), payload, *packets), there)

    def is_far_enough(tried: Attempt) -> bool:
        """Whether nothing finer need be tried."""
        nonlocal best
        if met := target.is_met_by(tried):
            best = tried
        return met != target.is_limit

    from_coarse_to_fine = range(len(tables.timesteps), 0, -1)
    for steps, between in groupby(from_coarse_to_fine, lambda t: levels.steps_before(tables.level(t))):
        timesteps = list(between)
        while sent.steps < steps:
            sent = sent.to(levels.levels[sent.steps], x_0, sender.channel)
        tried = attempt(timesteps[-1])
        if is_far_enough(tried):
            low, high = 0, len(timesteps) - 1
            while low < high:
                middle = (low + high) // 2
                tried = attempt(timesteps[middle])
                low, high = (low, middle) if is_far_enough(tried) else (middle + 1, high)
            break
        if tables.level(timesteps[-1]) in levels.levels:
            sent = tried.sent
    if best is None:
        raise TargetError(target.explain_miss(tried, tried.container.header.timestep))
    return Compressed(best.container, best.sent.message, best.sent.steps, best.restored)
