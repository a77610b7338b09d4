"""The steps of a file as a text table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffcodec.coding.report import Report, StepReport


def steps_table(report: Report) -> str:
    """The steps of a report, and their sums."""
    from diffcodec.evaluation.summary_table import aligned

    header = ("step", "t", "log SNR", "KL bits", "delivered", "path", "side", "network s", "coding s")
    rows = [
        (str(number), f"{step.timestep:g}", f"{step.log_snr:.2f}", *_figures(step))
        for number, step in enumerate(report.steps, 1)
    ]
    return aligned([header, *rows, ("sum", "", "", *_figures(report))])


def _figures(of: Report | StepReport) -> tuple[str, ...]:
    bits = of.ideal_bits, of.delivered_bits, of.path_bits, of.side_bits
    return *(f"{each:.0f}" for each in bits), *(f"{each:.2f}" for each in (of.network_s, of.coding_s))
