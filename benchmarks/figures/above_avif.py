"""How far curves of PSNR lie above AVIF's: ours, and those of learned and standard codecs as others report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from figures.curves import mark_rates, rate_distortion
from figures.published import published_curves
from figures.records import CodecResult, Results
from figures.style import Look, look_of, new_figure

REFERENCE = "avif"
RATES = (0.05, 3.0)
"""Bits per pixel that are shown."""

LOOKS = (
    Look("#D55E00", "s", (0, (5, 1.5))),
    Look("#E69F00", "D", (0, (5, 1.5, 1, 1.5)), filled=False),
    Look("#CC79A7", "^", (0, (3, 1.2))),
    Look("#0072B2", "v", (0, (3, 1.2, 1, 1.2, 1, 1.2))),
    Look("#56B4E9", "h", (0, (8, 1.5, 2, 1.5))),
    Look("#8c510a", "P", (0, (6, 2))),
)
"""Of published curves, in their order."""

FloatArray = NDArray[np.float64]


def above(points: FloatArray, reference: FloatArray) -> FloatArray:
    """PSNR over that of the reference at the same rate, where the reference has that rate.

    Args:
        points, reference: (N, 2), bits per pixel and PSNR in dB, by rising rate.
    """
    rates, psnr = reference.T
    shown = points[(points[:, 0] >= rates[0]) & (points[:, 0] <= rates[-1])]
    return np.stack([shown[:, 0], shown[:, 1] - PchipInterpolator(np.log(rates), psnr)(np.log(shown[:, 0]))], axis=1)


def draw_above_avif(results: Results, published: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The difference to AVIF's mean curve, over the rate.

    Args:
        results: of a data set, with AVIF's.
        published: records of published curves, by file.
    """
    reference = mean_curve(results.codecs[REFERENCE])
    figure, (axes,) = new_figure(4.2)
    axes.axhline(0, color=look_of(REFERENCE).colour, linewidth=1.4)
    for codec in results.own("best", "trellis"):
        axes.plot(*above(mean_curve(codec), reference).T, label=codec.label, **look_of(codec.codec).options())
    curves = [curve for name, record in published.items() for curve in published_curves(record, name)]
    for number, curve in enumerate(curves):
        look = LOOKS[number % len(LOOKS)]
        points = np.array(curve.points)
        axes.plot(*above(points, reference).T, label=f"{curve.label}, as reported", zorder=1.5, **look.options())
    axes.set_xscale("log")
    axes.set_xlim(*RATES)
    axes.set_xlabel("rate (bits per pixel)")
    axes.set_title("PSNR above AVIF's at the same rate (dB)")
    mark_rates(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=3.6)
    return figure


def mean_curve(codec: CodecResult) -> FloatArray:
    """Mean rate and PSNR over the pictures, by setting."""
    return rate_distortion(codec, "bpp", "psnr_db").points
