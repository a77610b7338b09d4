"""BD-rate: how much more or less rate our codec needs than another for the same PSNR, on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from bjontegaard import bd_rate  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.stats import bootstrap

from figures.records import CodecResult, Results
from figures.style import new_figure

METHOD = "pchip"
"""Interpolation between the points: passes through them without overshooting."""

RESAMPLES = 300
_BAR = 0.36
_KINDS = {
    "whole_file": ("whole files", "bpd", "#333333", ""),
    "payload": ("without headers", "payload_bpd", "#a9c8de", "////"),
}
"""For each kind of rate its name, its column, and the colour and hatch of its bars."""


@dataclass(frozen=True)
class Comparison:
    """Our codec against one other, at one kind of rate.

    Args:
        codec, label: the other codec.
        rate: `whole_file` or `payload`.
        percent: BD-rate: the mean change of rate at equal PSNR; negative if ours needs less. None without overlap.
        low, high: 95 % bootstrap interval over the images; None where there is none.
        images: number of images that both have.
        low_db, high_db: PSNR range in which both curves lie; empty if low_db >= high_db.
        share: part of our own PSNR range that lies in it.
    """

    codec: str
    label: str
    rate: str
    percent: float | None
    low: float | None
    high: float | None
    images: int
    low_db: float
    high_db: float
    share: float


@dataclass(frozen=True)
class Measured:
    """A codec's rates and PSNRs, (settings, images) each."""

    rates: NDArray[np.float64]
    psnr_db: NDArray[np.float64]

    def curve(self, chosen: NDArray[np.intp] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean rate and PSNR at every setting, over all or the chosen images, by rising PSNR.

        A setting that costs no less for a lower PSNR than another's is still a point of the curve; of equal PSNRs
        the cheaper one stays, for an interpolation needs distinct ones.
        """
        rates, psnr = self.rates, self.psnr_db
        if chosen is not None:
            rates, psnr = rates[:, chosen], psnr[:, chosen]
        pairs = sorted(zip(psnr.mean(axis=1), rates.mean(axis=1), strict=True))
        kept = [pair for place, pair in enumerate(pairs) if not place or pair[0] - pairs[place - 1][0] > 1e-9]
        return np.array([rate for _, rate in kept]), np.array([psnr for psnr, _ in kept])


def measured(codec: CodecResult, rate: str, images: Sequence[int]) -> Measured:
    """The rows of these images, without settings at which one of them is exact (its PSNR is infinite)."""
    rates = [point.column(rate, images) for point in codec.points]
    psnr = [point.column("psnr_db", images) for point in codec.points]
    finite = [place for place, values in enumerate(psnr) if np.isfinite(values).all()]
    shape = (len(finite), len(images))
    return Measured(
        np.array([rates[place] for place in finite]).reshape(shape),
        np.array([psnr[place] for place in finite]).reshape(shape),
    )


def compare(
    ours: CodecResult, other: CodecResult, rate: str, *, db_range: tuple[float, float] | None = None
) -> Comparison:
    """BD-rate of our codec against another, over the images that both have.

    Args:
        ours, other: lossy codecs, or a bound for the other.
        rate: `whole_file` or `payload`; a bound has its ideal rate for both.
        db_range: only for mean PSNRs in this range, without an interval: resampled curves may miss it.
    """
    images = sorted(ours.image_numbers() & other.image_numbers())
    column = _KINDS[rate][1]
    test = measured(ours, column, images)
    anchor = measured(other, "ideal_bpd" if other.kind == "bound" else column, images)
    if not images or len(test.rates) < 2 or len(anchor.rates) < 2:
        return Comparison(other.codec, other.label, rate, None, None, None, len(images), math.nan, math.nan, 0.0)
    (_, own_db), (_, other_db) = test.curve(), anchor.curve()
    low_db, high_db = max(own_db[0], other_db[0]), min(own_db[-1], other_db[-1])
    if db_range is not None:
        low_db, high_db = max(low_db, db_range[0]), min(high_db, db_range[1])
    share = max(0.0, (high_db - low_db) / (own_db[-1] - own_db[0]))
    percent = low = high = None
    if high_db > low_db:

        def statistic(chosen: NDArray[np.intp]) -> float:
            return _bd_rate(anchor.curve(chosen), test.curve(chosen))

        everything = np.arange(len(images))
        if db_range is not None:
            percent = _bd_rate(*(_part(curve.curve(), low_db, high_db) for curve in (anchor, test)))
        else:
            percent = statistic(everything)
        if len(images) > 2 and db_range is None:
            found = bootstrap(
                (everything,),
                statistic,
                vectorized=False,
                n_resamples=RESAMPLES,
                method="percentile",
                rng=np.random.default_rng(0),
            ).confidence_interval
            low, high = float(found.low), float(found.high)
    return Comparison(
        other.codec, other.label, rate, percent, low, high, len(images), float(low_db), float(high_db), float(share)
    )


def compare_published(
    ours: CodecResult, published: Sequence[tuple[float, float]], db_range: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float] | None:
    """BD-rate against a published curve of means over the same pictures, and the PSNRs compared; None without overlap.

    Args:
        ours: a lossy codec, whose rates are those of whole files.
        published: bits per pixel and PSNR in dB, by rising rate.
        db_range: only for PSNRs in this range.
    """
    rates, psnr = measured(ours, "bpp", sorted(ours.image_numbers())).curve()
    other = np.array(published)
    other = other[np.diff(other[:, 1], prepend=-math.inf) > 0]
    low_db = max(psnr[0], other[0, 1], db_range[0])
    high_db = min(psnr[-1], other[-1, 1], db_range[1])
    if high_db <= low_db:
        return None
    curves = (other[:, 0], other[:, 1]), (rates, psnr)
    return _bd_rate(*(_part(curve, low_db, high_db) for curve in curves)), float(low_db), float(high_db)


def _part(
    curve: tuple[NDArray[np.float64], NDArray[np.float64]], low_db: float, high_db: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve between two PSNRs that it reaches, with points at both."""
    rates, psnr = curve
    inside = psnr[(psnr > low_db) & (psnr < high_db)]
    kept = np.array([low_db, *inside, high_db])
    return np.exp(PchipInterpolator(psnr, np.log(rates))(kept)), kept


def _bd_rate(anchor: tuple[NDArray[np.float64], NDArray[np.float64]], test: Any) -> float:
    """Percent; the library's own warning about small overlaps is told by the figure instead."""
    return float(bd_rate(*anchor, *test, method=METHOD, require_matching_points=False, min_overlap=0))


def compare_all(results: Results, ours: CodecResult) -> list[Comparison]:
    """Against every peer, whole files and payloads, then against the other channel and the ideal."""
    comparisons = [compare(ours, other, rate) for other in (*results.peers, *results.own("poisson")) for rate in _KINDS]
    # An ideal rate has no header: only the payload may be held against it.
    return comparisons + [compare(ours, bound, "payload") for bound in results.own("true-sampling")]


def markdown(comparisons: Sequence[Comparison], ours: CodecResult) -> str:
    """The comparisons as a Markdown table."""
    lines = [
        f"BD-rate of {ours.label} (PSNR, {METHOD} interpolation): negative means that it needs less.",
        "",
        "| against | rate | BD-rate | 95 % interval | overlap (PSNR) | of our range | images |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in comparisons:
        value = "no overlap" if c.percent is None else signed(c.percent)
        interval = "" if c.low is None or c.high is None else f"{signed(c.low)} to {signed(c.high)}"
        overlap = "" if c.percent is None else f"{c.low_db:.1f} to {c.high_db:.1f} dB"
        lines.append(
            f"| {c.label} | {_KINDS[c.rate][0]} | {value} | {interval} | {overlap} | {c.share:.0%} | {c.images} |"
        )
    return "\n".join(lines)


def record(comparisons: Sequence[Comparison], ours: CodecResult) -> dict[str, Any]:
    """The comparisons for a JSON file."""
    return {
        "codec": ours.codec,
        "label": ours.label,
        "dataset": ours.dataset,
        "method": METHOD,
        "distortion": "psnr_db",
        "comparisons": [
            {name: None if value != value else value for name, value in asdict(c).items()}  # JSON has no NaN
            for c in comparisons
        ],
    }


def draw_bd_rate(comparisons: Sequence[Comparison], ours: CodecResult) -> Figure:
    """Horizontal bars, two for each codec, with their values, and the overlap of the curves at the right."""
    labels = list(dict.fromkeys(c.label for c in comparisons))
    figure, (axes,) = new_figure(1.2 + 0.46 * len(labels))
    found = [c for c in comparisons if c.percent is not None]
    ends = [value for c in found for value in (c.percent, c.low, c.high) if value is not None]
    for kind, (name, _, colour, hatch) in _KINDS.items():
        chosen = [c for c in found if c.rate == kind]
        places = [_place(labels, c) for c in chosen]
        axes.barh(
            places,
            [c.percent or 0.0 for c in chosen],
            _BAR,
            color=colour,
            hatch=hatch,
            edgecolor="#333333",
            linewidth=0.6,
            label=name,
        )
    for c in comparisons:
        _annotate(axes, c, _place(labels, c))
    axes.axvline(0, color="#333333", linewidth=0.8)
    span = max(max(ends, default=0), 0) - min(min(ends, default=0), 0) or 1.0
    axes.set_xlim(min(min(ends, default=0), 0) - 0.13 * span, max(max(ends, default=0), 0) + 0.13 * span)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"BD-rate of {ours.label} in %: change of rate at equal PSNR; negative: it needs less")
    axes.text(1.01, 1.0, "overlap", ha="left", va="bottom", color="#555555", fontsize=8.5, transform=axes.transAxes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handlelength=2.4)
    return figure


def _place(labels: Sequence[str], c: Comparison) -> float:
    return labels.index(c.label) + (-_BAR / 2 if c.rate == "whole_file" else _BAR / 2)


def _annotate(axes: Axes, c: Comparison, place: float) -> None:
    small: dict[str, Any] = {"fontsize": 8, "va": "center"}
    if c.percent is None:
        axes.text(0, place, " no overlap", ha="left", color="#555555", **small)
        return
    if c.low is not None and c.high is not None:
        axes.hlines(place, c.low, c.high, color="#d55e00", linewidth=1.2)
    positive = c.percent > 0
    ends = [end for end in (c.percent, c.low, c.high) if end is not None]
    axes.annotate(
        signed(c.percent),
        (max(ends) if positive else min(ends), place),
        xytext=(4 if positive else -4, 0),
        textcoords="offset points",
        ha="left" if positive else "right",
        **small,
    )
    axes.text(
        1.01,
        place,
        f"{c.low_db:.1f}–{c.high_db:.1f} dB",
        ha="left",
        color="#555555",
        transform=axes.get_yaxis_transform(),
        **small,
    )


def signed(percent: float) -> str:
    """A percentage with its sign."""
    return f"{percent:+.1f} %".replace("-", "−")
