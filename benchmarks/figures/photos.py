"""Rate against three measures of quality, for photographs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.curves import draw_curve, mark_rates, rate_distortion
from figures.labels import Curve, label_curves
from figures.published import RATE_KINDS, published_curves
from figures.records import Results
from figures.style import PUBLISHED, look_of, new_figure

PANELS = {"psnr_db": "PSNR (dB)", "ms_ssim": "MS-SSIM", "haarpsi": "HaarPSI"}
RATES = (0.04, 5.0)
"""Bits per pixel that are shown: below, files are little more than their headers."""


def draw_photo_curves(results: Results) -> Figure:
    """A panel for each measure, mean over the pictures at equal settings, over the mean rate.

    Without intervals: they would say how much photographs differ, which is as much for all codecs.

    Args:
        results: of a data set, without points that lack pictures.
    """
    figure, panels = new_figure(3.9, 1, len(PANELS), sharex=True)
    handles: dict[str, Line2D] = {}
    drawn = []
    for axes, (metric, title) in zip(panels, PANELS.items(), strict=True):
        curves, lowest = [], np.inf
        for codec in [*results.peers, *results.own("best", "trellis")]:
            curve = rate_distortion(codec, "bpp", metric)
            if not curve.rates:
                continue
            draw_curve(axes, codec, curve, intervals=False)
            look = look_of(codec.codec)
            handles[codec.codec] = Line2D([], [], label=results.label(codec), **look.options())
            curves.append(Curve(results.label(codec), look.ink, curve.points))
            shown = curve.points[curve.points[:, 0] >= RATES[0], 1]
            lowest = min(lowest, shown.min(initial=np.inf))
        for name, record in results.reported.items():
            for published in published_curves(record, name, metric):
                look, points = PUBLISHED[published.rate], np.array(published.points)
                axes.plot(*points.T, zorder=1.5, **look.options())
                label = f"{published.label} (published, {RATE_KINDS[published.rate]})"
                handles[published.codec] = Line2D([], [], label=label, **look.options())
                curves.append(Curve(published.label, look.ink, points))
        axes.set_xscale("log")
        axes.set_xlim(*RATES)
        highest = axes.get_ylim()[1] if metric == "psnr_db" else 1.0
        if np.isfinite(lowest):
            axes.set_ylim(lowest - 0.03 * (highest - lowest), highest)
        axes.set_title(title)
        drawn.append(curves)
    mark_rates(panels[0])
    panels[len(panels) // 2].set_xlabel("rate (bits per pixel)")
    own = [codec.codec for codec in results.own("trellis", "best")]
    figure.legend(
        handles=[handles[name] for name in sorted(handles, key=lambda name: name not in own)],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        handlelength=3.6,
    )
    label_curves(panels[0], drawn[0][::-1])
    return figure
