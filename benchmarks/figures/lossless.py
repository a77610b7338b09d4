"""Lossless bits/dim: files measured here, our network's bound, and what others published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from diffcodec.errors import ConfigError
from figures.published import published_lengths
from figures.records import Estimate, Results
from figures.style import new_figure

_STYLES: dict[str, dict[str, Any]] = {
    "whole": {"facecolor": "#333333", "label": "whole file"},
    "payload": {"facecolor": "#a9c8de", "hatch": "////", "label": "without header"},
    "coder": {"facecolor": "white", "hatch": "....", "label": "coder, published"},
    "ideal": {"facecolor": "white", "hatch": "\\\\\\\\", "label": "ideal: a bound, nothing coded"},
}
_STYLES["file"] = _STYLES["coder"]
_BOUNDS = {"total_paper": "this network's bound, the paper's steps", "total_fine": "this network's bound, fine steps"}
_THIN, _PAIR = 0.62, 0.38


@dataclass(frozen=True)
class Entry:
    """A line of the figure: a label, and bars by the name of their style."""

    label: str
    bars: Mapping[str, Estimate]


def measured_entries(results: Results) -> list[Entry]:
    """The codecs measured here by rising whole-file length, then the network's bound."""
    entries = []
    for codec in results.lossless:
        if not codec.points:
            continue
        point = codec.points[0]
        whole, payload = point.estimate("bpd"), point.estimate("payload_bpd")
        bars = {name: value for name, value in (("whole", whole), ("payload", payload)) if value is not None}
        entries.append(Entry(results.label(codec), bars))
    entries.sort(key=lambda entry: next(iter(entry.bars.values())).mean if entry.bars else 0.0)
    if bound := results.codecs.get("ddpm-bound"):
        totals = bound.record.get("bound")
        for name, label in _BOUNDS.items():
            if isinstance(totals, dict) and totals.get(name):
                entries.append(Entry(label, {"ideal": _total(totals[name], f"{bound.path}: bound: {name}")}))
    return entries


def _total(entry: object, where: str) -> Estimate:
    if not isinstance(entry, dict) or not isinstance(entry.get("mean"), int | float):
        raise ConfigError(f"{where}: expected an object with a mean, found {entry!r}")
    ends = [entry.get(name) for name in ("low", "high")]
    return Estimate(float(entry["mean"]), *(float("nan") if end is None else float(end) for end in ends))


def published_entries(results: Results) -> list[Entry]:
    """What others published, by rising length."""
    return [Entry(length.label, {length.rate: Estimate(length.bpd)}) for length in published_lengths(results.reported)]


def draw_lossless(results: Results) -> Figure | None:
    """Horizontal bars with their values; None if no lossless codec was measured."""
    measured = measured_entries(results)
    if not results.lossless or not measured:
        return None
    published = published_entries(results)
    places: list[float] = []
    top = 0.0
    for number, entry in enumerate([*measured, *published]):
        top += 0.9 if number == len(measured) else 0.0  # a gap before what is not measured here
        height = 1.0 if len(entry.bars) > 1 else 0.78
        places.append(top + height / 2)
        top += height
    figure, (axes,) = new_figure(1.1 + 0.34 * top)
    axes.set_title(f"measured: {results.dataset}, {results.lossless[0].images} images", loc="left", fontsize=9)
    if published:
        gap = places[len(measured)] - 0.39
        axes.text(0, gap, "published: the whole test set of CIFAR-10", ha="left", va="bottom", fontsize=9)
    for place, entry in zip(places, [*measured, *published], strict=True):
        _draw_entry(axes, place, entry)
    axes.set_ylim(top, 0)
    axes.set_yticks(places, [entry.label for entry in [*measured, *published]])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    ends = [end for entry in [*measured, *published] for bar in entry.bars.values() for end in (bar.mean, bar.high)]
    axes.set_xlim(0, 1.08 * float(np.nanmax(ends)))
    axes.set_xlabel("lossless codelength (bits/dim)")
    _legend(figure, [*measured, *published])
    return figure


def _draw_entry(axes: Axes, place: float, entry: Entry) -> None:
    pair = len(entry.bars) > 1
    for number, (style, estimate) in enumerate(entry.bars.items()):
        middle = place + ((number - 0.5) * _PAIR if pair else 0)
        options = {key: value for key, value in _STYLES[style].items() if key != "label"}
        axes.barh(middle, estimate.mean, _PAIR if pair else _THIN, edgecolor="#333333", linewidth=0.6, **options)
        axes.hlines(middle, estimate.low, estimate.high, color="#d55e00", linewidth=1.2)
        end = estimate.high if estimate.high == estimate.high else estimate.mean
        axes.annotate(
            f"{estimate.mean:.2f}", (end, middle), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )


def _legend(figure: Figure, entries: Sequence[Entry]) -> None:
    used = {style for entry in entries for style in entry.bars}
    kinds = {str(_STYLES[style]["label"]): _STYLES[style] for style in _STYLES if style in used}
    patches = [Patch(edgecolor="#333333", linewidth=0.6, **options) for options in kinds.values()]
    figure.legend(handles=patches, loc="outside lower center", ncols=2, frameon=False, handlelength=2.4)
