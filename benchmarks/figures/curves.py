"""Rate against distortion: our codec and all peers, as whole files and without their headers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from figures.labels import Curve, label_curves
from figures.published import RATE_KINDS, published_curves
from figures.records import CodecResult, Estimate, Results
from figures.style import PUBLISHED, look_of, new_figure


@dataclass(frozen=True)
class Measures:
    """What a pair of panels shows.

    Args:
        distortion: column of the distortion.
        distortion_label, rate_label: of the axes.
        per_pixel: bits per pixel, else bits/dim.
    """

    distortion: str
    distortion_label: str
    rate_label: str
    per_pixel: bool


BPP_PSNR = Measures("psnr_db", "PSNR, mean of the images (dB)", "rate (bits per pixel)", per_pixel=True)
BPD_RMSE = Measures("rmse_of_mean", "RMSE, root of the mean (grey levels)", "rate (bits/dim)", per_pixel=False)


@dataclass(frozen=True)
class RateDistortion:
    """A codec's curve: estimates of rate and distortion at its settings, by rising rate."""

    rates: tuple[Estimate, ...]
    distortions: tuple[Estimate, ...]

    @property
    def points(self) -> NDArray[np.float64]:
        """Mean rate and mean distortion, (N, 2)."""
        return np.array([(r.mean, d.mean) for r, d in zip(self.rates, self.distortions, strict=True)]).reshape(-1, 2)

    @property
    def bars(self) -> NDArray[np.float64]:
        """Ends of the interval bars, (2 N, 2, 2)."""
        pairs = list(zip(self.rates, self.distortions, strict=True))
        across = [((r.low, d.mean), (r.high, d.mean)) for r, d in pairs]
        return np.array(across + [((r.mean, d.low), (r.mean, d.high)) for r, d in pairs])


def rate_distortion(codec: CodecResult, rate: str, distortion: str, factor: float = 1.0) -> RateDistortion:
    """The curve of a codec; settings that are exact, or have no rate, are left out.

    Args:
        codec: with at least one point.
        rate: column of the rate.
        distortion: column of the distortion.
        factor: to multiply the rate by.
    """
    pairs = []
    for point in codec.points:
        if any(row.get(distortion, 0.0) is None for row in point.rows):
            continue  # the mean PSNR of the other images would be no one's
        x, y = point.estimate(rate), point.estimate(distortion)
        if x is not None and y is not None and x.mean > 0:
            pairs.append((x.scaled(factor), y))
    pairs.sort(key=lambda pair: pair[0].mean)
    return RateDistortion(tuple(x for x, _ in pairs), tuple(y for _, y in pairs))


def draw_curves(results: Results, measures: Measures) -> Figure:
    """Two panels: whole files, and payloads with the ideal rate of true sampling."""
    figure, (left, right) = new_figure(5.0, 1, 2, sharex=True, sharey=True)
    factor = results.subpixels_per_pixel if measures.per_pixel else 1.0
    coded = [*results.peers, *results.own("poisson", "trellis")]
    whole = [(codec, "bpd") for codec in coded]
    payload = [*((codec, "payload_bpd") for codec in coded)]
    payload += [(codec, "ideal_bpd") for codec in results.own("true-sampling")]
    handles: dict[str, Line2D] = {}
    drawn: list[list[Curve]] = []
    for axes, curves in ((left, whole), (right, payload)):
        drawn.append([])
        for codec, rate in curves:
            curve = rate_distortion(codec, rate, measures.distortion, factor)
            if not curve.rates:
                continue
            draw_curve(axes, codec, curve)
            look = look_of(codec.codec)
            handles[codec.codec] = Line2D([], [], label=results.label(codec), **look.options())
            drawn[-1].append(Curve(results.label(codec), look.ink, curve.points, curve.bars))
        axes.set_xscale("log")
        axes.set_xlabel(measures.rate_label)
    if measures.per_pixel:
        for name, record in results.reported.items():
            for published in published_curves(record, name):
                place = 0 if published.rate == "file" else 1
                axes, look = (left, right)[place], PUBLISHED[published.rate]
                points = np.array(published.points)
                axes.plot(*points.T, zorder=1.5, **look.options())
                handles[published.codec] = Line2D(
                    [], [], label=f"{published.label} (published, {RATE_KINDS[published.rate]})", **look.options()
                )
                drawn[place].append(Curve(published.label, look.ink, points))
    mark_rates(left)
    left.set_ylabel(measures.distortion_label)
    left.set_title("whole files")
    right.set_title("without headers (payload)")
    own = [codec.codec for codec in results.own("trellis", "poisson", "true-sampling")]
    order = [name for name in (*own, *(peer.codec for peer in results.peers)) if name in handles]
    order += [name for name in handles if name not in order]
    figure.legend(
        handles=[handles[name] for name in order], loc="outside lower center", ncols=4, frameon=False, handlelength=3.6
    )
    for axes, named in zip((left, right), drawn, strict=True):
        label_curves(axes, named[::-1])
    return figure


def draw_curve(axes: Axes, codec: CodecResult, curve: RateDistortion, *, intervals: bool = True) -> None:
    """A codec's line, with its points and their intervals."""
    x, y = curve.points.T
    look = look_of(codec.codec)
    front = 3.0 if codec.is_own else 2.0
    axes.plot(x, y, zorder=front, **look.options())
    if intervals:
        axes.errorbar(
            x,
            y,
            xerr=_bars(curve.rates),
            yerr=_bars(curve.distortions),
            fmt="none",
            ecolor=look.colour,
            elinewidth=0.7,
            zorder=front - 0.1,
        )


def _bars(estimates: tuple[Estimate, ...]) -> NDArray[np.float64]:
    """Lengths of interval bars below and above the means, (2, N); NaN draws none."""
    return np.array([(max(e.mean - e.low, 0), max(e.high - e.mean, 0)) for e in estimates]).T


def mark_rates(axes: Axes) -> None:
    """1, 2, 5 in every decade, as plain numbers."""
    axes.xaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-5, 3) for m in (1, 2, 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
