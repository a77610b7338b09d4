"""What the steps of one stream depend on. Torch-free: files are truncated and described without the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from diffcodec.channel import Channel
from diffcodec.coding.canvas import Canvas
from diffcodec.coding.step_plan import StepPlan
from diffcodec.model.levels import LevelList
from diffcodec.model.tables import CodecTables


@dataclass(frozen=True)
class StreamContext:
    """Everything that encoder and decoder agree on besides the network.

    Args:
        tables: of the model.
        canvas: geometry of the signal.
        channel: simulates the samples.
        seed: of the shared randomness.
        level_list: index of the level list.
    """

    tables: CodecTables
    canvas: Canvas
    channel: Channel
    seed: int
    level_list: int

    @property
    def levels(self) -> LevelList:
        """The list of levels that is followed."""
        return self.tables.lists[self.level_list]

    @cached_property
    def plan(self) -> StepPlan:
        """The messages of every step."""
        return StepPlan(self.tables, self.levels, self.canvas, self.seed)
