"""A data set's measurements, and its result files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.speed import SPEEDS
from diffcodec.evaluation.baselines import Baseline
from diffcodec.evaluation.datasets import Dataset
from diffcodec.evaluation.points import Point, measure_points
from diffcodec.evaluation.provenance import OWN_LIBRARIES, conditions
from diffcodec.evaluation.records import ResultFile, Row
from photographs.measure import BEST, OURS, OwnSettings, own_point, peer_point

PEER_LIBRARIES = ("pillow", "pillow-jxl-plugin", "piq")


@dataclass
class DatasetRun:
    """What is to be measured of a data set, and the result files that come of it.

    What was measured under the same conditions before is not measured again.

    Args:
        dataset: the photographs.
        codec: ours, for what it is; the processes load their own.
        settings: of our files.
        folder: of the result files.
        description: command and machine, for the result files.
        fresh: start over.
    """

    dataset: Dataset
    codec: DiffusionCodec
    settings: OwnSettings
    folder: Path
    description: dict[str, str]
    fresh: bool
    files: dict[str, ResultFile] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_own(self, name: str = OURS) -> None:
        """Our curve of every picture, with default settings or, as `BEST`, at speed 0."""
        settings = replace(self.settings, codec=name)
        label, speed = ("diffcodec, speed 0", {"speed": 0}) if name == BEST else ("diffcodec", {})
        effort = SPEEDS[settings.speed].effort
        file = self._open(name, label, self.codec, channel="trellis", effort=effort, finest=settings.timestep, **speed)
        done = {row["image"] for point in file.points.values() for row in point["rows"]}
        self.points += [
            own_point(settings, place, picture)
            for place, picture in enumerate(self.dataset.pictures)
            if place not in done
        ]

    def add_peer(self, baseline: Baseline) -> None:
        """Another codec at all of its settings."""
        file = self._open(baseline.name, baseline.label, None)
        self.points += [
            peer_point(baseline, parameter, self.dataset.pictures)
            for parameter in baseline.parameters
            if baseline.setting(parameter) not in file
        ]

    def _open(self, name: str, label: str, codec: DiffusionCodec | None, **settings: Any) -> ResultFile:
        model, libraries = (None, PEER_LIBRARIES) if codec is None else (codec.model, OWN_LIBRARIES)
        self.files[name] = ResultFile(
            self.folder / f"{name}.json",
            conditions(
                name,
                label,
                "lossy",
                self.dataset,
                seed=self.settings.seed,
                model=model,
                libraries=libraries,
                **settings,
            ),
            self.description,
            fresh=self.fresh,
        )
        return self.files[name]

    def run(self, processes: int) -> None:
        """Measure the points, and file each one as soon as all of its pictures are done."""
        layout = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"
        total = sum(job.cost for point in self.points for job in point.jobs)
        with tqdm(total=total, bar_format=layout, smoothing=0.02, disable=not self.points) as bar:

            def progress(point: Point, cost: float) -> None:
                bar.set_postfix_str(f"{self.dataset.name}, {point.codec}, {point.setting}", refresh=False)
                bar.update(cost)

            for point, results in measure_points(self.points, processes, progress):
                self._finish(point, results)

    def _finish(self, point: Point, results: list[Any]) -> None:
        if point.codec in (OURS, BEST):
            self._add_picture(self.files[point.codec], round(point.parameter), results[0])
        elif reasons := [result for result in results if isinstance(result, str)]:
            self.notes += dict.fromkeys(reasons)
        else:
            self.files[point.codec].add(point.setting, point.parameter, point.rows(results))

    def _add_picture(self, file: ResultFile, place: int, rows: list[Row]) -> None:
        """Put the rows of a picture's files to those of the same number of steps of other pictures."""
        by_steps: defaultdict[str, list[Row]] = defaultdict(list)
        for setting, known in file.points.items():
            by_steps[setting] += known["rows"]
        for row in rows:
            setting = f"{row['steps']} steps"
            others = [other for other in by_steps[setting] if other["image"] != place]
            together = sorted([*others, {"image": place, **row}], key=lambda each: int(each["image"] or 0))
            file.put(setting, float(row["steps"] or 0), together)
        file.write()
