"""Results as text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffcodec.evaluation.records import Row

HEAD = (
    "codec",
    "setting",
    "images",
    "bits/dim",
    "95 %",
    "payload",
    "RMSE",
    "95 %",
    "mean RMSE",
    "PSNR dB",
    "MS-SSIM",
    "paid/deliv",
    "enc ms",
    "dec ms",
)

TABLE_4_HEAD = ("steps done", "rate: paper", "fixedlarge", "fixedsmall", "fine", "RMSE: paper", "of mean", "mean of")

MISSING = "-"


def codec_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for every point of the result files.

    Rates are those of whole files, or ideal rates for a bound; `payload` is without header, for other codecs without
    the bytes of a flat grey picture. `RMSE` is the root of the mean, `mean RMSE` the mean of the roots. Intervals are
    bootstraps over images.

    Args:
        results: objects of result files.
    """
    lines = [HEAD]
    for result in results:
        for point in result["points"]:
            summary = point["summary"]
            rate = "bpd" if summary.get("bpd") else "ideal_bpd"
            lines.append(
                (
                    result["codec"],
                    point["setting"],
                    str(len(point["rows"])),
                    _mean(summary, rate, 4),
                    _spread(summary, rate, 4),
                    _mean(summary, "payload_bpd", 4),
                    _mean(summary, "rmse_of_mean", 3),
                    _spread(summary, "rmse_of_mean", 3),
                    _mean(summary, "rmse", 3),
                    _mean(summary, "psnr_db", 2),
                    _mean(summary, "ms_ssim", 4),
                    _mean(summary, "paid_per_delivered_bit", 3),
                    _mean(summary, "encode_s", 1, 1000),
                    _mean(summary, "decode_s", 1, 1000),
                )
            )
    return aligned(lines, left=2)


def table_4(bound: Mapping[str, Any], reported: Mapping[str, Any]) -> str:
    """Table 4 of the DDPM paper (Ho et al. 2020) next to the same rows of a model.

    Rates in bits/dim with three choices of steps, RMSE in grey levels as the root of the mean and as the mean of the
    roots, because the paper does not say which it uses.

    Args:
        bound: object of the file `ddpm-bound`.
        reported: object of the file with the paper's rows.
    """
    terms = {term["steps_done"]: term for term in bound["terms"]}
    lines = [TABLE_4_HEAD]
    for row in sorted(reported["points"], key=lambda row: -row["steps_done"]):
        if term := terms.get(row["steps_done"]):
            lines.append(
                (
                    str(row["steps_done"]),
                    f"{row['rate_bpd']:.5f}",
                    f"{term['rate_fixedlarge']:.5f}",
                    f"{term['rate_fixedsmall']:.5f}",
                    f"{term['rate_fine']:.5f}",
                    f"{row['rmse']:.3f}",
                    f"{term['rmse_of_mean']:.3f}",
                    f"{term['mean_of_rmse']:.3f}",
                )
            )
    return aligned(lines)


def bound_line(bound: Mapping[str, Any]) -> str:
    """The bound on the codelength in a sentence, bits/dim."""
    parts = bound["bound"]
    kinds = [kind for kind in ("fixedsmall", "fixedlarge", "learned") if f"total_{kind}" in parts]
    names = {"L_T": "L_T"} | {f"{part}_{kind}": f"{part} {kind}" for part in ("L", "L_0", "total") for kind in kinds}
    return "bound in bits/dim: " + ", ".join(f"{text} {parts[name]['mean']:.4f}" for name, text in names.items())


def bound_table(rows: Sequence[Row]) -> str:
    """The parts of the bound in bits/dim, with the standard errors of the means over images.

    The fine limit starts at pure noise, so it includes L_T, and uses the L_0 of `fixedsmall`.

    Args:
        rows: as of `BoundMeasurement.bound_rows`.
    """
    kinds = [name.removeprefix("L_0_") for name in rows[0] if name.startswith("L_0_")]
    lines = [("bits/dim", *kinds, "fine limit")]
    for label, name, fine in (
        ("L_T", "L_T", None),
        ("L_1 ... L_T-1", "L_{}", "rate_fine"),
        ("L_0", "L_0_{}", "L_0_fixedsmall"),
        ("bound", "total_{}", "total_fine"),
    ):
        cells = [mean_and_error(rows, name.format(kind)) for kind in kinds]
        lines.append((label, *cells, mean_and_error(rows, fine) if fine else MISSING))
    return aligned(lines, left=1)


def mean_and_error(rows: Sequence[Row], column: str, decimals: int = 4) -> str:
    """Mean of a column, and its standard error if there are at least two images: `3.7500 ± 0.0123`."""
    values = np.array([row[column] for row in rows], float)
    mean = f"{values.mean():.{decimals}f}"
    return f"{mean} ± {values.std(ddof=1) / len(values) ** 0.5:.{decimals}f}" if len(values) > 1 else mean


def aligned(lines: Sequence[Sequence[str]], *, left: int = 0) -> str:
    """Lines as columns; the first `left` columns are left-aligned, the others right-aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _mean(summary: Mapping[str, Any], column: str, decimals: int, factor: float = 1.0) -> str:
    entry = summary.get(column)
    return f"{factor * entry['mean']:.{decimals}f}" if entry else MISSING


def _spread(summary: Mapping[str, Any], column: str, decimals: int) -> str:
    entry = summary.get(column)
    if not entry or entry["low"] is None:
        return MISSING
    return f"{entry['low']:.{decimals}f}..{entry['high']:.{decimals}f}"
