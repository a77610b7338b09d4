"""The numbers and the map of the house."""

from __future__ import annotations

from pathlib import Path

from figures.house_map import draw, needed_arrows
from house import House

ROOT = Path(__file__).parents[2]


def test_the_map_in_the_docs_is_that_of_the_code() -> None:
    """Redraw it with `python benchmarks/house.py --draw docs/images/house.svg`."""
    drawn = (ROOT / "docs" / "images" / "house.svg").read_text(encoding="utf-8")
    assert drawn == draw(House.of(ROOT / "diffcodec"))


def test_the_house_is_as_low_as_it_is_meant_to_be() -> None:
    house = House.of(ROOT / "diffcodec")
    assert max(house.floors().values()) <= 10
    assert sum("/" not in name for name in house.files) <= 10
    assert {name: lines for name, lines in house.files.items() if lines > 300} == {}


def test_arrows_that_others_imply_are_left_out() -> None:
    assert needed_arrows({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]
