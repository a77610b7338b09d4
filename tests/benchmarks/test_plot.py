"""The figures of the benchmark, from made-up result files."""

from __future__ import annotations

import dataclasses
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError
from diffcodec.evaluation.datasets import Dataset
from diffcodec.images import Picture
from tests.benchmarks.synthetic_results import codec_record, point, records, write_results

pytest.importorskip("matplotlib")
pytest.importorskip("bjontegaard")
import matplotlib.pyplot as plt
import plot
from figures import bd_rate, curves, labels, lossless, overhead, published, strip, style
from figures.records import EXPECTED, CodecResult, Results, load_results

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

FIGURES = ("paper-figure5", "bpp-psnr", "bpd-rmse", "overhead", "bd-rate", "lossless")
IMAGES = 8


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are only drawn here."""
    monkeypatch.setattr(bd_rate, "RESAMPLES", 20)
    monkeypatch.setattr(overhead, "RESAMPLES", 50)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_results(tmp_path_factory.mktemp("synthetic"), images=IMAGES)


@pytest.fixture(scope="module")
def results(folders: tuple[Path, Path]) -> Results:
    return load_results(*folders)


def write_some(folder: Path, *names: str) -> Path:
    """Only these codecs."""
    everything = records(IMAGES)
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(everything[name]), encoding="utf-8")
    return folder


def run(folder: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(plot.main, ["--results", str(folder), "--out", str(out), *more])


def codec_of(rates: list[float], psnr_db: list[float], name: str = "jpeg-420", scale: float = 1.0) -> CodecResult:
    """A codec with the same rates and distortions for every image but for a factor."""
    spread = np.linspace(0.8, 1.2, IMAGES)
    points = []
    for place, (rate, psnr) in enumerate(zip(rates, psnr_db, strict=True)):
        mse = 255**2 / 10 ** (psnr / 10)
        rows: list[dict[str, Any]] = [
            {"image": image, "bpd": bpd, "payload_bpd": bpd, "psnr_db": psnr, "mse": mse}
            for image, bpd in enumerate(rate * scale * spread)
        ]
        points.append(point(f"q={place}", place, rows))
    path = Path(f"{name}.json")
    record = codec_record(name, name, "lossy", points)
    found = load_record(record, path)
    return dataclasses.replace(found, path=path)


def load_record(record: dict[str, Any], path: Path) -> CodecResult:
    from figures import records as reader

    points = tuple(reader._read_point(path, entry) for entry in record["points"])
    return CodecResult(
        path, record["codec"], record["label"], record["dataset"], record["kind"], IMAGES, points, record
    )


# ------------------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_all_figures_are_drawn(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(folders[0], tmp_path, "--reported", str(folders[1]))
    assert found.exit_code == 0, found.output
    for name in FIGURES:
        path = tmp_path / f"{name}.png"
        assert path.stat().st_size > 20_000
        with Image.open(path) as image:
            assert image.width == round(style.WIDTH * style.PNG_DPI)
            assert len(image.convert("RGB").resize((200, 100)).getcolors(20_000) or ()) > 20
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
    table = json.loads((tmp_path / "bd-rate.json").read_text(encoding="utf-8"))
    assert table["codec"] == "diffcodec-trellis"
    assert len(table["comparisons"]) == 2 * 6 + 2 + 1
    assert "| JPEG 4:2:0 | whole files | −" in found.output
    assert "no results of" not in found.output


def test_the_same_results_give_the_same_files(results: Results, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        figure = lossless.draw_lossless(results)
        assert figure is not None
        style.save(figure, tmp_path / folder, "lossless")
    for suffix in ("png", "svg"):
        assert (tmp_path / "a" / f"lossless.{suffix}").read_bytes() == (
            tmp_path / "b" / f"lossless.{suffix}"
        ).read_bytes()


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (("jpeg-420",), {"bpp-psnr", "bpd-rmse"}),
        (("ddpm-bound",), {"paper-figure5"}),
        (("diffcodec-true-sampling",), set()),
        (("png-lossless",), {"lossless"}),
        (("diffcodec-poisson", "webp"), {"bpp-psnr", "bpd-rmse", "overhead"}),
        (("diffcodec-trellis", "webp"), {"bpp-psnr", "bpd-rmse", "overhead", "bd-rate"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_missing_codecs_are_skipped_and_named(names: tuple[str, ...], drawn: set[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run(write_some(tmp_path, *names), out, "--reported", str(tmp_path / "nothing"))
    assert found.exit_code == 0, found.output
    assert {path.stem for path in out.glob("*.svg")} == drawn
    named = next(line for line in found.output.splitlines() if line.startswith("no results of"))
    assert all(f"{name}," in named or f"{name} in" in named for name in set(EXPECTED) - set(names))
    skipped = "\n".join(line for line in found.output.splitlines() if "skipped:" in line)
    assert all(name in skipped for name in set(FIGURES) - drawn)


def broken(record: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> str:
    change(record)
    return json.dumps(record)


def without_bpd(record: dict[str, Any]) -> None:
    del record["points"][0]["summary"]["bpd"]


def with_text(record: dict[str, Any]) -> None:
    record["points"][0]["summary"]["bpd"]["mean"] = "much"


def without_rows(record: dict[str, Any]) -> None:
    for entry in record["points"]:
        for row in entry["rows"]:
            del row["delivered_bits"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not a result file"),
        ("[]", "expected an object, found list"),
        ('{"points": 3}', "expected a list 'points'"),
        ('{"points": []}', "codec: expected str, found None"),
        (without_bpd, "the summary lacks 'bpd'"),
        (with_text, "expected a number, found 'much'"),
        (without_rows, "a row lacks 'delivered_bits'"),
        (lambda record: record.update(kind="fast"), "kind: expected one of lossy, lossless, bound, found 'fast'"),
        (lambda record: record["points"][0].update(summary=None), "summary: expected an object"),
        (lambda record: record["points"][0].update(parameter="high"), "parameter: expected a number, found 'high'"),
    ],
)
def test_a_malformed_file_gives_one_line(
    text: str | Callable[[dict[str, Any]], None], expected: str, tmp_path: Path
) -> None:
    if not isinstance(text, str):
        text = broken(records(IMAGES)["diffcodec-trellis"], text)
    (tmp_path / "diffcodec-trellis.json").write_text(text, encoding="utf-8")
    found = run(tmp_path, tmp_path / "out")
    assert found.exit_code == 1
    assert found.output.startswith("Error: ")
    assert "diffcodec-trellis.json" in found.output
    assert expected in found.output
    assert found.output.count("\n") == 1


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    found = run(tmp_path, tmp_path / "out")
    assert (found.exit_code, found.output.count("\n")) == (1, 1)
    assert "run benchmarks/rate_distortion.py first" in found.output


def test_data_sets_are_not_mixed(tmp_path: Path) -> None:
    write_some(tmp_path, "webp")
    other = records(IMAGES)["avif"] | {"dataset": "another"}
    (tmp_path / "avif.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(ConfigError, match="several data sets, another, synthetic-test"):
        load_results(tmp_path)


# ----------------------------------------------------------------------------------------------- BD-rate

RATES, PSNR_DB = [0.1, 0.2, 0.5, 1.1, 2.0], [20.0, 23.0, 28.0, 33.0, 37.0]


@pytest.mark.parametrize(("factor", "percent"), [(2.0, 100.0), (0.5, -50.0), (1.0, 0.0)])
@pytest.mark.parametrize("kind", ["whole_file", "payload"])
def test_bd_rate_of_a_shifted_curve(factor: float, percent: float, kind: str) -> None:
    ours = codec_of(RATES, PSNR_DB, "diffcodec-trellis", scale=factor)
    found = bd_rate.compare(ours, codec_of(RATES, PSNR_DB), kind)
    assert found.percent == pytest.approx(percent, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((percent, percent), abs=1e-6)  # paired: the same images in both
    assert (found.low_db, found.high_db, found.share, found.images) == pytest.approx((20, 37, 1, IMAGES))


def test_bd_rate_counts_the_overlap_only() -> None:
    ours = codec_of([0.1, 0.2, 0.4, 0.8], [20, 23, 26, 29], "diffcodec-trellis")
    other = codec_of([0.8, 1.6, 3.2], [26, 29, 32])
    found = bd_rate.compare(ours, other, "whole_file")
    assert found.percent == pytest.approx(-50, abs=1e-6)
    assert (found.low_db, found.high_db, found.share) == pytest.approx((26, 29, 1 / 3))


def test_curves_that_do_not_overlap_are_reported(tmp_path: Path) -> None:
    ours = codec_of([0.1, 0.2], [20, 23], "diffcodec-trellis")
    found = bd_rate.compare(ours, codec_of([1, 2], [30, 35]), "whole_file")
    assert found.percent is None
    assert found.share == 0
    assert "| no overlap |" in bd_rate.markdown([found], ours)
    style.save(bd_rate.draw_bd_rate([found], ours), tmp_path, "bd-rate")
    json.dumps(bd_rate.record([found], ours), allow_nan=False)


def test_only_shared_images_are_compared(results: Results) -> None:
    (ours, poisson) = results.own("trellis", "poisson")
    assert bd_rate.compare(ours, poisson, "payload").images == poisson.images == IMAGES // 2


def test_exact_settings_are_left_out(results: Results) -> None:
    webp = results.codecs["webp"]
    rows = [dict(row) for row in webp.points[-1].rows]
    rows[0]["psnr_db"] = None
    exact = dataclasses.replace(
        webp, points=(*webp.points[:-1], dataclasses.replace(webp.points[-1], rows=tuple(rows)))
    )
    assert len(curves.rate_distortion(exact, "bpd", "psnr_db").rates) == len(webp.points) - 1
    assert len(bd_rate.measured(exact, "bpd", list(range(IMAGES))).rates) == len(webp.points) - 1


# ------------------------------------------------------------------------------------------ what is drawn


def test_overhead_is_a_ratio_of_sums() -> None:
    rows = [
        {"bpd": 1.0, "payload_bytes": paid, "path_bits": 7 * paid, "delivered_bits": got, "mse": 1.0}
        for paid, got in ((2, 10), (4, 20), (6, 60))
    ]
    found = overhead.overhead_of(
        load_record(codec_record("x", "x", "lossy", [point("t=1", 1, rows)]), Path("x")).points[0]
    )
    assert found.payload.mean == pytest.approx(96 / 90)
    assert found.path.mean == pytest.approx(84 / 90)
    assert found.payload.low < found.payload.mean < found.payload.high


def test_every_codec_can_be_told_apart_without_colour() -> None:
    looks = [style.look_of(name) for name in EXPECTED if "lossless" not in name and name != "ddpm-bound"]
    assert len({(look.marker, look.filled) for look in looks}) == len(looks)


def test_names_keep_clear_of_curves_and_of_each_other() -> None:
    figure, (axes,) = style.new_figure(4.0)
    x = np.linspace(0, 1, 20)
    drawn = [labels.Curve(f"curve {k}", "black", np.stack([x, (k + 1) * x**2], axis=1)) for k in range(5)]
    for curve in drawn:
        axes.plot(*curve.points.T)
    written = labels.label_curves(axes, drawn)
    assert len(written) >= 3
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(written)
    dense = np.concatenate(
        [np.stack([np.interp(np.linspace(0, 1, 2000), x, c) for c in curve.points.T], axis=1) for curve in drawn]
    )
    pixels = axes.transData.transform(dense)
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
        assert box.count_contains(pixels) == 0
    plt.close(figure)


def test_curves_of_fewer_images_say_so(results: Results) -> None:
    (poisson,) = results.own("poisson")
    assert results.label(poisson) == f"diffcodec, poisson ({IMAGES // 2} images)"
    named = dataclasses.replace(poisson, label="diffcodec (poisson)")
    assert results.label(named) == f"diffcodec (poisson, {IMAGES // 2} images)"


def test_published_numbers_say_what_they_are() -> None:
    reported = load_results_of_reported()
    found = {length.label: length for length in published.published_lengths(reported)}
    assert found["HiLLoC"].rate == "coder"
    assert found["HiLLoC"].bpd == 3.56
    assert found["DDPM (paper), L_simple"].rate == "ideal"
    shapes = {curve.codec: curve for curve in published.published_curves(reported["cifar10-others"], "cifar10-others")}
    assert shapes["vdm"].rate == "ideal"
    assert len(shapes["vdm"].points) == 3  # without its lossless end
    assert "jpeg" not in shapes


def load_results_of_reported() -> dict[str, Any]:
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (BENCHMARKS / "reported").glob("*.json")
    }


# ------------------------------------------------------------------------------------------------- strip


class Jpeg:
    """A peer with nothing but Pillow behind it."""

    def encode(self, image: Image.Image, parameter: float) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(parameter))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data))


def test_the_closest_setting_in_bytes_is_taken(results: Results) -> None:
    webp = results.codecs["webp"]
    for chosen in webp.points:
        size = strip.mean_bytes(chosen, "file_bytes")
        assert strip.closest_in_bytes(webp, "file_bytes", 1.02 * size) is chosen
    assert strip.closest_in_bytes(webp, "file_bytes", 1.0) is webp.points[0]
    assert strip.nearest_point(results.codecs["diffcodec-trellis"], 90).parameter == 100


def test_strips_show_pictures_at_equal_bytes(
    results: Results, codec: DiffusionCodec, picture: Picture, tmp_path: Path
) -> None:
    ours, webp = results.codecs["diffcodec-trellis"], results.codecs["webp"]
    pictures = {0: picture, 3: Picture(picture.pixels[::-1].copy())}
    for counting in (strip.WHOLE_FILE, strip.PAYLOAD):
        group = strip.encode_group(
            codec, ours, [webp, results.codecs["avif"]], {"webp": Jpeg()}, pictures, 100, counting
        )
        assert [column.label for column in group.columns] == ["diffcodec", "WebP"]  # no coder for AVIF
        assert all(cell.pixels.shape == picture.pixels.shape for column in group.columns for cell in column.cells)
        stream = codec.compress(picture, timestep=100)
        header = stream.report.header_bytes if counting is strip.PAYLOAD else 0
        assert group.columns[0].cells[0].counted_bytes == len(stream.data) - header
        assert any("differ in size" in note for note in group.notes)  # made-up results
        style.save(strip.draw_strip([group, group], list(pictures.values())), tmp_path, "strip")
        assert (tmp_path / "strip.png").stat().st_size > 20_000
        assert ElementTree.parse(tmp_path / "strip.svg").getroot().tag.endswith("svg")


def test_strips_are_of_the_measured_pictures_and_model(
    results: Results, codec: DiffusionCodec, picture: Picture
) -> None:
    ours = results.codecs["diffcodec-trellis"]
    dataset = Dataset(ours.dataset, (picture,))
    with pytest.raises(ConfigError, match="pass that with --model"):
        strip.check_origin(ours, codec, dataset)
    with pytest.raises(ConfigError, match="pass those with --data"):
        strip.check_origin(ours, codec, Dataset("other", (picture,)))
    ours.record["model"] = {"name": "tiny", "fingerprint": codec.fingerprint.hex()}
    strip.check_origin(ours, codec, dataset)
    ours.record["digest"] = "00000000"
    with pytest.raises(ConfigError, match="pass those with --data"):
        strip.check_origin(ours, codec, dataset)
