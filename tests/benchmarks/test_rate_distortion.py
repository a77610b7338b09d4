"""The rate-distortion benchmark as it is run: files, resuming, errors, and the smoke run."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rate_distortion
import torch
from click.testing import CliRunner
from PIL import Image

from diffcodec.evaluation import points
from tests.conftest import save_pictures, smooth_pixels

ROOT = Path(__file__).parents[2]
SECONDS = {"encode_s", "decode_s", "network_s", "coding_s", "decode_network_s", "decode_coding_s"}
FILE_COLUMNS = {
    "image",
    "width",
    "height",
    "file_bytes",
    "header_bytes",
    "payload_bytes",
    "bpd",
    "bpp",
    "payload_bpd",
    "mse",
    "rmse",
    "psnr_db",
    "ms_ssim",
    "encode_s",
    "decode_s",
}
OWN_COLUMNS = (
    FILE_COLUMNS
    | SECONDS
    | {"timestep", "steps", "side_bits", "path_bits", "ideal_bits", "delivered_bits", "reference_bits", "alpha_bytes"}
)
BOUND_COLUMNS = {"image", "ideal_bits", "ideal_bpd", "mse", "rmse", "psnr_db"}


class Run:
    """Runs the benchmark on pictures with the tiny model.

    Args:
        model: its file.
        pictures: their folder.
        out: for result files.
    """

    def __init__(self, model: Path, pictures: Path, out: Path) -> None:
        self.out = out
        self.arguments = ["--model", str(model), "--data", str(pictures), "--out", str(out), "--effort", "8"]

    def as_command(self, *options: str) -> str:
        """Standard output of the script, with its processes."""
        command = [sys.executable, str(ROOT / "benchmarks" / "rate_distortion.py"), *self.arguments, *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __call__(self, *options: str) -> str:
        """Standard output; all in this process, which is faster for so little."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(points, "run_jobs", lambda jobs, _: ((i, job()) for i, job in enumerate(jobs)))
            result = CliRunner().invoke(rate_distortion.main, [*self.arguments, *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    def results(self, codec: str) -> dict[str, Any]:
        """A result file's object."""
        (path,) = self.out.glob(f"*/{codec}.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As in the benchmark's own processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(shared_tiny_model: Path) -> Path:
    return shared_tiny_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"0.png": (16, 16), "1.png": (16, 16), "2.png": (24, 16)}
    return save_pictures(tmp_path_factory.mktemp("data") / "pictures", sizes)


@pytest.fixture(scope="module")
def everything(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """All parts, and what was printed."""
    run = Run(model, pictures, tmp_path_factory.mktemp("out"))
    return run, run.as_command("--timesteps", "300,20", "--jobs", "2", "--poisson-limit", "2")


@pytest.mark.slow
def test_every_part_has_its_files_with_all_columns(everything: tuple[Run, str]) -> None:
    run, _ = everything
    found = {path.stem: json.loads(path.read_text()) for path in (run.out / "pictures").iterdir()}
    assert {"ddpm-bound", "diffcodec-trellis", "diffcodec-poisson", "diffcodec-true-sampling"} <= found.keys()
    assert {"diffcodec-lossless", "jpeg-420", "jpeg-444", "webp", "png-lossless", "webp-lossless"} <= found.keys()
    for name, result in found.items():
        assert result["codec"] == name
        assert (result["dataset"], result["seed"]) == ("pictures", 0)
        assert result["command"].startswith("python benchmarks/rate_distortion.py --data pictures --model tiny")
        assert str(run.out.parent) not in json.dumps(result)  # nobody's paths
        own = name.startswith(("diffcodec", "ddpm"))
        assert (result["model"] is not None) == own
        columns = BOUND_COLUMNS if result["kind"] == "bound" else OWN_COLUMNS if own else FILE_COLUMNS
        for point in result["points"]:
            assert [row["image"] for row in point["rows"]] == list(range(result["images"]))
            for row in point["rows"]:
                assert columns <= row.keys(), name
            assert {"mse", "rmse", "rmse_of_mean"} <= point["summary"].keys()
            assert own or "flat_grey_bytes" in point


@pytest.mark.slow
def test_files_and_their_parts_add_up(everything: tuple[Run, str]) -> None:
    run, _ = everything
    assert run.results("diffcodec-poisson")["images"] == 2
    for name in ("diffcodec-trellis", "diffcodec-poisson"):
        result = run.results(name)
        assert [point["setting"] for point in result["points"]][-1] == ("t=300" if "trellis" in name else "t=20")
        for point in result["points"]:
            for row in point["rows"]:
                assert row["payload_bytes"] == row["file_bytes"] - row["header_bytes"]
                # The coder ends in whole bytes, and may save a few bits of the last.
                assert -8 < 8 * row["payload_bytes"] - row["side_bits"] - row["path_bits"] < 40
                subpixels = 3 * row["width"] * row["height"]
                assert row["bpd"] == pytest.approx(8 * row["file_bytes"] / subpixels, rel=1e-6)
                assert row["bpp"] == pytest.approx(3 * row["bpd"], rel=1e-6)
                assert row["mse"] == pytest.approx(row["rmse"] ** 2, rel=1e-5)
                assert row["encode_s"] == pytest.approx(row["network_s"] + row["coding_s"], rel=1e-5)
                assert row["decode_network_s"] + row["decode_coding_s"] <= row["decode_s"]
            assert point["summary"]["paid_per_delivered_bit"]["mean"] > 1


@pytest.mark.slow
def test_lossless_is_exact(everything: tuple[Run, str]) -> None:
    run, _ = everything
    (point,) = run.results("diffcodec-lossless")["points"]
    assert point["setting"] == "t=0"
    assert all(row["mse"] == 0 and row["psnr_db"] is None for row in point["rows"])
    assert point["summary"]["psnr_db"] is None


@pytest.mark.slow
def test_reference_is_the_fine_rate_of_the_same_picture(everything: tuple[Run, str]) -> None:
    run, _ = everything
    bound = {
        (row["timestep"], row["image"]): row for point in run.results("ddpm-bound")["points"] for row in point["rows"]
    }
    for point in run.results("diffcodec-trellis")["points"]:
        for row in point["rows"]:
            rate = bound[row["timestep"], row["image"]]["rate_fine"]
            assert row["reference_bits"] == pytest.approx(3 * row["width"] * row["height"] * rate, rel=1e-5)
        assert point["summary"]["reference_bits"]["mean"] > 0


@pytest.mark.slow
def test_bound_file_has_every_term(everything: tuple[Run, str]) -> None:
    run, _ = everything
    bound = run.results("ddpm-bound")
    assert [term["timestep"] for term in bound["terms"]] == list(range(1000, 0, -1))
    assert len(bound["bound"]["rows"]) == 3
    assert bound["bound"]["total_fixedsmall"]["low"] <= bound["bound"]["total_fixedsmall"]["mean"]
    done = [int(point["parameter"]) for point in bound["points"]]
    assert done == sorted({*range(100, 1001, 100), 701, 981})
    for point in bound["points"]:
        for row in point["rows"]:
            assert row["ideal_bits"] == pytest.approx(row["ideal_bpd"] * 3 * row["width"] * row["height"], rel=1e-5)


@pytest.mark.slow
def test_tables_are_printed(everything: tuple[Run, str]) -> None:
    _, text = everything
    assert re.search(r"^diffcodec-trellis +t=20 +3 +\d", text, re.MULTILINE)
    assert re.search(r"^webp +q=50 +3 +\d", text, re.MULTILINE)
    assert re.search(r"^ +900 +0\.11994 +\d", text, re.MULTILINE)  # Table 4, with the paper's rate
    assert re.search(r"3 pictures of pictures, seed 0: \d+ points measured in \d+ s", text)


def without_seconds(result: dict[str, Any]) -> list[Any]:
    return [[{k: v for k, v in row.items() if k not in SECONDS} for row in p["rows"]] for p in result["points"]]


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_processes(
    everything: tuple[Run, str], model: Path, pictures: Path, tmp_path: Path
) -> None:
    run, _ = everything
    alone = Run(model, pictures, tmp_path)
    alone("--timesteps", "300,20", "--parts", "bound,codec,true-sampling")
    for name in ("ddpm-bound", "diffcodec-trellis", "diffcodec-true-sampling"):
        assert without_seconds(alone.results(name)) == without_seconds(run.results(name))


@pytest.mark.slow
def test_what_is_there_is_not_measured_again(model: Path, pictures: Path, tmp_path: Path) -> None:
    run = Run(model, pictures, tmp_path)
    options = ("--parts", "codec,peers")
    assert ": 0 points" not in run("--timesteps", "300", *options)
    path = tmp_path / "pictures" / "diffcodec-trellis.json"
    before, peer = path.read_text(), (tmp_path / "pictures" / "webp.json").read_text()
    assert ": 0 points measured" in run("--timesteps", "300", *options)
    assert path.read_text() == before
    assert ": 1 points measured" in run("--timesteps", "300,100", *options)  # one more is added to what there is
    found = run.results("diffcodec-trellis")
    assert [point["setting"] for point in found["points"]] == ["t=100", "t=300"]
    assert found["points"][1] == json.loads(before)["points"][0]
    assert (tmp_path / "pictures" / "webp.json").read_text() == peer
    # Another seed is another measurement, and takes the place of the old one.
    assert ": 1 points measured" in run("--timesteps", "300", "--parts", "codec", "--seed", "5")
    found = run.results("diffcodec-trellis")
    assert (found["seed"], [point["setting"] for point in found["points"]]) == (5, ["t=300"])
    assert ": 1 points measured" in run("--timesteps", "300", "--parts", "codec", "--seed", "5", "--fresh")


def test_pictures_of_any_size(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    Image.fromarray(smooth_pixels(13, 10)).save(mixed / "a.png")
    Image.fromarray(smooth_pixels(12, 16)).convert("RGBA").save(mixed / "b.png")
    Image.fromarray(smooth_pixels(9, 7)[..., 0]).save(mixed / "c.png")
    run = Run(model, mixed, tmp_path / "out")
    text = run("--timesteps", "100", "--poisson-limit", "1")
    assert "alpha planes of 1 pictures are left out" in text
    assert "bound is left out: expected colour pictures" in text
    assert re.search(r"bound is left out: .*; 2 of 3 are not", text)
    assert re.search(r"jpegxl is left out: .*pip install", text)
    (point,) = run.results("diffcodec-trellis")["points"]
    assert [(row["width"], row["height"]) for row in point["rows"]] == [(10, 13), (16, 12), (7, 9)]
    assert point["rows"][2]["bpp"] == pytest.approx(point["rows"][2]["bpd"])
    assert [row["reference_bits"] for row in point["rows"]] == [None] * 3
    for point in run.results("jpeg2000")["points"]:
        headers = {row["header_bytes"] for row in point["rows"]}
        assert point["flat_grey_bytes"] == (headers.pop() if len(headers) == 1 else None)


def test_without_the_optional_libraries(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("piq", "pillow_jxl", "torchvision"):
        monkeypatch.setitem(sys.modules, module, None)
    run = Run(model, pictures, tmp_path)
    text = run("--timesteps", "300", "--parts", "codec,peers")
    assert re.search(r"MS-SSIM is left out: piq .*pip install", text)
    assert re.search(r"peers are left out: piq .*pip install", text)
    (point,) = run.results("diffcodec-trellis")["points"]
    assert point["summary"]["ms_ssim"] is None
    assert point["summary"]["rmse"]["mean"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timesteps", "500,x"], "integers separated by commas, found '500,x'"),
        (["--timesteps", "500,0"], "expected 1 to 1000, found 0"),
        (["--timesteps", "1001,1"], "expected 1 to 1000, found 1001"),
        (["--parts", "codec,nonsense"], "expected some of bound,codec,"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--model", "nowhere"], "nowhere: expected a model file"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used"),
    ],
)
def test_errors_are_one_line(options: list[str], message: str, model: Path, pictures: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(rate_distortion.main, [*Run(model, pictures, tmp_path).arguments, *options])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_timesteps_of_the_slow_channel_are_spread() -> None:
    assert rate_distortion.spread_over([500, 300, 200, 100, 50, 30, 20, 10, 5, 2, 1], 4) == [300, 50, 10, 1]
    assert rate_distortion.spread_over([500, 100, 1], 4) == [100, 1]
    assert rate_distortion.spread_over([7], 4) == [7]


@pytest.mark.slow
def test_smoke_run_with_the_bundled_model(tmp_path: Path) -> None:
    """All parts on four images, within 90 s of two cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "rate_distortion.py"),
            "--limit",
            "4",
            "--timesteps",
            "500,100,1",
            "--out",
            str(tmp_path),
            "--jobs",
            "2",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time of the processors: what else runs on the machine does not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2 * 90
    folder = tmp_path / "cifar10-test-100-first-4"
    found = {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}
    assert [point["setting"] for point in found["diffcodec-trellis"]["points"]] == ["t=1", "t=100", "t=500"]
    for point in found["diffcodec-trellis"]["points"]:
        columns = ("bpd", "rmse_of_mean", "reference_bits", "delivered_bits")
        assert all(np.isfinite(point["summary"][name]["mean"]) for name in columns)
    assert found["diffcodec-trellis"]["points"][0]["summary"]["paid_per_delivered_bit"]["mean"] < 1.15
    assert found["ddpm-bound"]["terms"][-1]["rate_fine"] < 2
