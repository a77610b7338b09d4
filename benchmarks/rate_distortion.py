"""Rate and distortion of the codec with real files, of what it could be at best, and of every other codec.

    python benchmarks/rate_distortion.py                                    # the bundled 100 test images, all parts
    python benchmarks/rate_distortion.py --limit 4 --timesteps 500,100,1    # a quick look
    python benchmarks/rate_distortion.py --data cifar10 --root ~/datasets --limit 1000 --parts bound

Writes benchmarks/results/<data set>/<codec>.json, a point at a time, with every image's row, and prints tables. What
is there is not measured again. docs/benchmarks.md explains the columns and draws the figures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from diffcodec.cli.failures import explain
from diffcodec.codec import DiffusionCodec
from diffcodec.config import DEFAULT_EFFORT, MAX_EFFORT, MIN_EFFORT
from diffcodec.devices import check_device
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.evaluation import bound_results
from diffcodec.evaluation.baselines import available_baselines
from diffcodec.evaluation.datasets import Dataset, load_dataset
from diffcodec.evaluation.points import Measured, ModelSource, Point, measure_points, timesteps_from
from diffcodec.evaluation.provenance import OWN_LIBRARIES, conditions, machine
from diffcodec.evaluation.records import ResultFile, read_results
from diffcodec.evaluation.summary_table import bound_line, codec_table, table_4

HERE = Path(__file__).parent
BUNDLED = HERE / "data" / "cifar10-test-100.webp"
TABLE_4 = HERE / "reported" / "ddpm-table4.json"

PARTS = ("bound", "codec", "true-sampling", "poisson", "lossless", "peers")
DEFAULT_TIMESTEPS = "500,300,200,100,50,30,20,10,5,2,1"
POISSON_TIMESTEPS = 4
PEER_LIBRARIES = ("pillow", "pillow-jxl-plugin", "piq")
PIQ_HINT = "piq is missing: pip install 'diffcodec[bench]'"


def chosen_parts(text: str) -> list[str]:
    """Parts joined by commas, in the order of PARTS."""
    names = [part.strip() for part in text.split(",")]
    if wrong := [name for name in names if name not in PARTS]:
        raise ConfigError(f"--parts: expected some of {','.join(PARTS)}, found {', '.join(map(repr, wrong))}")
    return [part for part in PARTS if part in names]


def spread_over(timesteps: Sequence[int], count: int) -> list[int]:
    """Some of the timesteps, evenly, without the coarsest, where a file is little more than its header."""
    places = np.linspace(min(1, len(timesteps) - 1), len(timesteps) - 1, count).round().astype(int)
    return [timesteps[place] for place in sorted(set(places.tolist()))]


@dataclass
class Benchmark:
    """What was asked for, and the result files that come of it.

    Args:
        dataset: the pictures.
        codec: the codec, for its tables; the processes load their own.
        measured: all pictures, with model and device.
        timesteps: of the codec.
        channel, effort: of the codec.
        folder: of the result files.
        command, machine: for the result files.
        fresh: start over.
    """

    dataset: Dataset
    codec: DiffusionCodec
    measured: Measured
    timesteps: list[int]
    channel: str
    effort: int
    folder: Path
    command: str
    machine: str
    fresh: bool
    files: dict[str, ResultFile] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def open(
        self, name: str, label: str, kind: str, *, images: int | None = None, fresh: bool | None = None, **settings: Any
    ) -> None:
        """Make a result file known, with what was measured under the same conditions before."""
        peer = not name.startswith(("diffcodec", "ddpm"))
        self.files[name] = ResultFile(
            self.folder / f"{name}.json",
            conditions(
                name,
                label,
                kind,
                self.dataset,
                seed=self.measured.seed,
                images=images,
                model=None if peer else self.codec.model,
                libraries=PEER_LIBRARIES if peer else OWN_LIBRARIES,
                **settings,
            ),
            {"command": self.command, "machine": self.machine},
            fresh=self.fresh if fresh is None else fresh,
        )

    @property
    def steps_done(self) -> list[int]:
        """T - t + 1 of the points of the bound."""
        return bound_results.wanted_steps(self.codec.denoiser.schedule.steps, self.timesteps)

    def want(self, point: Point) -> None:
        """Measure a point, unless it is there."""
        if point.setting not in self.files[point.codec]:
            self.points.append(point)

    # ------------------------------------------------------------------------------------------ parts

    def open_bound(self, fresh: bool | None = None) -> ResultFile:
        """The file of the paper's procedure."""
        self.open("ddpm-bound", "DDPM bound, ideal", "bound", fresh=fresh)
        return self.files["ddpm-bound"]

    def add_bound(self) -> None:
        """The paper's procedure."""
        results = self.open_bound()
        if bound_results.is_complete(results, self.steps_done):
            return
        try:
            self.points.append(self.measured.bound_point(self.codec))
        except ConfigError as error:
            self.notes.append(f"bound is left out: {error}")
            del self.files["ddpm-bound"]

    def add_codec(self) -> None:
        """Real files at every timestep."""
        name = f"diffcodec-{self.channel}"
        self.open(name, f"diffcodec ({self.channel})", "lossy", channel=self.channel, effort=self.effort)
        for timestep in self.timesteps:
            self.want(self.measured.file_point(self.codec, name, timestep, self.channel, self.effort))

    def add_true_sampling(self) -> None:
        """The same steps with true samples at no cost."""
        self.open("diffcodec-true-sampling", "diffcodec, true samples (ideal)", "bound")
        for timestep in self.timesteps:
            self.want(self.measured.true_sampling_point(self.codec, timestep))

    def add_poisson(self, limit: int) -> None:
        """Real files through the published channel, which is slow: of few pictures at few timesteps."""
        if "diffcodec-poisson" in self.files:
            self.notes.append("poisson is left out: it is the codec's channel already")
            return
        some = replace(self.measured, pictures=self.measured.pictures[:limit])
        self.open(
            "diffcodec-poisson",
            "diffcodec (poisson)",
            "lossy",
            images=len(some.pictures),
            channel="poisson",
            effort=self.effort,
        )
        for timestep in spread_over(self.timesteps, POISSON_TIMESTEPS):
            self.want(some.file_point(self.codec, "diffcodec-poisson", timestep, "poisson", self.effort))

    def add_lossless(self) -> None:
        """Exact files."""
        if self.codec.tables.lossless is None:
            self.notes.append("lossless is left out: the model has no tables for it, run `diffcodec calibrate` on it")
            return
        self.open("diffcodec-lossless", "diffcodec lossless", "lossless", channel=self.channel, effort=self.effort)
        self.want(self.measured.file_point(self.codec, "diffcodec-lossless", 0, self.channel, self.effort))

    def add_peers(self) -> None:
        """Every codec that is installed here, over its range."""
        if find_spec("piq") is None:
            self.notes.append(f"peers are left out: {PIQ_HINT}")
            return
        baselines, missing = available_baselines()
        self.notes += missing
        for baseline in baselines:
            self.open(baseline.name, baseline.label, "lossless" if baseline.lossless else "lossy")
            for parameter in baseline.parameters:
                self.want(self.measured.peer_point(baseline, parameter))

    # ---------------------------------------------------------------------------------------- results

    def run(self, processes: int) -> None:
        """Measure the points, and file each one as soon as all of its pictures are done."""
        layout = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"
        total = sum(job.cost for point in self.points for job in point.jobs)
        with tqdm(total=total, bar_format=layout, smoothing=0.02, disable=not self.points) as bar:

            def progress(point: Point, cost: float) -> None:
                bar.set_postfix_str(f"{point.codec}, {point.setting}", refresh=False)
                bar.update(cost)

            for point, results in measure_points(self.points, processes, progress):
                self.finish(point, results)

    def finish(self, point: Point, results: list[Any]) -> None:
        """File a point."""
        if point.codec == "ddpm-bound":
            measurement = bound_results.join(point.indices, results)
            file = self.files[point.codec]
            bound_results.write_bound(file, measurement, self.dataset.pictures, self.steps_done, self.measured.seed)
            return
        if reasons := [result for result in results if isinstance(result, str)]:
            self.notes += reasons
            return
        rows = point.rows(results)
        extra: dict[str, Any] = {}
        if self.files[point.codec].conditions["model"] is None:
            headers = {row["header_bytes"] for row in rows}  # one for each size of pictures
            extra["flat_grey_bytes"] = headers.pop() if len(headers) == 1 else None
        self.files[point.codec].add(point.setting, point.parameter, rows, **extra)

    def attach_references(self) -> None:
        """Tell the codec's rows what the network needs, if that is known, be it from an earlier run."""
        if "ddpm-bound" not in self.files:
            self.open_bound(fresh=False)
        for name, file in self.files.items():
            if name.startswith("diffcodec"):
                bound_results.attach_references(file, self.files["ddpm-bound"], self.dataset.pictures)

    def report(self) -> str:
        """All points as tables, and what is missing."""
        found = [file.document for file in self.files.values() if file.points]
        found.sort(key=lambda result: bool(result["kind"] == "lossless"))
        sections = [codec_table([result for result in found if result["codec"] != "ddpm-bound"])]
        for bound in (result for result in found if result["codec"] == "ddpm-bound"):
            sections += [bound_line(bound), table_4(bound, read_results(TABLE_4))]
        return "\n\n".join([*sections, *self.notes])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    default=BUNDLED.stem,
    show_default=True,
    help="cifar10-test-100 (bundled), cifar10 (torchvision's test set), a folder of pictures, or a file "
    "with a grid of 32 x 32 tiles.",
)
@click.option("--root", default="data", show_default=True, help="Where to find CIFAR-10, or to download it to.")
@click.option("--limit", type=click.IntRange(1), help="Number of pictures, from the first.  [default: all]")
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option("--timesteps", default=DEFAULT_TIMESTEPS, show_default=True, help="Of the codec's files.")
@click.option("--parts", default=",".join(PARTS), show_default=True, help="What to measure.")
@click.option(
    "--channel",
    type=click.Choice(["trellis", "poisson"]),
    default="trellis",
    show_default=True,
    help="Of the codec's files.",
)
@click.option("--effort", type=click.IntRange(MIN_EFFORT, MAX_EFFORT), default=DEFAULT_EFFORT, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Of all noise and of the bootstrap; other than 0 it costs files 8 bytes.",
)
@click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu or cuda.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    help="Processes, of one thread each; results do not depend on it.",
)
@click.option(
    "--poisson-limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Number of pictures for the slow poisson channel.",
)
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results", show_default="benchmarks/results")
@click.option("--fresh", is_flag=True, help="Measure everything anew.")
@click.pass_context
def main(
    ctx: click.Context,
    data: str,
    root: str,
    limit: int | None,
    model: str | None,
    timesteps: str,
    parts: str,
    channel: str,
    effort: int,
    seed: int,
    device: str,
    jobs: int,
    poisson_limit: int,
    out: Path,
    fresh: bool,
) -> None:
    """Measure rate and distortion of the codec, of its bounds and of its peers."""
    begin = time.perf_counter()
    try:
        chosen = chosen_parts(parts)
        check_device(device)
        codec = DiffusionCodec.from_pretrained(model)
        dataset = load_dataset(str(BUNDLED) if data == BUNDLED.stem else data, root=root, limit=limit)
        benchmark = Benchmark(
            dataset,
            codec,
            Measured(dataset.pictures, ModelSource(model, device), seed),
            timesteps_from(timesteps, codec),
            channel,
            effort,
            out / dataset.name,
            command_of(ctx),
            machine(device, jobs),
            fresh,
            notes=list(dataset.notes),
        )
        adders = {
            "bound": benchmark.add_bound,
            "codec": benchmark.add_codec,
            "true-sampling": benchmark.add_true_sampling,
            "poisson": lambda: benchmark.add_poisson(poisson_limit),
            "lossless": benchmark.add_lossless,
            "peers": benchmark.add_peers,
        }
        if find_spec("piq") is None:
            benchmark.notes.append(f"MS-SSIM is left out: {PIQ_HINT}")
        for part in chosen:
            adders[part]()
        for note in benchmark.notes:
            click.echo(note, err=True)
        benchmark.run(jobs)
        benchmark.attach_references()
        click.echo(benchmark.report())
        click.echo(
            f"{len(dataset.pictures)} pictures of {dataset.name}, seed {seed}: {len(benchmark.points)} points "
            f"measured in {time.perf_counter() - begin:.0f} s; results in {benchmark.folder}"
        )
    except DiffCodecError as error:
        raise click.ClickException(explain(error) or str(error)) from error


def command_of(ctx: click.Context) -> str:
    """The command as another could give it: what changes results, without anybody's paths."""
    words = ["python benchmarks/rate_distortion.py"]
    for name in ("data", "limit", "model", "timesteps", "parts", "channel", "effort", "seed", "poisson_limit"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            value = ctx.params[name]
            value = Path(value).name if name in ("data", "model") else value
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


if __name__ == "__main__":
    main()
