"""Tables of photographs in words and numbers, as plain text or as Markdown, from the result files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from figures import bd_rate
from figures.published import published_curves
from figures.records import CodecResult, Results

from diffcodec.evaluation.summary_table import aligned
from photographs.measure import OURS
from photographs.rates import (
    GRID,
    METRICS,
    Comparison,
    FloatArray,
    compare_over_rates,
    mean_and_count,
    published_records,
    values_at,
)

RATES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Bits per pixel of the tables."""

SPLIT_BPP = 0.3
"""Where low rates end, in bits per pixel."""

COST_BPP = 0.5
"""Seconds are those of the setting whose mean rate is nearest to this, in bits per pixel."""

MISSING = "–"
_DIGITS = {"psnr_db": 2, "ms_ssim": 4, "haarpsi": 4}

Lines = list[list[str]]


def report(results: Results, costs: Mapping[str, Any] | None, *, markdown: bool) -> str:
    """All tables of a data set.

    Args:
        results: of the data set.
        costs: memory and threads of the codecs, and the command line's times; None if they were not measured.
        markdown: whether as Markdown.
    """
    images = max(codec.images for codec in results.codecs.values())
    sections = [heading(f"{results.dataset}: {images} pictures", markdown)]
    for metric, title in METRICS.items():
        sections += [
            f"{title} at equal rates, mean of the pictures (in brackets: number of pictures that reach the rate)",
            table(rate_lines(results, metric), markdown),
        ]
    if OURS in results.codecs:
        sections += [
            "BD-rate of diffcodec by PSNR: change of rate at equal PSNR, negative if it needs less",
            table(bd_lines(results), markdown),
            *published_sections(results, markdown),
            "Rates at which the mean PSNR of diffcodec lies above that of another codec",
            table(lead_lines(results), markdown),
        ]
    sections += [
        f"Seconds for a picture on one thread, at about {COST_BPP:g} bpp, and memory for one picture "
        "(diffcodec encodes to its finest t, and cuts)",
        table(cost_lines(results, costs), markdown),
    ]
    return "\n\n".join(sections)


def heading(text: str, markdown: bool) -> str:
    """A title."""
    return f"### {text}" if markdown else f"{text}\n{'=' * len(text)}"


def table(lines: Lines, markdown: bool) -> str:
    """The lines, of which the first is the head, in columns."""
    if not markdown:
        return aligned(lines, left=1)
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def rate_lines(results: Results, metric: str) -> Lines:
    """A metric of every codec at fixed rates."""
    lines = [["codec", *(f"{rate:g} bpp" for rate in RATES)]]
    for label, values in values_at(results, metric, np.array(RATES)).items():
        lines.append([label, *(_mean_cell(column, _DIGITS[metric]) for column in values.T)])
    return lines


def _mean_cell(values: FloatArray, digits: int) -> str:
    mean, count = mean_and_count(values)
    if not count:
        return MISSING
    return f"{mean:.{digits}f}" + (f" ({count})" if count < len(values) else "")


def published_sections(results: Results, markdown: bool) -> list[str]:
    """The table of published curves, if there are any."""
    lines = published_lines(results)
    title = "BD-rate by PSNR against curves as others report them (means over the same pictures, not measured here)"
    return [title, table(lines, markdown)] if len(lines) > 1 else []


def published_lines(results: Results) -> Lines:
    """BD-rate of our files against published curves, below and above `SPLIT_BPP`, too."""
    parts = [f"{side} {SPLIT_BPP:g} bpp" for side in ("below", "above")]
    lines = [["files of", "against", "kMAC a pixel", "all rates", *parts, "PSNR compared"]]
    for ours in results.own("trellis", "best"):
        split = psnr_at(ours, SPLIT_BPP)
        for name, record in published_records(results).items():
            costs = record.get("kmac_per_pixel", {})
            for curve in published_curves(record, name):
                ranges = ((-np.inf, np.inf), (-np.inf, split), (split, np.inf))
                found = [bd_rate.compare_published(ours, curve.points, each) for each in ranges]
                cells = [MISSING if each is None else bd_rate.signed(each[0]) for each in found]
                overlap = MISSING if found[0] is None else f"{found[0][1]:.1f} to {found[0][2]:.1f} dB"
                kmac = " to ".join(f"{each:g}" for each in dict.fromkeys(costs.get(curve.codec, ()))) or MISSING
                lines.append([ours.label, curve.label, kmac, *cells, overlap])
    return lines


def bd_lines(results: Results) -> Lines:
    """BD-rate of our files against every other codec's: over all rates, and below and above `SPLIT_BPP`."""
    ours = results.codecs[OURS]
    split = psnr_at(ours, SPLIT_BPP)
    ranges = [None, (-np.inf, split), (split, np.inf)]
    parts = [f"{side} {SPLIT_BPP:g} bpp" for side in ("below", "above")]
    lines = [["against", "all rates", "95 % interval", *parts, "PSNR compared"]]
    for peer in [*results.peers, *results.own("best")]:
        found = [bd_rate.compare(ours, peer, "whole_file", db_range=each) for each in ranges]
        whole = found[0]
        interval = MISSING
        if whole.low is not None and whole.high is not None:
            interval = f"{bd_rate.signed(whole.low)} to {bd_rate.signed(whole.high)}"
        cells = [MISSING if each.percent is None else bd_rate.signed(each.percent) for each in found]
        overlap = MISSING if whole.percent is None else f"{whole.low_db:.1f} to {whole.high_db:.1f} dB"
        lines.append([peer.label, cells[0], interval, *cells[1:], overlap])
    return lines


def psnr_at(codec: CodecResult, bpp: float) -> float:
    """PSNR of a codec's mean curve at a rate, linear in log rate; that of its nearest end outside."""
    points = sorted(
        (rate.mean, psnr.mean)
        for point in codec.points
        if (rate := point.estimate("bpp")) and (psnr := point.estimate("psnr_db"))
    )
    rates, values = np.array(points).T
    return float(np.interp(np.log(bpp), np.log(rates), values))


def lead_lines(results: Results) -> Lines:
    """Where our mean PSNR is above that of every other codec."""
    values = values_at(results, "psnr_db", GRID)
    ours = values.pop(results.codecs[OURS].label)
    lines = [["against", "compared", "diffcodec is above", "gain, mean and best"]]
    for label, other in values.items():
        if other.shape == ours.shape:
            lines.append([label, *lead_cells(compare_over_rates(ours, other))])
    return lines


def lead_cells(found: Comparison) -> list[str]:
    """The compared rates, those with a gain, and the gains."""
    if np.isnan(found.low):
        return ["no common rates", MISSING, MISSING]
    compared = f"{found.low:.2f} to {found.high:.2f} bpp"
    where = ", ".join(f"{region.low:.2f} to {region.high:.2f} bpp" for region in found.regions)
    gains = ", ".join(f"{region.mean_gain:.2f} and {region.best_gain:.2f} dB" for region in found.regions)
    return [compared, where or "nowhere", gains or MISSING]


def cost_lines(results: Results, costs: Mapping[str, Any] | None) -> Lines:
    """Seconds and memory of every codec."""
    memory = {row["codec"]: row for row in (costs or {}).get("memory", ())}
    lines = [["codec", "setting", "bpp", "encode s", "decode s", "additional MiB", "MiB in all", "threads"]]
    for codec in [*results.own("trellis", "best"), *results.peers]:
        points = [(rate.mean, point) for point in codec.points if (rate := point.estimate("bpp"))]
        if not points:
            continue
        bpp, point = min(points, key=lambda pair: abs(np.log(pair[0] / COST_BPP)))
        seconds = [point.estimate(name) for name in ("encode_s", "decode_s")]
        row = memory.get(codec.codec)
        more = [MISSING] * 2 if row is None else [mebibytes(row[name]) for name in ("more_bytes", "peak_bytes")]
        lines.append(
            [
                codec.label,
                point.setting,
                f"{bpp:.2f}",
                *(f"{each.mean:.3g}" if each else MISSING for each in seconds),
                *more,
                "1",
            ]
        )
    return lines


def costs_report(costs: Mapping[str, Any], *, markdown: bool) -> str:
    """What one picture costs: the command line's times, and the memory of every codec."""
    memory = [["codec", "additional MiB", "MiB in all"]]
    memory += [[row["codec"], mebibytes(row["more_bytes"]), mebibytes(row["peak_bytes"])] for row in costs["memory"]]
    return "\n\n".join(
        [
            heading(f"Costs of one picture, {costs['picture']}", markdown),
            "The command line, with the start of Python, on all cores",
            table(command_line_lines(costs), markdown),
            "Peak memory of a process of one thread that encodes and decodes it",
            table(memory, markdown),
        ]
    )


def command_line_lines(costs: Mapping[str, Any]) -> Lines:
    """What the command line takes for one picture."""
    lines = [["command", "picture", "t", "seconds", "MiB", "bytes", "threads"]]
    for row in costs["command_line"]:
        lines.append(
            [
                row["command"],
                f"{row['picture']}, {row['width']} x {row['height']}",
                str(row["timestep"]),
                f"{row['seconds']:.1f}",
                mebibytes(row["peak_bytes"]),
                str(row["file_bytes"]),
                str(row["threads"]),
            ]
        )
    return lines


def mebibytes(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:.0f}"
