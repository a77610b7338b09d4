"""Schedules of flow models, as their schedulers describe them."""

from __future__ import annotations

from diffcodec.config import ScheduleConfig
from diffcodec.diffusers_format.settings import Settings

LEVELS = 1000
"""Timesteps per unit of s, before the shift; the last one, pure noise, is left out."""


def flow_schedule(scheduler: Settings) -> ScheduleConfig:
    """The schedule of timesteps 1 to LEVELS - 1 of a flow, with the scheduler's static shift.

    Raises:
        CheckpointError: if the scheduler is none of flows.
    """
    scheduler.require("_class_name", "FlowMatchEulerDiscreteScheduler")
    shift = float(scheduler.values.get("shift") or 1.0)
    betas, kept_before = [], 1.0
    for k in range(1, LEVELS):
        s = shift * k / (LEVELS + (shift - 1) * k)
        odds = s / (1 - s)
        kept = 1 / (1 + odds * odds)  # only operations that every machine rounds alike: files depend on the schedule
        betas.append(1 - kept / kept_before)
        kept_before = kept
    return ScheduleConfig(LEVELS - 1, kind="betas", betas=tuple(betas))
