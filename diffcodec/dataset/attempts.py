"""Rows of a batch that are worked on together, without one of them stopping the others. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from diffcodec.coding.options import MAX_BATCH, MAX_BATCH_PIXELS
from diffcodec.errors import DiffCodecError, lacks_memory

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """Why a row has no result."""

    error: str


def attempt(
    work: Callable[[Sequence[int]], Sequence[Result]], places: Sequence[int], *, raise_bugs: bool
) -> dict[int, Result | Failed]:
    """The results of rows that are worked on together; if that fails, each is tried alone.

    Args:
        work: returns a result for each place that it gets.
        places: of the rows, at least one.
        raise_bugs: as for `failure`.
    """
    try:
        return dict(zip(places, work(places), strict=True))
    except Exception as error:  # any library may fail at a picture, with any exception
        if len(places) == 1:
            return {places[0]: failure(error, raise_bugs=raise_bugs)}
    alone = (attempt(work, [place], raise_bugs=raise_bugs) for place in places)
    return {place: outcome for each in alone for place, outcome in each.items()}


def failure(error: Exception, *, raise_bugs: bool = False) -> Failed:
    """The text of an error.

    Args:
        error: at a picture.
        raise_bugs: whether errors that no picture explains are raised. On a GPU they may be the device's, and would
            be those of all rows that follow.
    """
    if isinstance(error, DiffCodecError):
        return Failed(str(error))
    if lacks_memory(error):
        return Failed("not enough memory for this picture")
    if raise_bugs:
        raise error
    return Failed(f"unexpected {type(error).__name__}: {error}")


def alike(keys: Mapping[int, Hashable], pixels: Mapping[int, int]) -> list[list[int]]:
    """Places of rows that can go through the network together, in the order of their first row.

    Args:
        keys: by place; rows of equal keys go together, those of the key None alone.
        pixels: of each row's picture.
    """
    groups: list[list[int]] = []
    open_groups: dict[Hashable, list[int]] = {}
    for place, key in keys.items():
        most = max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // max(1, pixels[place])))
        group = None if key is None else open_groups.get(key)
        if group is None or len(group) >= most:
            groups.append(group := [])
            open_groups[key] = group
        group.append(place)
    return groups
