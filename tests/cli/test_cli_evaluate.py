"""`diffcodec evaluate` as a person meets it."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from torch import Tensor

from diffcodec.cli import main
from diffcodec.evaluation import features, points
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels
from tests.evaluation.small_network import DIMS, small_extractor

ROOT = Path(__file__).parents[2]
COUNT = 14


def evaluate(*arguments: object) -> Result:
    return run("evaluate", *arguments)


def done(*arguments: object) -> str:
    """Standard output of a command that works."""
    return succeeds(evaluate(*arguments)).stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("smooth")
    for seed in range(COUNT):
        Image.fromarray(smooth_pixels(8, 8, seed)).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture
def small_inception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "load_inception", lambda *_, **__: small_extractor())


@pytest.fixture
def fake_sampling(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the samplers; remembers what it was asked."""
    asked: list[dict[str, Any]] = []

    def sample_images(
        denoiser: object,
        count: int,
        *,
        size: int,
        steps: int | None = None,
        sampler: str = "ancestral",
        seed: int = 0,
        batch_size: int = 16,
        progress: Callable[[int], object] = lambda done: None,
    ) -> Tensor:
        asked.append({"count": count, "size": size, "steps": steps, "sampler": sampler, "seed": seed})
        progress(count)
        pixels = np.stack([smooth_pixels(size, size, seed + index) for index in range(count)])
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())

    module = ModuleType("diffcodec.diffusion.sampling")
    module.sample_images = sample_images  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diffcodec.diffusion.sampling", module)
    return asked


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "run_jobs", lambda jobs, _: ((place, job()) for place, job in enumerate(jobs)))


# ------------------------------------------------------------------------------------------------ nll


def test_nll_prints_the_parts_of_the_bound(pictures: Path, tiny_model: Path) -> None:
    arguments = ("nll", "--data", pictures, "--limit", 3, "--model", tiny_model, "--terms", 5)
    result = evaluate(*arguments)
    assert result.exit_code == 0, result.output
    assert "3 pictures of" in result.stderr
    assert "5 network evaluations each: 15 in all" in result.stderr
    lines = result.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["bits/dim", "fixedsmall", "fixedlarge", "fine limit"]
    assert [line.split("  ")[0] for line in lines[1:5]] == ["L_T", "L_1 ... L_T-1", "L_0", "bound"]
    document = json.loads(done(*arguments, "--json"))
    assert len(document["rows"]) == document["images"] == 3
    mean = np.mean([row["total_fixedsmall"] for row in document["rows"]])
    assert f"{mean:.4f} ± " in lines[4]
    assert document["model"]["name"] == "tiny-v0"


def test_nll_says_that_alpha_planes_are_left_out(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.dstack([smooth_pixels(8, 8, 0), np.full((8, 8), 100, np.uint8)])).save(tmp_path / "a.png")
    result = evaluate("nll", "--data", tmp_path, "--model", tiny_model, "--terms", 3)
    assert "Note: alpha planes of 1 pictures are left out" in result.stderr


def test_nll_of_one_picture_has_no_standard_error(pictures: Path, tiny_model: Path) -> None:
    out = done("nll", "--data", pictures, "--limit", 1, "--model", tiny_model, "--terms", 3)
    assert "±" not in out
    assert re.search(r"^bound +\d+\.\d{4} +\d+\.\d{4} +\d+\.\d{4}$", out, re.MULTILINE)


def test_nll_errors_are_one_line(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    fails(evaluate("nll", "--data", tmp_path / "nothing"), "nothing", "no such file or folder", "cifar10-train")
    fails(evaluate("nll", "--data", pictures, "--model", tiny_model, "--terms", 1), "expected at least 3, found 1")
    fails(evaluate("nll", "--data", pictures, "--model", "nonsense"), "nonsense", "bundled")
    fails(evaluate("nll", "--data", pictures, "--device", "nonsense"), "nonsense", "use the CPU (--device)")


def test_report_goes_to_a_file_that_is_not_overwritten(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("nll", "--data", pictures, "--limit", 2, "--model", tiny_model, "--terms", 3, "--json", report)
    assert "bound" in done(*arguments)  # the table is printed as well
    first = report.read_bytes()
    assert json.loads(first)["images"] == 2
    fails(evaluate(*arguments), "report.json exists", "--force")
    done(*arguments, "--force")
    assert report.read_bytes() == first
    fails(evaluate(*arguments[:-1], tmp_path / "nowhere" / "report.json"), "nowhere does not exist; create it first")


# ------------------------------------------------------------------------------------------- fid and is


@pytest.mark.usefixtures("small_inception")
def test_fid_of_a_folder_uses_the_cache(pictures: Path, tmp_path: Path) -> None:
    arguments = ("fid", pictures, "--data", pictures, "--cache", tmp_path / "cache")
    result = evaluate(*arguments)
    assert result.exit_code == 0, result.output
    first, distance, score = result.stdout.splitlines()
    assert first == f"{COUNT} pictures of {pictures.name}"
    assert re.fullmatch(rf"FID +-?0\.0000  from {pictures.name}", distance)
    assert re.fullmatch(r"Inception score +\d\.\d{4} ± \d\.\d{4}", score)
    (cached,) = (tmp_path / "cache").iterdir()
    before = cached.stat()
    assert done(*arguments) == result.stdout
    assert (cached.stat().st_ino, cached.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # Others' tools write the same arrays.
    by_file = done("fid", pictures, "--statistics", cached)
    assert by_file.replace(cached.name, pictures.name) == result.stdout


@pytest.mark.usefixtures("small_inception")
def test_fid_reports_few_pictures_and_a_damaged_cache(pictures: Path, tmp_path: Path) -> None:
    cache = tmp_path / "a\x1bb"  # a terminal would take this for a command
    arguments = ("fid", pictures, "--limit", DIMS, "--data", pictures, "--cache", cache)
    result = evaluate(*arguments)
    assert f"Note: {DIMS} measured pictures for {DIMS} features" in result.stderr
    (cached,) = cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    again = evaluate(*arguments)
    assert again.stdout == result.stdout
    (warning,) = (line for line in again.stderr.splitlines() if "Warning: " in line)
    assert r"a\x1bb" in warning
    assert "\x1bb" not in warning
    assert "computing it again" in again.stderr


@pytest.mark.usefixtures("small_inception")
def test_fid_of_samples(pictures: Path, tiny_model: Path, tmp_path: Path, fake_sampling: list[dict[str, Any]]) -> None:
    options = ("--model", tiny_model, "--size", 8, "--steps", 5, "--sampler", "flow", "--seed", 100)
    out = done("fid", "--count", 20, *options, "--data", pictures, "--cache", tmp_path, "--json")
    document = json.loads(out)
    assert (document["pictures"], document["count"]) == ("samples-of-tiny-v0", 20)
    assert document["fid"] > 0
    assert (document["reference"], document["reference_count"]) == (pictures.name, COUNT)
    assert fake_sampling == [{"count": 20, "size": 8, "steps": 5, "sampler": "flow", "seed": 100}]


@pytest.mark.usefixtures("small_inception")
def test_inception_score_of_pictures_and_samples(
    pictures: Path, tiny_model: Path, fake_sampling: list[dict[str, Any]]
) -> None:
    document = json.loads(done("is", pictures, "--splits", 2, "--json"))
    assert 1 < document["inception_score"] < 5
    assert (document["fid"], document["splits"]) == (None, 2)
    samples = json.loads(done("is", "--count", COUNT, "--model", tiny_model, "--size", 8, "--splits", 2, "--json"))
    # The stand-in draws the very pictures of the folder.
    assert samples["inception_score"] == document["inception_score"]
    fails(evaluate("is", pictures, "--limit", 5), "Inception score of 10 parts: expected at least 10 pictures, found 5")


@pytest.mark.usefixtures("small_inception")
def test_wrong_pictures_are_reported_before_the_reference_is_computed(pictures: Path, tmp_path: Path) -> None:
    fails(
        evaluate("fid", tmp_path / "nothing", "--data", pictures, "--cache", tmp_path / "cache"),
        "no such file or folder",
    )
    assert not (tmp_path / "cache").exists()
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    fails(evaluate("fid", pictures, "--statistics", tmp_path / "other.npz"), "expected 12 features, found 3")


@pytest.mark.usefixtures("small_inception")
def test_no_samples_are_drawn_for_a_reference_that_fails(
    tiny_model: Path, tmp_path: Path, fake_sampling: list[dict[str, Any]]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    fails(evaluate("fid", "--count", 20, "--model", tiny_model, "--size", 8, "--data", tmp_path), "broken.png")
    assert not fake_sampling


def test_pictures_or_count() -> None:
    for arguments in (("fid",), ("is",), ("fid", "somewhere", "--count", "5")):
        result = evaluate(*arguments)
        assert result.exit_code == 2
        assert "Pass either PICTURES, or --count N" in result.stderr


def test_no_weights_and_no_network_are_one_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(torch.hub, "urlopen", fail)
    fails(evaluate("is", pictures), str(tmp_path), "no network", "--inception", "DIFFCODEC_INCEPTION")
    monkeypatch.setenv("DIFFCODEC_INCEPTION", str(tmp_path / "mine.pth"))
    fails(evaluate("is", pictures), "mine.pth: cannot be read")


def test_fid_needs_the_library(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    fails(evaluate("fid", pictures), "torch-fidelity", "pip install 'diffcodec[bench]'")


@pytest.mark.slow
def test_fid_with_the_whole_inception(pictures: Path, tmp_path: Path) -> None:
    """Random weights in a local file, from the command to the number."""
    from torch_fidelity import FeatureExtractorInceptionV3

    weights = tmp_path / "inception.pth"
    torch.save({}, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=weights)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)  # or nothing would be left of the picture after 94 layers
    torch.save(network.state_dict(), weights)
    options = ("--data", pictures, "--cache", tmp_path, "--inception", weights, "--json")
    same, half = (json.loads(done("fid", pictures, *options, *more)) for more in ((), ("--limit", "7")))
    assert len(same["notes"]) == 2
    assert abs(same["fid"]) < 1e-3 * half["fid"]
    assert same["inception_score"] >= 1


# ------------------------------------------------------------------------------------------------- rd


@pytest.mark.usefixtures("in_this_process")
def test_rd_measures_real_files(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = tmp_path / "rd.json"
    out = done(
        "rd", "--data", pictures, "--limit", 2, "-t", "300,40", "--effort", 8, "--model", tiny_model, "--json", report
    )
    head, *lines = out.splitlines()
    assert head.split()[:3] == ["codec", "setting", "images"]
    assert [line.split()[:3] for line in lines] == [["diffcodec-trellis", f"t={t}", "2"] for t in (40, 300)]
    document = json.loads(report.read_text())
    assert [point["setting"] for point in document["points"]] == ["t=40", "t=300"]
    assert document["effort"] == 8
    row = document["points"][0]["rows"][1]
    single = tmp_path / "one.dfc"
    succeeds(run("compress", pictures / "01.png", "-t", 40, "--effort", 8, "--model", tiny_model, "-o", single))
    assert row["file_bytes"] == single.stat().st_size


def test_rd_errors_are_one_line(pictures: Path, tiny_model: Path) -> None:
    arguments = ("rd", "--data", pictures, "--model", tiny_model, "-t")
    fails(evaluate(*arguments, "many"), "timesteps: expected integers separated by commas, found 'many'")
    fails(evaluate(*arguments, "5000,40"), "expected ", "to 1000, found 5000")


# --------------------------------------------------------------------------------------------- all four


def test_help_names_all_four_and_waits_for_nothing() -> None:
    out = done("--help")
    assert re.findall(r"^  (\w+)  +\w", out, re.MULTILINE) == ["fid", "is", "nll", "rd"]
    for name in ("fid", "is", "nll", "rd"):
        assert "--json" in done(name, "--help")


def test_commands_of_the_documentation_exist() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ diffcodec evaluate (.*)$", text, re.MULTILINE)
    assert {line.split()[0] for line in lines} == {"nll", "fid", "is", "rd"}
    group = main.get_command(None, "evaluate")  # type: ignore[arg-type]
    for line in lines:
        name, *words = line.split("#")[0].split()
        known = {option for parameter in group.commands[name].params for option in parameter.opts}  # type: ignore[union-attr]
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, line
