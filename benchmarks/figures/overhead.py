"""What is paid for each bit that arrives: files without header, and paths alone, of both channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import bootstrap

from figures.curves import mark_rates
from figures.records import CodecResult, Estimate, Point, Results
from figures.style import look_of, new_figure

# Bits/dim of the file and the paid per delivered bit wanted there.
_TARGETS = ((1.3, 0.1, 0.5), (1.15, 0.5, 2.5))
RESAMPLES = 2000


@dataclass(frozen=True)
class Overhead:
    """Paid per delivered bit at one setting, as ratios of sums over the images.

    Args:
        rate_bpd: mean of the whole file.
        payload: file without header, over delivered bits.
        path: path bits over delivered bits.
    """

    rate_bpd: float
    payload: Estimate
    path: Estimate


def overhead_of(point: Point) -> Overhead:
    """The overhead of a codec's files at one setting."""
    delivered = point.column("delivered_bits")
    return Overhead(
        float(point.column("bpd").mean()),
        _ratio(8 * point.column("payload_bytes"), delivered),
        _ratio(point.column("path_bits"), delivered),
    )


def _ratio(paid: NDArray[np.float64], got: NDArray[np.float64]) -> Estimate:
    """Ratio of the sums, with a bootstrap interval over the images where there are several."""
    ratio = float(paid.sum() / got.sum())
    if len(paid) < 3:
        return Estimate(ratio)

    def statistic(above: NDArray[np.float64], below: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(above.sum(axis=axis) / below.sum(axis=axis))

    found = bootstrap(
        (paid, got),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(ratio, float(found.low), float(found.high))


def draw_overhead(results: Results, codecs: Sequence[CodecResult]) -> Figure:
    """One panel: paid per delivered bit over the rate.

    Args:
        results: for the labels.
        codecs: diffcodec's channels.
    """
    figure, (axes,) = new_figure(3.8)
    for paid, begin, end in _TARGETS:
        axes.plot([begin, end], [paid, paid], color="#999999", linewidth=1.0, linestyle=(0, (6, 3)), zorder=1)
        axes.annotate(
            f"target {paid:g}",
            (end, paid),
            xytext=(4, 0),
            textcoords="offset points",
            color="#666666",
            fontsize=8.5,
            ha="left",
            va="center",
        )
    axes.axhline(1, color="#999999", linewidth=0.8, zorder=1)
    for codec in codecs:
        measured = [overhead_of(point) for point in codec.points]
        measured.sort(key=lambda overhead: overhead.rate_bpd)
        look = look_of(codec.codec)
        rates = [overhead.rate_bpd for overhead in measured]
        for name, what in (("payload", "file without header"), ("path", "path only")):
            estimates = [getattr(overhead, name) for overhead in measured]
            options = look.options()
            if name == "path":
                options |= {"linewidth": 1.0, "linestyle": ":", "markersize": 4, "markerfacecolor": "white"}
            axes.plot(rates, [e.mean for e in estimates], label=f"{results.label(codec)}: {what}", **options)
            _bars(axes, rates, estimates, look.colour)
    axes.set_xscale("log")
    mark_rates(axes)
    axes.set_xlabel("rate of the whole file (bits/dim)")
    axes.set_ylabel("bits paid per bit delivered")
    axes.set_ylim(bottom=0.98)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handlelength=3.6)
    return figure


def _bars(axes: Axes, rates: Sequence[float], estimates: Sequence[Estimate], colour: str) -> None:
    """Thin bars over the 95 % intervals."""
    axes.vlines(rates, [e.low for e in estimates], [e.high for e in estimates], color=colour, linewidth=0.8)
