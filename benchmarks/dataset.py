"""What `diffcodec dataset` must show: the same bytes whatever is killed, its overhead and memory, and what many cost.

    python benchmarks/dataset.py identity --data GRID      # 2,000 pictures in 8 shards, tar and Parquet, with kills
    python benchmarks/dataset.py throughput --data GRID    # one worker against two, overhead, memory; an idle machine
    python benchmarks/dataset.py jobs --data GRID          # the local pool of `compress --jobs` against the engine
    python benchmarks/dataset.py cost                      # a 512 x 512 picture, and a hundred million of them

GRID is a picture of 32 x 32 tiles, such as CIFAR-10's; without --data the bundled 100 are used again and again. Every
command prints its figures, and writes them to benchmarks/results/dataset.json under its name.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from data_sets.making import HERE, pictures_from, write_shards

from diffcodec.cli.failures import explain
from diffcodec.errors import DiffCodecError
from diffcodec.evaluation.provenance import versions
from diffcodec.files import atomic_write

RESULTS = HERE / "results" / "dataset.json"

data_option = click.option("--data", type=click.Path(path_type=Path), help="A grid of 32 x 32 tiles.")
timestep_option = click.option("-t", "--timestep", type=click.IntRange(0), default=300, show_default=True)


def count_options(count: int, shards: int) -> Callable[[Any], Any]:
    """The options --count and --shards."""

    def decorate(function: Any) -> Any:
        function = click.option("--shards", type=click.IntRange(2), default=shards, show_default=True)(function)
        return click.option("--count", type=click.IntRange(4), default=count, show_default=True)(function)

    return decorate


def record(name: str, figures: dict[str, Any]) -> None:
    """Print figures, and write them beside those of other commands."""
    path: Path = click.get_current_context().find_root().params["out"]
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    packages = versions(("torch", "numpy", "ray", "pyarrow"))
    found[name] = {**figures, "machine": platform.machine(), "versions": packages}
    with atomic_write(path, overwrite=True) as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())
    for key, value in figures.items():
        click.echo(f"{key}: {value}")


class Reporting(click.Group):
    """Errors of diffcodec are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DiffCodecError as error:
            raise click.ClickException(explain(error) or str(error)) from error


@click.group(cls=Reporting, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS,
    show_default="benchmarks/results/dataset.json",
)
def main(out: Path) -> None:
    """Measure `diffcodec dataset`."""


@main.command()
@data_option
@timestep_option
@count_options(2000, 8)
def identity(data: Path | None, timestep: int, count: int, shards: int) -> None:
    """Two workers against a serial run, whatever is killed; a shard with broken members."""
    from data_sets.identity import compare_runs

    with tempfile.TemporaryDirectory() as folder:
        record("identity", compare_runs(pictures_from(data, count), shards, timestep, Path(folder), click.echo))


@main.command()
@data_option
@timestep_option
@count_options(2000, 16)
@click.option("--workers", default="1,2", show_default=True, help="Numbers of workers, separated by commas.")
def throughput(data: Path | None, timestep: int, count: int, shards: int, workers: str) -> None:
    """Pictures a second of workers of one thread, what is not compression, and memory."""
    from data_sets.speed import measure_workers

    pictures = pictures_from(data, count)
    with tempfile.TemporaryDirectory() as folder:
        source = write_shards(Path(folder) / "source", pictures, shards)
        rows = [
            measure_workers(source, Path(folder) / f"out-{number}", int(number), timestep)
            for number in workers.split(",")
        ]
    first = rows[0]
    for row in rows[1:]:
        row["ratio"] = round(row["pictures_per_s"] / first["pictures_per_s"], 3)
    record("throughput", {"pictures": count, "timestep": timestep, "workers": rows})


@main.command()
@data_option
@timestep_option
@count_options(400, 4)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def jobs(data: Path | None, timestep: int, count: int, shards: int, workers: int) -> None:
    """Seconds of `compress --recursive --jobs` and of `dataset compress` for a folder of pictures."""
    from data_sets.speed import time_command

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, picture in enumerate(pictures_from(data, count)):
            path = folder / "pictures" / f"{place % shards}" / f"{place:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
        source, end = str(folder / "pictures"), ("-t", str(timestep), "-q")
        pool = time_command("compress", source, "-r", "-o", str(folder / "a"), "-j", str(workers), *end)
        engine = time_command("dataset", "compress", source, "-o", str(folder / "b"), "--workers", str(workers), *end)
    record("jobs", {"pictures": count, "workers": workers, "pool_s": round(pool, 1), "engine_s": round(engine, 1)})


@main.command()
@click.option("--side", type=click.IntRange(65), default=512, show_default=True, help="Side of a picture, in pixels.")
@click.option("-t", "--timestep", type=click.IntRange(0), default=50, show_default=True)
@click.option("--total", type=click.IntRange(1), default=100_000_000, show_default=True, help="Number of pictures.")
@click.option("--cores", type=click.IntRange(1), default=1000, show_default=True)
def cost(side: int, timestep: int, total: int, cores: int) -> None:
    """Processor time and bytes of a picture, and of a data set of them."""
    from data_sets.cost import measure_picture, whole_data_set

    begin = time.perf_counter()
    picture = measure_picture(side, timestep)
    click.echo(f"measured in {time.perf_counter() - begin:.0f} s")
    record("cost", {**picture, **whole_data_set(picture, total, cores)})


if __name__ == "__main__":
    main()
