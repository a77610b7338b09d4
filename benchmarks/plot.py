"""The figures of the rate-distortion benchmark, from its result files.

    python benchmarks/plot.py            # all figures, from JSON alone
    python benchmarks/plot.py --strip    # also pictures at equal bytes, which are coded afresh
    python benchmarks/plot.py --compressai bpg.json    # also a result file of CompressAI

Writes PNG and SVG, and the BD-rates as JSON, and prints them as a Markdown table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffcodec.cli.failures import explain
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.files import atomic_write

if TYPE_CHECKING:
    from figures.records import Results

HERE = Path(__file__).parent
OURS = "diffcodec-trellis"


def draw_all(results: Results, out: Path) -> tuple[list[str], list[str]]:
    """Draw every figure for which there are results.

    Args:
        results: what was measured and reported.
        out: folder of the figures.

    Returns:
        Names of the figures drawn, and sentences about those that could not be.
    """
    from figures import bd_rate, curves, lossless, overhead, paper
    from figures.style import save

    drawn, skipped = [], []
    if bound := results.codecs.get("ddpm-bound"):
        if (table := results.reported.get("ddpm-table4")) is None:
            skipped.append("paper-figure5 is drawn without the paper's points: there is no ddpm-table4.json")
        save(paper.draw_paper_figure(bound, table), out, "paper-figure5")
        drawn.append("paper-figure5")
    else:
        skipped.append("paper-figure5 skipped: there is no ddpm-bound.json")
    if results.peers or results.own("trellis", "poisson"):
        for name, measures in (("bpp-psnr", curves.BPP_PSNR), ("bpd-rmse", curves.BPD_RMSE)):
            save(curves.draw_curves(results, measures), out, name)
            drawn.append(name)
    else:
        skipped.append("bpp-psnr and bpd-rmse skipped: there is no lossy codec")
    if channels := results.own("trellis", "poisson"):
        save(overhead.draw_overhead(results, channels), out, "overhead")
        drawn.append("overhead")
    else:
        skipped.append(f"overhead skipped: there is neither {OURS}.json nor diffcodec-poisson.json")
    ours = results.codecs.get(OURS)
    if ours and (comparisons := bd_rate.compare_all(results, ours)):
        save(bd_rate.draw_bd_rate(comparisons, ours), out, "bd-rate")
        drawn.append("bd-rate")
        with atomic_write(out / "bd-rate.json", overwrite=True) as file:
            file.write((json.dumps(bd_rate.record(comparisons, ours), indent=1) + "\n").encode())
        click.echo(bd_rate.markdown(comparisons, ours))
    else:
        skipped.append(f"bd-rate skipped: it needs {OURS}.json and another codec")
    if (figure := lossless.draw_lossless(results)) is not None:
        save(figure, out, "lossless")
        drawn.append("lossless")
    else:
        skipped.append("lossless skipped: there is no lossless codec")
    return drawn, skipped


def draw_strips(
    results: Results, out: Path, data: str, model: str | None, timesteps: Sequence[int], images: Sequence[int]
) -> tuple[list[str], list[str]]:
    """Draw pictures at equal bytes, by whole files and without headers.

    Args:
        results: for the settings, and for the mean bytes.
        out: folder of the figures.
        data: the pictures that were measured.
        model: the one that was measured.
        timesteps: sizes, as timesteps of our codec.
        images: which of the pictures.

    Returns:
        Names of the figures drawn, and sentences about what is odd.

    Raises:
        ConfigError: if the results are of other pictures or another model.
    """
    from figures import strip
    from figures.style import save

    from diffcodec.codec import DiffusionCodec
    from diffcodec.evaluation.baselines import available_baselines
    from diffcodec.evaluation.datasets import load_dataset

    if (ours := results.codecs.get(OURS)) is None or not ours.points:
        raise ConfigError(f"--strip needs {OURS}.json: run benchmarks/rate_distortion.py first")
    codec, dataset = DiffusionCodec.from_pretrained(model), load_dataset(data, limit=ours.images)
    strip.check_origin(ours, codec, dataset)
    if wrong := [str(index) for index in images if not 0 <= index < len(dataset.pictures)]:
        raise ConfigError(f"--strip-images: {data} has no picture {', '.join(wrong)}")
    pictures = {index: dataset.pictures[index] for index in images}
    baselines, notes = available_baselines()
    coders = {baseline.name: baseline for baseline in baselines}
    drawn = []
    for name, counting in (("strip-whole-files", strip.WHOLE_FILE), ("strip-payload", strip.PAYLOAD)):
        groups = [strip.encode_group(codec, ours, results.peers, coders, pictures, t, counting) for t in timesteps]
        notes += [note for group in groups for note in group.notes]
        save(strip.draw_strip(groups, list(pictures.values())), out, name)
        drawn.append(name)
    return drawn, list(dict.fromkeys(notes))


def integers(option: str, text: str) -> list[int]:
    """Integers joined by commas, each once."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{option}: expected integers joined by commas, found {text!r}") from error


FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--results",
    "folder",
    type=FOLDER,
    default=HERE / "results" / "cifar10-test-100",
    show_default="benchmarks/results/cifar10-test-100",
    help="Result files of one data set.",
)
@click.option(
    "--reported",
    type=FOLDER,
    default=HERE / "reported",
    show_default="benchmarks/reported",
    help="What others published.",
)
@click.option(
    "--compressai",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Also draw a result file of CompressAI, measured on the same pictures; can be repeated.",
)
@click.option(
    "--out",
    type=FOLDER,
    default=HERE.parent / "docs" / "images" / "rate-distortion",
    show_default="docs/images/rate-distortion",
)
@click.option("--strip", is_flag=True, help="Also draw pictures at equal bytes; codes them, which takes a minute.")
@click.option("--strip-timesteps", default="100,20", show_default=True, help="Sizes of the strip, as our timesteps.")
@click.option("--strip-images", default="0,1,2,3", show_default=True, help="Pictures of the strip, counted from 0.")
@click.option(
    "--data",
    default=str(HERE / "data" / "cifar10-test-100.webp"),
    show_default="the bundled 100 images",
    help="The measured pictures, for the strip.",
)
@click.option("--model", help="The measured model, for the strip.  [default: the bundled one]")
def main(
    folder: Path,
    reported: Path,
    compressai: tuple[Path, ...],
    out: Path,
    strip: bool,
    strip_timesteps: str,
    strip_images: str,
    data: str,
    model: str | None,
) -> None:
    """Draw the figures of the rate-distortion benchmark."""
    try:
        from figures.records import load_results

        results = load_results(folder, reported, compressai)
        drawn, notes = draw_all(results, out)
        if strip:
            timesteps, images = integers("--strip-timesteps", strip_timesteps), integers("--strip-images", strip_images)
            more, odd = draw_strips(results, out, data, model, timesteps, images)
            drawn, notes = drawn + more, notes + odd
    except DiffCodecError as error:
        raise click.ClickException(explain(error) or str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'diffcodec[bench]'") from error
    if results.missing:
        click.echo(f"no results of {', '.join(results.missing)} in {folder}", err=True)
    for note in notes:
        click.echo(note, err=True)
    click.echo(f"wrote {', '.join(drawn)} to {out}", err=True)


if __name__ == "__main__":
    main()
