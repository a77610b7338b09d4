"""PSNR and the share of files of which anything is shown, against the bit error rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures.style import PNG_DPI, Look, new_figure

LOOKS = {
    "diffcodec": Look("#D55E00", "o", width=2.0),
    "diffcodec, front repeated": Look("#D55E00", "s", "--", width=2.0),
    "diffcodec, nothing corrected": Look("#E69F00", "o", ":"),
    "JPEG, restart markers": Look("#0072B2", "v"),
    "JPEG": Look("#56B4E9", "^"),
    "WebP": Look("#009E73", "D"),
    "AVIF": Look("#000000", "x"),
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the figure of the results of bit_errors.py."""
    figure, (left, right) = new_figure(3.8, columns=2)
    for name, row in result["codecs"].items():
        look = LOOKS[name]
        left.plot(result["rates"], row["psnr_db"], label=name, **look.options())
        right.plot(result["rates"], [100 * share for share in row["shown"]], **look.options())
    left.axhline(result["grey_db"], color="#999999", linewidth=0.8)
    left.annotate("flat grey", (result["rates"][0], result["grey_db"]), (0, 3), textcoords="offset points", fontsize=8)
    left.set_ylabel("mean PSNR (dB)")
    right.set_ylabel("files of which anything is shown (%)")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("bit error rate")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=PNG_DPI, metadata={"Software": None})
