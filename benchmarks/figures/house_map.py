"""The map of the package as an SVG picture: rooms on their floors, and the arrows that no other way explains."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from html import escape

from house import House, room_of

WIDTH, FLOOR_HEIGHT = 1180, 92
ROOM_WIDTH, ROOM_HEIGHT = 150, 46
MARGIN = 20


@dataclass(frozen=True)
class Place:
    """Where a room is drawn: the middle of its upper edge, in pixels."""

    x: float
    y: float


def needed_arrows(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that do not follow from others: the transitive reduction."""
    reach: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reach:
            reach[room] = set(rooms.get(room, ())).union(*(below(other) for other in rooms.get(room, ())))
        return reach[room]

    return sorted(
        (room, other)
        for room, others in rooms.items()
        for other in others
        if not any(other in below(third) for third in others - {other})
    )


def draw(house: House) -> str:
    """The map, as the text of an SVG file."""
    floors = house.floors()
    by_floor: defaultdict[int, list[str]] = defaultdict(list)
    for room in sorted(floors):
        by_floor[floors[room]].append(room)
    highest = max(by_floor)
    places = {
        room: Place(WIDTH * (k + 1) / (len(row) + 1), MARGIN + (highest - floor) * FLOOR_HEIGHT)
        for floor, row in by_floor.items()
        for k, room in enumerate(row)
    }
    height = MARGIN + highest * FLOOR_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#7a8699"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for room, other in needed_arrows(house.rooms):
        start, end = places[room], places[other]
        lines.append(
            f'<line x1="{start.x:.0f}" y1="{start.y + ROOM_HEIGHT:.0f}" x2="{end.x:.0f}" y2="{end.y - 2:.0f}" '
            'stroke="#7a8699" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for room, place in places.items():
        files = [name for name in house.files if room_of(name) == room]
        is_folder = "/" in files[0]
        label, detail = (f"{room}/", f"{len(files)} modules") if is_folder else (f"{room}.py", "")
        x = place.x - ROOM_WIDTH / 2
        lines.append(
            f'<rect x="{x:.0f}" y="{place.y:.0f}" width="{ROOM_WIDTH}" height="{ROOM_HEIGHT}" rx="6" '
            f'fill="{"#dbe8ff" if is_folder else "#f1f3f6"}" stroke="#7a8699"/>'
        )
        below = 20 if detail else 28
        lines.append(
            f'<text x="{place.x:.0f}" y="{place.y + below:.0f}" text-anchor="middle" font-size="14">'
            f"{escape(label)}</text>"
        )
        if detail:
            lines.append(
                f'<text x="{place.x:.0f}" y="{place.y + 37:.0f}" text-anchor="middle" font-size="11" fill="#55606e">'
                f"{detail}</text>"
            )
    return "\n".join([*lines, "</svg>"]) + "\n"
