"""Real photographs: diffcodec against JPEG, WebP, JPEG 2000, AVIF and JPEG XL.

    python benchmarks/photos.py --kodak KODAK --cbsd68 CBSD68    # measure; goes on where it was stopped
    python benchmarks/photos.py --kodak KODAK --best             # our smallest files, too
    python benchmarks/photos.py --kodak KODAK --timing           # seconds and memory of one picture
    python benchmarks/photos.py --markdown                       # the tables, from the result files alone
    python benchmarks/photos.py --plot                           # the curves, from the result files alone
    python benchmarks/photos.py --kodak KODAK --strip            # crops at equal bytes, which are coded afresh

KODAK and CBSD68 are folders with the pictures of those names; --data NAME=FOLDER takes any other photographs. Writes
benchmarks/results/photos/<data set>/<codec>.json, with every picture's row. docs/photos.md explains the columns.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from diffcodec.cli.failures import explain
from diffcodec.codec import DiffusionCodec
from diffcodec.devices import check_device
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.evaluation.datasets import Dataset, load_dataset, picture_files
from diffcodec.evaluation.points import timesteps_from
from diffcodec.evaluation.provenance import machine, model_conditions, versions
from diffcodec.files import atomic_write
from diffcodec.images import Picture, read_picture
from diffcodec.model.locations import PHOTO_MODEL

HERE = Path(__file__).parent
COSTS = "costs.json"
PICTURES = {"kodak": 24, "cbsd68": 68}
"""How many pictures the well-known sets have."""


@dataclass(frozen=True)
class Source:
    """Photographs that were asked for.

    Args:
        name: as results are filed.
        folder: where they are.
        limit: take only so many.
    """

    name: str
    folder: Path
    limit: int | None

    def files(self) -> list[Path]:
        """The files of all pictures.

        Raises:
            ConfigError: if there is no such folder, or no picture in it.
        """
        if not self.folder.is_dir():
            raise ConfigError(f"{self.name}: {self.folder}: no such folder; pass the one that holds the pictures")
        return picture_files(self.folder)

    def load(self) -> tuple[Dataset, list[str]]:
        """The pictures, and sentences about what is odd.

        Raises:
            ConfigError: if there is no such folder, or no picture in it.
        """
        self.files()
        dataset = load_dataset(str(self.folder), limit=self.limit, name=self.name)
        expected = PICTURES.get(self.name)
        notes = [f"{self.name}: {note}" for note in dataset.notes]
        if expected is not None and self.limit is None and len(dataset) != expected:
            notes.append(f"{self.name}: expected {expected} pictures, found {len(dataset)}; they are taken as they are")
        return dataset, notes


def sources_from(
    kodak: Path | None, cbsd68: Path | None, others: Sequence[str], limit: int | None, cbsd_limit: int | None
) -> list[Source]:
    """What was asked for.

    Raises:
        ConfigError: if an own data set has no name, no folder, or a name that is taken.
    """
    found = [Source("kodak", kodak, limit)] if kodak else []
    if cbsd68:
        found.append(Source("cbsd68", cbsd68, cbsd_limit or limit))
    for text in others:
        name, sign, folder = text.partition("=")
        if not (name and sign and folder) or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"--data: expected NAME=FOLDER, a name of letters, digits, - and _, found {text!r}")
        if name in [source.name for source in found]:
            raise ConfigError(f"--data: there are two data sets called {name}: give them names of their own")
        found.append(Source(name, Path(folder), limit))
    return found


def measure(
    sources: Sequence[Source],
    model: str,
    device: str,
    timestep: int,
    seed: int,
    jobs: int,
    out: Path,
    fresh: bool,
    best: bool,
    command: str,
) -> list[Path]:
    """Measure all codecs on all data sets.

    Returns:
        The folders of the result files.
    """
    from photographs.measure import BEST, OwnSettings, photo_baselines
    from photographs.run import DatasetRun

    check_device(device)
    loaded = [source.load() for source in sources]  # before anything takes time
    codec = DiffusionCodec.from_pretrained(model)
    timesteps_from(str(timestep), codec)
    baselines, missing = photo_baselines()
    say([*missing, *(note for _, notes in loaded for note in notes)])
    folders = []
    for dataset, _ in loaded:
        run = DatasetRun(
            dataset,
            codec,
            OwnSettings(model, device, timestep, seed),
            out / dataset.name,
            {"command": command, "machine": machine(device, jobs)},
            fresh,
        )
        run.add_own()
        if best:
            run.add_own(BEST)
        for baseline in baselines:
            run.add_peer(baseline)
        run.run(jobs)
        say(run.notes)
        folders.append(run.folder)
    return folders


def measure_costs(source: Source, model: str, out: Path) -> str:
    """Time the command line and measure memory on one picture, write both down, and tell of it as tables."""
    from photographs import tables
    from photographs.costs import TIMED_TIMESTEP, measure_memory, time_command_line, timed_picture
    from photographs.measure import kodak_name, photo_baselines

    path = timed_picture(source.files())
    codec = DiffusionCodec.from_pretrained(model)
    baselines, missing = photo_baselines()
    say(missing)
    picture = Picture(read_picture(path).pixels)
    costs = {
        "picture": kodak_name(path.stem),
        "model": model_conditions(codec.model),
        "machine": machine("cpu", 1),
        "versions": versions(("torch", "numpy", "pillow")),
        "command_line": time_command_line(path, model, TIMED_TIMESTEP),
        "memory": measure_memory(picture, model, TIMED_TIMESTEP, baselines),
    }
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / COSTS, overwrite=True) as file:
        file.write((json.dumps(costs, indent=1) + "\n").encode())
    return tables.costs_report(costs, markdown=False)


def result_folders(out: Path) -> list[Path]:
    """All data sets that were measured.

    Raises:
        ConfigError: if there is none.
    """
    folders = sorted((path for path in out.glob("*") if path.is_dir()), key=lambda path: (path.name != "kodak", path))
    if not folders:
        raise ConfigError(f"{out} has no results: run benchmarks/photos.py with --kodak, --cbsd68 or --data first")
    return folders


def say(notes: Sequence[str]) -> None:
    """Sentences for people."""
    for note in dict.fromkeys(notes):
        click.echo(note, err=True)


def print_tables(out: Path, folders: Sequence[Path], *, markdown: bool) -> None:
    """The tables of some data sets, and of the costs if they were measured."""
    from photographs import tables
    from photographs.rates import photo_results

    costs = read_costs(out)
    sections = [tables.report(photo_results(folder), costs, markdown=markdown) for folder in folders]
    if costs is not None:
        sections.append(tables.costs_report(costs, markdown=markdown))
    click.echo("\n\n".join(sections))


def read_costs(out: Path) -> dict[str, Any] | None:
    """What `--timing` wrote; None if it was not run.

    Raises:
        ConfigError: if the file is none of its.
    """
    path = out / COSTS
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["command_line"], found["memory"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a file of --timing ({error}): remove it, and run --timing again") from error
    return found


def draw_figures(out: Path, figures: Path, compressai: Sequence[tuple[str, Path]] = ()) -> list[str]:
    """The curves of every data set, and published ones beside them; names of the figures drawn.

    Args:
        out: folder of the results.
        figures: folder of the figures.
        compressai: names of data sets, and CompressAI's result files of them.
    """
    from figures.above_avif import REFERENCE, draw_above_avif
    from figures.photos import draw_photo_curves
    from figures.style import save
    from photographs.rates import photo_results, published_records

    names = []
    for folder in result_folders(out):
        names.append(f"{folder.name}-curves")
        more = [path for name, path in compressai if name == folder.name]
        results = photo_results(folder, more)
        save(draw_photo_curves(results), figures, names[-1])
        if (published := published_records(results)) and REFERENCE in results.codecs:
            names.append(f"{folder.name}-published")
            save(draw_above_avif(results, published), figures, names[-1])
    return names


def draw_strip(source: Source, model: str, out: Path, figures: Path, wanted: str) -> list[str]:
    """Crops of pictures at equal bytes; the name of the figure drawn."""
    from figures.crops import STRIP_BPP, choose_pictures, crop_groups, draw_crops
    from figures.style import save
    from photographs.measure import OURS, photo_baselines
    from photographs.rates import photo_results

    results = photo_results(out / source.name)
    if (ours := results.codecs.get(OURS)) is None:
        raise ConfigError(f"--strip needs {out / source.name / OURS}.json: run benchmarks/photos.py first")
    pictures = choose_pictures(source.files(), wanted)
    baselines, missing = photo_baselines()
    say(missing)
    groups = crop_groups(DiffusionCodec.from_pretrained(model), ours, baselines, pictures, STRIP_BPP)
    name = f"{source.name}-crops"
    save(draw_crops(groups, pictures), figures, name)
    return [name]


FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kodak", type=FOLDER, help="Folder of the 24 Kodak pictures.")
@click.option("--cbsd68", type=FOLDER, help="Folder of the 68 CBSD68 pictures.")
@click.option("--data", "others", multiple=True, metavar="NAME=FOLDER", help="Any other photographs; can be repeated.")
@click.option("--limit", type=click.IntRange(1), help="Number of pictures of each set, from the first.  [default: all]")
@click.option("--cbsd-limit", type=click.IntRange(1), help="Number of CBSD68's.  [default: as --limit]")
@click.option("--model", default=PHOTO_MODEL, show_default=True, help="Bundled model or model file.")
@click.option("--timestep", type=click.IntRange(1), default=2, show_default=True, help="Of the longest files.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu or cuda.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    help="Processes, of one thread each; results do not depend on it.",
)
@click.option("--out", type=FOLDER, default=HERE / "results" / "photos", show_default="benchmarks/results/photos")
@click.option("--fresh", is_flag=True, help="Measure everything anew.")
@click.option("--best", is_flag=True, help="Our files at speed 0, the smallest, too.")
@click.option("--timing", is_flag=True, help="Instead: seconds and memory of one picture of the first set.")
@click.option("--markdown", is_flag=True, help="Instead: print the tables as Markdown, from the result files.")
@click.option("--plot", is_flag=True, help="Instead: draw the curves, from the result files.")
@click.option(
    "--compressai", multiple=True, metavar="NAME=FILE", help="With --plot: also a result file of CompressAI for a set."
)
@click.option("--strip", is_flag=True, help="Instead: draw crops of pictures of the first set at equal bytes.")
@click.option("--strip-pictures", default="kodim07,kodim20,kodim23", show_default=True, help="Names without suffix.")
@click.option(
    "--figures",
    type=FOLDER,
    default=HERE.parent / "docs" / "images" / "photos",
    show_default="docs/images/photos",
    help="Where figures go.",
)
@click.pass_context
def main(
    ctx: click.Context,
    kodak: Path | None,
    cbsd68: Path | None,
    others: tuple[str, ...],
    limit: int | None,
    cbsd_limit: int | None,
    model: str,
    timestep: int,
    seed: int,
    device: str,
    jobs: int,
    out: Path,
    fresh: bool,
    best: bool,
    timing: bool,
    markdown: bool,
    plot: bool,
    compressai: tuple[str, ...],
    strip: bool,
    strip_pictures: str,
    figures: Path,
) -> None:
    """Measure rate, distortion and costs of photographs, with our codec and with others."""
    begin = time.perf_counter()
    try:
        if find_spec("piq") is None:
            raise ConfigError("MS-SSIM and HaarPSI need piq: pip install 'diffcodec[bench]'")
        sources = sources_from(kodak, cbsd68, others, limit, cbsd_limit)
        from_files_alone = (markdown or plot) and not (timing or strip)
        if not sources and not from_files_alone:
            raise ConfigError("no photographs: pass a folder with --kodak, --cbsd68 or --data NAME=FOLDER")
        if timing:
            click.echo(measure_costs(sources[0], model, out))
        others_files = [(text.partition("=")[0], Path(text.partition("=")[2])) for text in compressai]
        drawn = draw_figures(out, figures, others_files) if plot else []
        drawn += draw_strip(sources[0], model, out, figures, strip_pictures) if strip else []
        if drawn:
            click.echo(f"wrote {', '.join(drawn)} to {figures}", err=True)
        if markdown:
            print_tables(out, result_folders(out), markdown=True)
        if not (timing or plot or strip or markdown):
            folders = measure(sources, model, device, timestep, seed, jobs, out, fresh, best, command_of(ctx))
            print_tables(out, folders, markdown=False)
            click.echo(f"{time.perf_counter() - begin:.0f} s; results in {out}")
    except DiffCodecError as error:
        raise click.ClickException(explain(error) or str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'diffcodec[bench]'") from error


def command_of(ctx: click.Context) -> str:
    """The command as another could give it: what changes results, without anybody's paths."""
    words = ["python benchmarks/photos.py"]
    words += [f"--{name} {name.upper()}" for name in ("kodak", "cbsd68") if ctx.params[name]]
    words += [f"--data {text.partition('=')[0]}=FOLDER" for text in ctx.params["others"]]
    words += ["--best"] * ctx.params["best"]
    for name in ("limit", "cbsd_limit", "model", "timestep", "seed"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            value = Path(ctx.params[name]).name if name == "model" else ctx.params[name]
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


if __name__ == "__main__":
    main()
