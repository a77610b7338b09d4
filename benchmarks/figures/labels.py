"""Names written beside curves, where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

_CLEARANCE_PT = 2.5
_SIZE_PT = 8.5
_ORDERS = 100
_NEARER = 0.65  # distance to a name's own curve over that to any other


@dataclass(frozen=True)
class Curve:
    """A drawn curve.

    Args:
        text: what to write beside it.
        colour: of the text.
        points: in data coordinates, (N, 2).
        bars: ends of the interval bars, (M, 2, 2), to be kept clear too.
    """

    text: str
    colour: str
    points: NDArray[np.float64]
    bars: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2, 2)))


def label_curves(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """Write each name beside its curve, clear of all curves and of other names.

    A name for which no place is free is left out: the legend has it.

    Returns:
        The names written.
    """
    figure = axes.figure
    figure.canvas.draw()  # the layout and the limits must stand before anything is measured
    pixels_per_pt = figure.dpi / 72
    limits = axes.get_xlim(), axes.get_ylim()
    lines = [_dense(axes.transData.transform(curve.points)) for curve in curves]
    bars = [_dense(axes.transData.transform(bar)) for curve in curves for bar in curve.bars if np.isfinite(bar).all()]
    obstacles = np.concatenate([*lines, *bars])
    texts, places = [], []
    for curve, own in zip(curves, lines, strict=True):
        label = axes.text(0, 0, curve.text, color=curve.colour, fontsize=_SIZE_PT, ha="left", va="bottom", zorder=4)
        label.set_path_effects([withStroke(linewidth=2, foreground="white")])  # the grid stays behind
        texts.append(label)
        others = [line for line in lines if line is not own]
        boxes = [
            box
            for box in _boxes(own, label.get_window_extent(), pixels_per_pt)
            if _inside(box, axes.get_window_extent())
        ]
        clear = [(_distance(box, obstacles), box) for box in boxes]
        # Clear of everything, but nearest to its own curve, so that it cannot be taken for another's name.
        places.append(
            [
                (clearance, box)
                for clearance, box in sorted(clear, key=lambda pair: -pair[0])
                if clearance >= _CLEARANCE_PT * pixels_per_pt
                and _distance(box, own) <= _NEARER * min((_distance(box, line) for line in others), default=np.inf)
            ]
        )
    chosen = _choose(places)
    for number, label in enumerate(texts):
        if number in chosen:
            box = chosen[number]
            x, y = axes.transData.inverted().transform((box.x0, box.y0))
            label.set_position((float(x), float(y)))
        else:
            label.remove()
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    return [curves[number].text for number in sorted(chosen)]


def _boxes(own: NDArray[np.float64], size: Bbox, pixels_per_pt: float) -> Iterator[Bbox]:
    """Places for a text of a size beside a polyline of pixels: left, right, above and below."""
    gap = 5 * pixels_per_pt
    for x, y in own[:: max(1, len(own) // 60)]:
        for across, up in ((-1.0, 0.5), (0.0, 0.5), (-1.0, -0.5), (0.0, -0.5), (-0.5, 1.0), (-0.5, -1.0)):
            left = x + across * size.width + np.sign(across + 0.5) * gap
            bottom = y + (up - 0.5) * size.height + np.sign(up) * 0.6 * gap
            yield Bbox.from_bounds(left, bottom, size.width, size.height)


def _choose(places: Sequence[Sequence[tuple[float, Bbox]]]) -> dict[int, Bbox]:
    """One place for as many texts as possible, so that none overlap: the best of some orders of taking turns.

    Args:
        places: for every text its clearances and boxes, best first.
    """
    rng = np.random.default_rng(0)
    best: dict[int, Bbox] = {}
    best_score = (0, 0.0)
    for _ in range(_ORDERS):
        taken: dict[int, Bbox] = {}
        score = 0.0
        for number in rng.permutation(len(places)):
            for clearance, box in places[number]:
                if not any(box.overlaps(other.padded(3)) for other in taken.values()):
                    taken[int(number)] = box
                    score += clearance
                    break
        if (len(taken), score) > best_score:
            best, best_score = taken, (len(taken), score)
    return best


def _dense(points: NDArray[np.float64], step: float = 4.0) -> NDArray[np.float64]:
    """Points along the polyline, at most `step` pixels apart, (M, 2)."""
    parts = [points[:1]]
    for begin, end in pairwise(points):
        count = max(1, int(np.ceil(np.linalg.norm(end - begin) / step)))
        parts.append(begin + (end - begin) * np.arange(1, count + 1)[:, None] / count)
    return np.concatenate(parts)


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 + 2 and box.x1 <= frame.x1 and box.y0 >= frame.y0 + 2 and box.y1 <= frame.y1)


def _distance(box: Bbox, points: NDArray[np.float64]) -> float:
    """Pixels from the box to the nearest point; 0 if one is in it."""
    nearest = np.clip(points, [box.x0, box.y0], [box.x1, box.y1])
    return float(np.linalg.norm(points - nearest, axis=1).min())
