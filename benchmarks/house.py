"""The structure of the package in numbers: rooms, floors, arrows, and the way of one picture through them.

    git worktree add ../before 45ca1cf    # 0.5.0
    python benchmarks/house.py ../before .
    python benchmarks/house.py --draw docs/images/house.svg    # the map of docs/architecture.md

A *room* is a folder or a loose module directly in `diffcodec/`; an *arrow* says that a room imports from another; a
*floor* is one more than that of the highest room that it imports from. The way of a picture is measured while one is
compressed: calls from one file of the package to another, and those among them that lead up to a higher floor.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "benchmarks" / "data" / "chelsea-192.png"


@dataclass(frozen=True)
class House:
    """Files of a package and what they import.

    Args:
        files: lines of every file, by its path within the package.
        imports: for every file, the files of the package that it imports.
    """

    files: dict[str, int]
    imports: dict[str, set[str]]

    @classmethod
    def of(cls, package: Path) -> House:
        """Read the files of a package."""
        paths = {str(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
        texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
        return cls(
            {name: text.count("\n") for name, text in texts.items()},
            {name: imported_files(text, package.name, set(paths)) - {name} for name, text in texts.items()},
        )

    @property
    def rooms(self) -> dict[str, set[str]]:
        """For every room, those that it imports from. What only hands names on is no room."""
        found: dict[str, set[str]] = {}
        for name, imported in self.imports.items():
            if (room := room_of(name)) is not None:
                others = {room_of(other) for other in imported} - {room, None}
                found.setdefault(room, set()).update(other for other in others if other is not None)
        return found

    def floors(self) -> dict[str, int]:
        """The floor of every room, from 1.

        Raises:
            CycleError: if rooms import each other in a circle.
        """
        rooms = self.rooms
        floors: dict[str, int] = {}
        for room in TopologicalSorter(rooms).static_order():
            floors[room] = 1 + max((floors[other] for other in rooms.get(room, ())), default=0)
        return floors


def room_of(name: str) -> str | None:
    """The room of a file; None for the package's own face."""
    first = Path(name).parts[0]
    return None if first in ("__init__.py", "__main__.py") else first.removesuffix(".py")


def imported_files(text: str, package: str, files: set[str]) -> set[str]:
    """The files that a module imports, at its top or inside functions, but not those for type checkers alone."""
    found = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1:
                path = "/".join(parts[1:])
                found |= {file for file in (f"{path}.py", f"{path}/__init__.py") if file in files}
    return found


class Tracer:
    """Counts calls between files of a package while it is installed with `sys.setprofile`.

    Args:
        package: folder of the package.
        floors: of its rooms.
    """

    def __init__(self, package: Path, floors: dict[str, int]) -> None:
        self.package, self.floors = str(package.resolve()) + os.sep, floors
        self.files: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take note of a call."""
        if event != "call" or not (callee := self._file(frame)):
            return
        self.files.add(callee)
        back = frame.f_back
        while back is not None and not (caller := self._file(back)):
            back = back.f_back
        if back is not None and caller != callee:
            self.pairs.add((caller, callee))

    def _file(self, frame: FrameType) -> str:
        name = frame.f_code.co_filename
        return name.removeprefix(self.package) if name.startswith(self.package) else ""

    def upwards(self) -> int:
        """Number of pairs of files whose calls lead to a higher floor."""
        heights = [[self.floors.get(room_of(file) or "", 0) for file in pair] for pair in self.pairs]
        return sum(callee > caller for caller, callee in heights)


def picture_trip(checkout: Path) -> dict[str, int]:
    """Compress one picture with a checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(
        [sys.executable, __file__, "--trip", str(checkout.resolve())],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, int] = json.loads(done.stdout)
    return result


def trip(checkout: Path) -> dict[str, int]:
    """What `picture_trip` measures."""
    from diffcodec import DiffusionCodec, read_picture

    package = checkout / "diffcodec"
    codec, picture = DiffusionCodec.for_size(192, 192), read_picture(PICTURE)
    tracer = Tracer(package, House.of(package).floors())
    sys.setprofile(tracer)
    codec.compress(picture, timestep=300)
    sys.setprofile(None)
    return {"files": len(tracer.files), "pairs": len(tracer.pairs), "upwards": tracer.upwards()}


def figures(checkout: Path) -> dict[str, object]:
    """The numbers of a checkout, by what they count."""
    house = House.of(checkout / "diffcodec")
    rooms = house.rooms
    try:
        highest: object = max(house.floors().values())
    except CycleError as error:
        highest = f"none: {' -> '.join(error.args[1])}"
    largest = max(house.files, key=lambda name: house.files[name])
    way = picture_trip(checkout)
    return {
        "modules": len(house.files),
        "loose modules at the top": sum("/" not in name for name in house.files),
        "rooms": len(rooms),
        "floors": highest,
        "arrows between rooms": sum(map(len, rooms.values())),
        "arrows between modules": sum(map(len, house.imports.values())),
        "modules of more than 300 lines": sum(lines > 300 for lines in house.files.values()),
        "longest module": f"{largest}, {house.files[largest]} lines",
        "files that a picture visits": way["files"],
        "pairs of files that call each other on its way": way["pairs"],
        "of which upwards": way["upwards"],
    }


@click.command()
@click.argument("checkouts", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--draw", "picture", type=click.Path(path_type=Path), help="Only draw the map of this checkout: an SVG.")
@click.option("--trip", "traced", type=click.Path(path_type=Path), hidden=True)
def main(checkouts: tuple[Path, ...], picture: Path | None, traced: Path | None) -> None:
    """Print the numbers of CHECKOUTS side by side (by default of this one)."""
    if picture is not None:
        from figures.house_map import draw

        picture.write_text(draw(House.of(ROOT / "diffcodec")), encoding="utf-8")
        return
    if traced is not None:
        click.echo(json.dumps(trip(traced)))
        return
    columns = [figures(checkout) for checkout in checkouts or (ROOT,)]
    for name in columns[0]:
        click.echo(f"{name:<48}" + "".join(f"{column[name]!s:>42}" for column in columns))


if __name__ == "__main__":
    main()
