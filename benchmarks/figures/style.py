"""How the figures look: one marker, line and colour for each codec, and how they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: files only, on machines without a screen

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

WIDTH = 8.4
"""Inches. A README shows some 840 pixels, so that a point of type is 1.4 pixels there."""

PNG_DPI = 200
"""Dots of a PNG file per inch."""

_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.7,
    "svg.hashsalt": "diffcodec",
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a curve. Colours are Okabe and Ito's, told apart by colour-blind readers too."""

    colour: str
    marker: str
    line: Any = "-"
    width: float = 1.4
    filled: bool = True

    @property
    def ink(self) -> str:
        """The colour for type: darker, since thin strokes look paler than lines."""
        red, green, blue = to_rgb(self.colour)
        return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))

    def options(self) -> dict[str, Any]:
        """For `Axes.plot` and `Axes.errorbar`."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "linewidth": self.width,
            "markersize": 5.5,
            "markeredgewidth": 1.8 if self.marker == "x" else 1.0,
            "markeredgecolor": self.colour,
            "markerfacecolor": self.colour if self.filled else "white",
        }


_LOOKS = {
    "diffcodec-trellis": Look("#000000", "o", width=2.2),
    "diffcodec-best": Look("#444444", "d", (0, (2, 1)), 1.7, filled=False),
    "diffcodec-poisson": Look("#777777", "x", (0, (4, 1.5)), 1.7),
    "diffcodec-true-sampling": Look("#000000", "o", (0, (1, 1.2)), filled=False),
    "jpeg-420": Look("#D55E00", "s", (0, (5, 1.5))),
    "jpeg-444": Look("#E69F00", "D", (0, (5, 1.5, 1, 1.5)), filled=False),
    "webp": Look("#0072B2", "^"),
    "jpeg2000": Look("#CC79A7", "v", (0, (3, 1.2, 1, 1.2, 1, 1.2))),
    "avif": Look("#009E73", "P", (0, (6, 2))),
    "jpegxl": Look("#56B4E9", "h", (0, (8, 1.5, 2, 1.5))),
}
_OTHERS = (
    Look("#0072B2", "<", ":", filled=False),
    Look("#D55E00", ">", ":", filled=False),
    Look("#009E73", "p", ":", filled=False),
)

PUBLISHED = {
    "ideal": Look("#8c510a", "2", (0, (1, 2)), 1.1),
    "coder": Look("#8c510a", "1", (0, (3, 2)), 1.1),
    "file": Look("#8c510a", "+", (0, (1, 2)), 1.1),
}
"""Curves that others published, by what their rate counts."""

REPORTED = Look("#D55E00", "*", "none")
"""Points that others published."""


def look_of(codec: str) -> Look:
    """The look of a codec, the same in every figure; an unknown one takes a spare look."""
    return _LOOKS.get(codec) or _OTHERS[sum(codec.encode()) % len(_OTHERS)]


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the README's width, and its panels in reading order.

    Args:
        height: inches.
        rows, columns: of panels.
        options: for `plt.subplots`.
    """
    plt.rcParams.update(_SETTINGS)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, layout="constrained", **options)
    return figure, list(axes.flat)


def new_sheet(height: float) -> Figure:
    """An empty figure of the README's width, to be laid out by hand."""
    plt.rcParams.update(_SETTINGS)
    return plt.figure(figsize=(WIDTH, height), layout="none")


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.svg, the same bytes for the same figure, and close it."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.png", out / f"{name}.svg"]
    figure.savefig(paths[0], dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
