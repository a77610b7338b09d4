"""Figure 5 of the DDPM paper (Ho et al. 2020): distortion and rate against reverse steps, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from figures.records import CodecResult
from figures.style import REPORTED, new_figure

_RATES = (
    ("rate_fixedlarge", "this model, fixedlarge variance (the paper's)", "#000000", "-"),
    ("rate_fixedsmall", "this model, fixedsmall variance", "#0072B2", (0, (5, 1.5))),
    ("rate_fine", "this model, fine steps in log SNR", "#009E73", (0, (1, 1.2))),
)
_RATE_FLOOR = 1e-5
"""Bits/dim; the paper's table has five decimals, and its zero has no place on a log axis."""


def draw_paper_figure(bound: CodecResult, table: dict[str, Any] | None) -> Figure:
    """Three panels as in the paper, those with rates repeated on a log axis inside.

    Args:
        bound: the paper's procedure with our model; its points' parameter is the number of steps done.
        table: the paper's Table 4, if it is there.

    Raises:
        ConfigError: if either lacks what is drawn.
    """
    terms = bound.record.get("terms")
    if not isinstance(terms, list) or not terms:
        raise ConfigError(f"{bound.path}: terms: expected a list with an entry for every timestep")
    names = ("steps_done", "rmse_of_mean", *(name for name, *_ in _RATES))
    columns = {name: _column(terms, name, str(bound.path)) for name in names}
    figure, (left, middle, right) = new_figure(3.5, 1, 3)
    steps, rmse = columns["steps_done"], columns["rmse_of_mean"]
    left.plot(steps, rmse, color="#000000", linewidth=1.0)
    inner = [panel.inset_axes((0.27, 0.36, 0.56, 0.58)) for panel in (middle, right)]
    lines = []
    for name, label, colour, line in _RATES:
        look: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 1.2}
        lines += middle.plot(steps, columns[name], label=label, **look)
        right.plot(columns[name], rmse, **look)
        shown = columns[name] >= _RATE_FLOOR
        inner[0].plot(steps[shown], columns[name][shown], **look)
        inner[1].plot(columns[name][shown], rmse[shown], **look)
    _draw_intervals(bound, left, middle, right)
    if table is not None:
        lines.append(_draw_reported(table, left, middle, right, inner))
    _name_axes(left, middle, right, inner)
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, handlelength=3.2)
    return figure


def _draw_intervals(bound: CodecResult, left: Axes, middle: Axes, right: Axes) -> None:
    """Thin bars over the 95 % intervals, at the points of the file."""
    look: dict[str, Any] = {"color": "#000000", "linewidth": 0.8}
    for point in bound.points:
        rate, rmse = point.estimate("rate_fixedlarge"), point.estimate("rmse_of_mean")
        if rate is None or rmse is None:
            continue
        left.vlines(point.parameter, rmse.low, rmse.high, **look)
        middle.vlines(point.parameter, rate.low, rate.high, **look)
        right.vlines(rate.mean, rmse.low, rmse.high, **look)
        right.hlines(rmse.mean, rate.low, rate.high, **look)


def _draw_reported(table: dict[str, Any], left: Axes, middle: Axes, right: Axes, inner: list[Axes]) -> Any:
    where = f"the published numbers {table['source']!r}"
    steps, rates, rmse = (_column(table["points"], name, where) for name in ("steps_done", "rate_bpd", "rmse"))
    look = {**REPORTED.options(), "markersize": 8, "zorder": 3, "markeredgecolor": "white", "markeredgewidth": 0.5}
    left.plot(steps, rmse, clip_on=False, **look)
    right.plot(rates, rmse, clip_on=False, **look)
    some = rates >= _RATE_FLOOR
    inner[0].plot(steps[some], rates[some], **look)
    inner[1].plot(rates[some], rmse[some], **look)
    return middle.plot(steps, rates, label=f"{table.get('label', 'reported')}, Table 4", clip_on=False, **look)[0]


def _name_axes(left: Axes, middle: Axes, right: Axes, inner: list[Axes]) -> None:
    for panel in (left, middle):
        panel.set_xlabel("reverse steps done (T − t + 1)")
        panel.set_xticks([0, 250, 500, 750, 1000])
    left.set_ylabel("RMSE (grey levels)")
    middle.set_ylabel("rate (bits/dim)")
    right.set_xlabel("rate (bits/dim)")
    right.set_ylabel("RMSE (grey levels)")
    for panel in (left, middle, right):
        panel.set_ylim(bottom=0)
    inner[0].set_yscale("log")
    inner[0].set_xticks([0, 500, 1000])
    inner[1].set_xscale("log")
    for panel in inner:
        panel.set_title("log rate", fontsize=8, pad=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        panel.tick_params(labelsize=8)


def _column(rows: list[dict[str, Any]], name: str, where: str) -> NDArray[np.float64]:
    try:
        return np.array([row[name] for row in rows], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: every entry needs a number {name!r}") from error
