"""The benchmark of photographs: curves from one file, equal rates, costs, tables and figures, with the tiny model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.evaluation import points
from diffcodec.evaluation.baselines import available_baselines
from diffcodec.images import Picture
from tests.conftest import save_pictures, smooth_pixels

pytest.importorskip("matplotlib")
pytest.importorskip("bjontegaard")
pytest.importorskip("piq")
import photos
from figures import above_avif, bd_rate, crops
from photographs import costs, measure, tables
from photographs.rates import compare_over_rates, mean_and_count, photo_results, published_records, values_at

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

SIZES = ((48, 48), (48, 40), (40, 48))


@pytest.fixture(scope="module")
def model(shared_tiny_model: Path) -> Path:
    return shared_tiny_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {f"kodim0{number}.png": size for number, size in enumerate(SIZES, 1)}
    return save_pictures(tmp_path_factory.mktemp("data") / "pictures", sizes)


def invoke(*options: str | Path) -> Result:
    """The script, with its jobs in this process, and two other codecs of three settings each."""

    def few() -> tuple[list[Any], list[str]]:
        found = [baseline for baseline in available_baselines()[0] if baseline.name in ("jpeg-420", "jpeg-444")]
        return [replace(baseline, parameters=(5.0, 50.0, 95.0)) for baseline in found], []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "run_jobs", lambda jobs, _: ((i, job()) for i, job in enumerate(jobs)))
        patch.setattr(measure, "photo_baselines", few)
        patch.setattr(bd_rate, "RESAMPLES", 20)
        return CliRunner().invoke(photos.main, [str(option) for option in options])


@pytest.fixture(scope="module")
def measured(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("out")
    return out, invoke("--kodak", pictures, "--model", model, "--timestep", "4", "--out", out)


def test_every_picture_has_a_row_of_every_file_that_was_cut(measured: tuple[Path, Result]) -> None:
    out, done = measured
    assert done.exit_code == 0, done.output
    assert "kodak: expected 24 pictures, found 3" in done.output
    record = json.loads((out / "kodak" / "diffcodec-trellis.json").read_text(encoding="utf-8"))
    assert record["command"] == "python benchmarks/photos.py --kodak KODAK --model tiny.safetensors --timestep 4"
    assert len(record["points"]) > 5
    curves: dict[int, list[dict[str, Any]]] = {}
    for point in record["points"]:
        for row in point["rows"]:
            assert point["setting"] == f"{row['steps']} steps"
            curves.setdefault(row["image"], []).append(row)
    assert sorted(curves) == [0, 1, 2]
    for rows in curves.values():
        assert rows[-1]["timestep"] == 4
        for before, after in itertools.pairwise(rows):
            assert after["file_bytes"] > before["file_bytes"]
            assert after["decode_s"] > before["decode_s"]
        assert all(0 < row["haarpsi"] <= 1 for row in rows)
        assert rows[-1]["psnr_db"] > rows[0]["psnr_db"] + 5


def test_shorter_files_have_all_steps_and_lengths(codec: DiffusionCodec) -> None:
    stream = codec.compress(Picture(smooth_pixels(24, 24)), timestep=10)
    files = measure.cut_files(codec, stream)
    assert files[len(stream.report.steps)] == stream.data
    lengths = [len(files[steps]) for steps in sorted(files)]
    assert lengths == sorted(set(lengths))
    for steps, data in files.items():
        shortened = read_header(data).header.shortened
        assert steps == (len(stream.report.steps) if shortened is None else shortened.steps)
    assert files.keys() >= set(range(3, len(stream.report.steps) + 1))


def test_what_is_there_is_not_measured_again(
    measured: tuple[Path, Result], model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measure, "measure_own", fail)
    monkeypatch.setattr(measure, "measure_peer", fail)
    done = invoke("--kodak", pictures, "--model", model, "--timestep", "4", "--out", measured[0])
    assert done.exit_code == 0, done.output


def test_a_stopped_run_goes_on_with_the_next_picture(model: Path, pictures: Path, tmp_path: Path) -> None:
    options = ("--kodak", pictures, "--model", model, "--timestep", "100", "--out", tmp_path)
    own_rows, asked = measure.measure_own, []

    def stops(settings: Any, place: int, picture: Picture) -> Any:
        asked.append(place)
        if asked == [0, 1]:
            raise KeyboardInterrupt
        return own_rows(settings, place, picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_own", stops)
        assert invoke(*options).exit_code != 0
        assert invoke(*options).exit_code == 0
    assert asked == [0, 1, 1, 2]
    (results,) = [photo_results(tmp_path / "kodak")]
    assert results.codecs[measure.OURS].image_numbers() == {0, 1, 2}


def test_tables_are_printed_as_markdown_from_the_files_alone(measured: tuple[Path, Result]) -> None:
    done = invoke("--markdown", "--out", measured[0])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "### kodak: 3 pictures" in lines
    assert "| codec | 0.1 bpp | 0.25 bpp | 0.5 bpp | 1 bpp | 2 bpp |" in lines
    for line in lines:
        assert not line.startswith("|") or line.endswith("|")
    for label in ("diffcodec", "JPEG 4:2:0", "JPEG 4:4:4", "JPEG, better of both"):
        assert sum(line.startswith(f"| {label} |") for line in lines) >= 3


def test_curves_are_drawn_from_the_files_alone(measured: tuple[Path, Result], tmp_path: Path) -> None:
    done = invoke("--plot", "--out", measured[0], "--figures", tmp_path)
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"kodak-curves.png", "kodak-curves.svg"}
    with Image.open(tmp_path / "kodak-curves.png") as image:
        assert image.width == 1680


def test_crops_are_at_equal_bytes(
    measured: tuple[Path, Result], model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "SIDE", 32)
    monkeypatch.setattr(crops, "LEFT_OUT", ())
    monkeypatch.setattr(crops, "STRIP_BPP", (2.0,))
    drawn: list[Any] = []

    def draw(groups: Sequence[Any], *rest: object, **more: object) -> Any:
        drawn.extend(groups)
        return _sheet()

    monkeypatch.setattr(crops, "draw_groups", draw)
    done = invoke(
        "--kodak",
        pictures,
        "--model",
        model,
        "--out",
        measured[0],
        "--figures",
        tmp_path,
        "--strip",
        "--strip-pictures",
        "kodim02,kodim01",
    )
    assert done.exit_code == 0, done.output
    (group,) = drawn
    ours, *others = group.columns
    assert [column.label for column in group.columns] == ["diffcodec", "JPEG 4:2:0", "JPEG 4:4:4"]
    assert [cell.counted_bytes for cell in ours.cells] <= [2 * 48 * 40 / 8, 2 * 48 * 48 / 8]
    for column in others:
        for cell, own in zip(column.cells, ours.cells, strict=True):
            assert cell.pixels.shape == (32, 32, 3)
            assert cell.counted_bytes == pytest.approx(own.counted_bytes, rel=0.12)


def _sheet() -> Any:
    from figures.style import new_sheet

    return new_sheet(1.0)


def test_the_nearest_file_is_found(pictures: Path) -> None:
    picture = Picture(smooth_pixels(64, 64))
    baseline = next(each for each in measure.photo_baselines()[0] if each.name == "jpeg-420")
    lengths = {quality: len(baseline.encode(Image.fromarray(picture.pixels), quality)) for quality in range(1, 101)}
    for wanted in (lengths[20], 1, 10**6):
        _, found = crops.nearest_in_bytes(baseline, picture, wanted)
        best = min(lengths.values(), key=lambda length: abs(np.log(length / wanted)))
        assert found.file_bytes == best


@pytest.mark.slow
def test_the_command_line_and_memory_are_measured_in_processes_of_their_own(
    pictures: Path, model: Path, tmp_path: Path
) -> None:
    rows = costs.time_command_line(costs.timed_picture(sorted(pictures.iterdir())), str(model), 300)
    assert [row["command"] for row in rows] == ["compress", "decompress"]
    for row in rows:
        assert row["picture"] == "kodim03"
        assert row["seconds"] > 0.1
        assert 50 << 20 < row["peak_bytes"] < 4 << 30
    head, *lines = tables.command_line_lines({"command_line": rows})
    assert len(lines) == 2
    assert all(len(line) == len(head) for line in lines)


def test_kodak_pictures_that_are_only_numbered_are_known(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in ("01", "03", "113044")]
    assert costs.timed_picture(files) == files[1]
    assert costs.timed_picture(files[2:]) == files[2]


def test_a_curve_above_another_is_found_where_all_pictures_have_both() -> None:
    rates = np.geomspace(0.1, 1, 11)
    other = np.tile(np.linspace(20, 30, 11), (2, 1))
    ours = other + np.where((rates > 0.15) & (rates < 0.35), 1.5, -0.5)
    ours[0, :2] = np.nan
    found = compare_over_rates(ours, other, rates)
    assert (found.low, found.high) == (rates[2], rates[10])
    (region,) = found.regions
    assert (region.low, region.high) == (rates[2], rates[5])
    assert region.mean_gain == region.best_gain == pytest.approx(1.5)
    assert compare_over_rates(ours * np.nan, other, rates).regions == ()
    assert tables.lead_cells(compare_over_rates(other - 1, other, rates))[1] == "nowhere"


def test_curves_are_read_linearly_in_log_rate(measured: tuple[Path, Result]) -> None:
    results = photo_results(measured[0] / "kodak")
    jpeg = results.codecs["jpeg-420"]
    low, high = ({row["image"]: row for row in point.rows}[1] for point in jpeg.points[:2])
    rate = np.sqrt(low["bpp"] * high["bpp"])
    values = values_at(results, "psnr_db", np.array([rate, 1e-4]))["JPEG 4:2:0"]
    assert values[1, 0] == pytest.approx((low["psnr_db"] + high["psnr_db"]) / 2)
    assert mean_and_count(values[:, 1])[1] == 0


def test_a_part_of_the_range_has_a_bd_rate_of_its_own(measured: tuple[Path, Result]) -> None:
    results = photo_results(measured[0] / "kodak")
    jpeg, other = results.codecs["jpeg-420"], results.codecs["jpeg-444"]
    whole = bd_rate.compare(jpeg, other, "whole_file")
    everything = bd_rate.compare(jpeg, other, "whole_file", db_range=(-np.inf, np.inf))
    assert everything.percent == pytest.approx(whole.percent, abs=3)
    low = bd_rate.compare(jpeg, other, "whole_file", db_range=(0, (whole.low_db + whole.high_db) / 2))
    high = bd_rate.compare(jpeg, other, "whole_file", db_range=(low.high_db, 100))
    assert low.percent is not None
    assert high.percent is not None
    ratios = np.log1p(np.array([low.percent, high.percent]) / 100)
    assert 100 * np.expm1(ratios.mean()) == pytest.approx(everything.percent, abs=3)


def test_published_curves_are_compared(measured: tuple[Path, Result]) -> None:
    ours = photo_results(measured[0] / "kodak").codecs[measure.OURS]
    own = above_avif.mean_curve(ours)
    found = bd_rate.compare_published(ours, [(rate / 2, psnr) for rate, psnr in own])
    assert found is not None
    assert found[0] == pytest.approx(100, abs=1)
    assert found[1:] == pytest.approx((own[0, 1], own[-1, 1]))
    assert bd_rate.compare_published(ours, list(map(tuple, own)), (99, 100)) is None
    better = np.array([(rate, psnr + 1) for rate, psnr in own])
    assert above_avif.above(better, own)[:, 1] == pytest.approx(1, abs=1e-9)


def test_published_curves_of_kodak_are_in_tables_and_figures(measured: tuple[Path, Result]) -> None:
    results = photo_results(measured[0] / "kodak")
    lines = tables.published_lines(results)
    assert [line[1] for line in lines[1:]][:2] == ["VTM", "BPG 4:4:4"]
    assert dict(zip(lines[0], lines[3], strict=True))["kMAC a pixel"] == "87 to 194"
    with_avif = replace(results, codecs={**results.codecs, above_avif.REFERENCE: results.codecs["jpeg-444"]})
    figure = above_avif.draw_above_avif(with_avif, published_records(results))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "diffcodec"
    assert "VTM, as reported" in labels
    assert published_records(replace(results, dataset="holiday")) == {}


def test_the_best_setting_has_a_curve_of_its_own(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_rows, speeds = measure.measure_own, []

    def noted(settings: measure.OwnSettings, place: int, picture: Picture) -> Any:
        speeds.append(settings.speed)
        return own_rows(settings, place, picture)

    monkeypatch.setattr(measure, "measure_own", noted)
    options = ("--kodak", pictures, "--model", model, "--timestep", "300", "--limit", "1", "--out", tmp_path)
    done = invoke(*options, "--best")
    assert done.exit_code == 0, done.output
    assert sorted(speeds) == [0, 6]
    record = json.loads((tmp_path / "kodak-first-1" / "diffcodec-best.json").read_text(encoding="utf-8"))
    assert record["command"].startswith("python benchmarks/photos.py --kodak KODAK --best --limit 1")
    results = photo_results(tmp_path / "kodak-first-1")
    assert results.codecs[measure.BEST].record["effort"] == 16
    assert results.codecs[measure.OURS].record["effort"] == 12
    assert "diffcodec, speed 0" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no photographs: pass a folder with --kodak, --cbsd68 or --data NAME=FOLDER"),
        (("--kodak", "nowhere"), "kodak: nowhere: no such folder"),
        (("--data", "nowhere"), "--data: expected NAME=FOLDER"),
        (("--kodak", "x", "--data", "kodak=x"), "there are two data sets called kodak"),
        (("--markdown", "--out", "nowhere"), "nowhere has no results"),
    ],
)
def test_mistakes_are_reported(options: tuple[str, ...], message: str) -> None:
    done = invoke(*options)
    assert done.exit_code == 1
    assert message in done.output
