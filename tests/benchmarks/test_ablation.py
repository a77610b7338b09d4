"""The ablation: its cells, its scores, and a run of a few steps."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path

import ablation
import pytest
import torch
from click.testing import CliRunner
from objectives import measure, quality
from objectives.cells import Cell, all_cells, by_training, chosen_cells, paper_row
from objectives.measure import Budget, Training, status, train
from objectives.quality import RandomFeatures, frechet_random, random_moments
from PIL import Image
from torch import Tensor

from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.evaluation.features import FeatureExtractor, Features
from diffcodec.evaluation.records import Row
from diffcodec.training.config import TrainingConfig
from tests.evaluation.small_network import small_extractor

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

TINY = ModelConfig(
    UNetConfig(channels=8, multipliers=(1,), patch=4, blocks=1, embedding_channels=8), ScheduleConfig(6, 0.01, 0.3)
)


def pictures(count: int, seed: int = 0, contrast: float = 1.0) -> Tensor:
    """Smooth pictures, uint8, (count, 3, 32, 32)."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return (127.5 + 255 * contrast * (fine - 0.5)).clamp(0, 255).to(torch.uint8)


# ------------------------------------------------------------------------------------------------------- cells


def test_the_cells_are_all_combinations() -> None:
    assert len(all_cells()) == len({cell.name for cell in all_cells()}) == 24


def test_each_training_serves_what_it_is_the_same_for() -> None:
    groups = by_training(all_cells())
    assert len(groups) == 20
    assert sorted(cell.name for group in groups for cell in group) == sorted(cell.name for cell in all_cells())
    for group in groups:
        names = {(cell.prediction, cell.loss) for cell in group}
        assert len(names) == 1
        assert len(group) == 1 or {cell.variance for cell in group} == {"fixedsmall", "fixedlarge"}
        assert len(group) == 1 or group[0].loss == "simple"
    alone = Cell("eps", "simple", "fixedlarge")
    assert by_training([alone]) == [[alone]]


def test_cells_are_chosen_by_words() -> None:
    assert chosen_cells([]) == all_cells()
    assert len(chosen_cells(["eps"])) == 6
    assert [cell.name for cell in chosen_cells(["v,simple,learned", "eps vlb fixedlarge"])] == [
        "eps vlb fixedlarge",
        "v simple learned",
    ]
    for wrong in ("noise", "eps,v", ""):
        with pytest.raises(ConfigError, match="no such cell"):
            chosen_cells([wrong])


def test_all_rows_of_the_paper_have_a_cell() -> None:
    reported = json.loads(ablation.REPORTED.read_text(encoding="utf-8"))
    rows = {cell.name: paper_row(cell, reported) for cell in all_cells()}
    found = {name: row for name, row in rows.items() if row is not None}
    assert len(found) == len(reported["points"]) == 6
    assert found["eps simple fixedlarge"]["fid"] == 3.17
    assert found["mean vlb learned"]["inception_score"] == 7.28
    assert found["eps vlb learned"]["stable"] is found["mean simple fixedlarge"]["stable"] is False


# ----------------------------------------------------------------------------------------------------- quality


def test_random_features_are_always_the_same() -> None:
    images = pictures(3)
    first, again, other = (RandomFeatures(seed=seed)(images) for seed in (0, 0, 1))
    assert first.shape == (3, 72)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_the_distance_grows_with_what_is_wrong() -> None:
    reference = random_moments(pictures(300))
    assert frechet_random(pictures(300), reference) == pytest.approx(0, abs=1e-6)
    alike = frechet_random(pictures(300, seed=1), reference)
    paler, much_paler = (frechet_random(pictures(300, seed=1, contrast=c), reference) for c in (0.8, 0.5))
    noise = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8)
    assert 0 < alike < 0.1 < paler < much_paler < frechet_random(noise, reference)


def test_the_same_picture_again_and_again_lacks_all_variance() -> None:
    """Then the distance is |m_1 - m_2|^2 + tr(C_2), in units of the reference's variances."""
    images = pictures(300)
    reference = random_moments(images)
    features = RandomFeatures()(images).double()
    expected = 1 + (((features[0] - features.mean(dim=0)) / features.std(dim=0)) ** 2).mean().item()
    assert frechet_random(images[:1].expand(40, -1, -1, -1), reference) == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------------ status


def rows(total: float) -> list[Row]:
    return [{"image": 0, "total": total}]


@pytest.mark.parametrize(
    ("losses", "total", "expected"),
    [
        ([5.0] * 10 + [2.0] * 90, 4.0, "stable"),
        ([5.0] * 10 + [2.0] * 89 + [1000.0], 4.0, "stable"),  # one heavy term is no divergence
        ([5.0] * 10 + [2.0] * 80 + [9.0] * 10, 4.0, "unstable"),
        ([5.0] * 10 + [2.0] * 90, 8.1, "above 8"),
        ([5.0] * 10 + [2.0] * 90, math.nan, "unstable"),
        ([5.0] * 10 + [2.0] * 90, math.inf, "unstable"),
    ],
)
def test_what_is_called_unstable(losses: list[float], total: float, expected: str) -> None:
    assert status(Training({}, losses, 100, 1.0), rows(total)) == expected


def test_a_loss_that_is_not_finite_is_unstable() -> None:
    settings = TrainingConfig(batch_size=4, learning_rate=1e30, gradient_clip=1e30, warmup_images=0)
    found = train(
        TINY, settings, pictures(8), Budget(80, None), device="cpu", precision="fp32", progress=lambda line: None
    )
    assert found.weights is None
    assert status(found, []) == "unstable"
    with pytest.raises(ConfigError, match="training needs a number of images or a time limit"):
        train(TINY, settings, pictures(8), Budget(None, None), device="cpu", precision="fp32", progress=print)


# --------------------------------------------------------------------------------------------------------- run


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """For a run of a few steps."""
    for name, count, seed in (("training", 20, 0), ("test", 2, 99)):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures(count, seed)):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number:02}.png")
    (tmp_path / "model.json").write_text(json.dumps(TINY.to_dict()))
    return [
        "--data",
        str(tmp_path / "training"),
        "--test",
        str(tmp_path / "test"),
        "--images",
        "64",
        "--samples",
        "5",
        "--sample-steps",
        "3",
        "--model",
        str(tmp_path / "model.json"),
        "--set",
        "batch_size=8",
        "--out",
        str(tmp_path / "out.json"),
    ]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which models were sampled from."""
    asked: list[str] = []

    def sample_images(denoiser: Denoiser, count: int, *, size: int, steps: int, seed: int, batch_size: int) -> Tensor:
        assert (count, size, steps, denoiser.training) == (5, 32, 3, False)
        asked.append(f"{denoiser.config.prediction} {denoiser.config.variance}")
        return pictures(count, seed=len(asked))

    module = types.ModuleType("diffcodec.diffusion.sampling")
    module.sample_images = sample_images  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diffcodec.diffusion.sampling", module)
    return asked


@pytest.mark.slow
def test_a_run_of_all_cells(arguments: list[str], sampled: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(ablation.main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    points = {point["setting"]: point for point in found["points"]}
    assert list(points) == [cell.name for cell in all_cells()]
    assert sorted(sampled) == sorted(f"{cell.prediction} {cell.variance}" for cell in all_cells())
    for point in points.values():
        assert point["trained_images"] == 64
        assert len(point["rows"]) == 2
        for row in point["rows"]:
            assert row["total"] == pytest.approx(row["L_T"] + row["L"] + row["L_0"], rel=1e-5)
        assert point["scores"]["frechet_random"] > 0
    # Fixed variances of one training, and of two where the loss depends on them.
    small, large = (points[f"v simple {kind}"] for kind in ("fixedsmall", "fixedlarge"))
    assert small["training_seconds"] == large["training_seconds"]
    assert small["rows"] != large["rows"]
    lines = [line for line in result.stdout.splitlines() if line.startswith(("mean", "eps", "x0", "v "))]
    assert len(lines) == 24
    assert next(line for line in lines if line.startswith("eps         simple  fixedlarge")).endswith(
        "3.75  9.46   3.17"
    )
    assert "as many real images as samples: frechet_random" in result.output
    assert found["real_images"]["frechet_random"] > 0


@pytest.mark.slow
def test_what_is_there_is_not_trained_again(
    arguments: list[str], sampled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def counted(model: ModelConfig, *rest: object, **options: object) -> Training:
        trained.append(model.prediction)
        return train(model, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ablation, "train", counted)
    run = CliRunner().invoke(ablation.main, [*arguments, "--only", "eps,vlb"])
    assert (run.exit_code, len(trained)) == (0, 3), run.output
    run = CliRunner().invoke(ablation.main, [*arguments, "--only", "vlb,learned"])
    assert (run.exit_code, len(trained)) == (0, 6), run.output
    assert trained[3:] == ["mean", "x0", "v"]
    assert len(json.loads((tmp_path / "out.json").read_text())["points"]) == 6
    assert CliRunner().invoke(ablation.main, [*arguments, "--only", "vlb,learned", "--seed", "1"]).exit_code == 0
    assert len(trained) == 10  # other settings: all anew


def test_a_diverged_training_is_reported(
    arguments: list[str], sampled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "train", lambda *given, **options: Training(None, [1.0, math.nan], 16, 0.1))
    result = CliRunner().invoke(ablation.main, [*arguments, "--only", "eps,simple"])
    assert result.exit_code == 0, result.output
    assert result.output.count("unstable") == 3
    assert all(point["rows"] == [] for point in json.loads((tmp_path / "out.json").read_text())["points"])
    assert not sampled


def test_without_samples_nothing_is_drawn(arguments: list[str], sampled: list[str]) -> None:
    result = CliRunner().invoke(ablation.main, [*arguments, "--samples", "0", "--only", "v,simple,learned"])
    assert result.exit_code == 0, result.output
    assert not sampled
    assert "real images" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "noise"], "--only noise: no such cell"),
        (["--budget", "3s"], "--images and --budget: expected one of them"),
        (["--samples", "19"], "--samples 19: expected more training images than that, found 20"),
        (["--model", "nothing"], "cifar10-ddpm, lsun256-ddpm, or a JSON file, found 'nothing'"),
        (["--set", "speed=3"], "unknown key 'speed'"),
        (["--data", "missing.webp"], "missing.webp: no such file or folder"),
    ],
)
def test_errors(options: list[str], message: str, arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(ablation.main, [*arguments, *options])
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "out.json").exists()


def test_pictures_of_other_sizes_are_no_test_images(arguments: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (40, 32)).save(tmp_path / "test" / "wide.png")
    result = CliRunner().invoke(ablation.main, arguments)
    assert result.exit_code == 1
    assert "expected test images of 32 x 32 pixels in colour" in result.output


def test_inception_sees_the_real_images_once_for_all_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images, extractor = pictures(20), small_extractor()
    seen: list[object] = []

    def load(weights: Path, *, device: str) -> FeatureExtractor:
        seen.append(weights)
        return extractor

    look = FeatureExtractor.__call__

    def features(self: FeatureExtractor, batch: Tensor) -> Features:
        seen.append(len(batch))
        return look(self, batch)

    monkeypatch.setattr(quality, "load_inception", load)
    monkeypatch.setattr(FeatureExtractor, "__call__", features)
    inception = quality.InceptionTest(tmp_path / "weights.pth", images)
    test = measure.SampleTest(6, 3, 0, 32, random_moments(images), inception)
    same, fewer = test.scores_of(images), test.scores_of(images[:14])
    assert seen == [tmp_path / "weights.pth", 20, 20, 14]
    distance, score = fewer["fid"], same["inception_score"]
    assert distance is not None
    assert same["fid"] == pytest.approx(0, abs=1e-3 * distance)
    assert score is not None
    assert score > 1
