"""A picture on its way: states of a trajectory that searches return to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.coding.encoder import Encoder
from diffcodec.coding.step_coding import OutgoingPayload
from diffcodec.coding.trajectory import Trajectory
from diffcodec.model.levels import Level


@dataclass(frozen=True)
class Waypoint:
    """One picture, sent down to a level. Immutable: later steps work on a copy.

    Args:
        trajectory: at that level.
        payload: sent so far.
        steps: number of steps taken.
        level: reached; None before the first step.
    """

    trajectory: Trajectory
    payload: OutgoingPayload
    steps: int = 0
    level: Level | None = None

    def to(self, end: Level, x_0: Tensor, encoder: Encoder) -> Waypoint:
        """One step further, to a level with no level of the list in between."""
        trajectory, payload = self.trajectory.fork(end), self.payload.copy()
        *_, (step, stop) = trajectory.steps()
        encoder.send_step(trajectory, step, stop, x_0, [payload])
        return Waypoint(trajectory, payload, step + 1, end)

    @cached_property
    def restored(self) -> NDArray[np.uint8]:
        """Pixels that the decoder will restore. May evaluate the network."""
        context = self.trajectory.context
        return context.signal.to_pixels(self.trajectory.checked_estimate()[0], context.canvas)
