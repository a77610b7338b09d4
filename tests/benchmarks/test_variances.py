"""The benchmark of variances: its transforms, its costs, its head, and a run with the tiny model."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import variances
from click.testing import CliRunner
from PIL import Image
from step_variances import head as head_module
from step_variances.head import Loss, load_head, make_head, negative_log_likelihood, step_rate, train_head
from step_variances.levels import best_paths, path_bits, step_costs
from step_variances.measurement import Measurement, fine_step_bits, node_log_snrs
from step_variances.models import StepModel, class_energy, group_energy, picture_labels
from step_variances.rows import TRANSFORMS, static_row
from step_variances.transforms import (
    COLOUR_DCT,
    DAUBECHIES_4,
    HAAR,
    RGB,
    BlockDct,
    Transform,
    Wavelet,
    change_colours,
    colour_klt,
)
from torch.distributions import Normal, kl_divergence

from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

SIDE = 32


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def denoiser(tiny_checkpoint: Checkpoint) -> Denoiser:
    return tiny_checkpoint.denoiser()


def pictures(count: int, first_seed: int = 0) -> torch.Tensor:
    pixels = np.stack([smooth_pixels(SIDE, SIDE, first_seed + seed) for seed in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("transform", [transform for transform, _ in TRANSFORMS.values()], ids=list(TRANSFORMS))
def test_transforms_are_orthonormal(transform: Transform) -> None:
    basis = np.eye(SIDE**2, dtype=np.float32).reshape(-1, SIDE, SIDE)
    matrix = transform(basis).reshape(SIDE**2, -1)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(SIDE**2), atol=2e-5)


@pytest.mark.parametrize("transform", [transform for transform, _ in TRANSFORMS.values()], ids=list(TRANSFORMS))
def test_a_flat_picture_has_one_band(transform: Transform) -> None:
    energy = transform(np.ones((SIDE, SIDE), np.float32)) ** 2
    bands = transform.bands(SIDE, SIDE)
    assert energy[bands == 0].sum() == pytest.approx(SIDE**2, rel=1e-5)
    assert energy[bands != 0].sum() < 1e-4


@pytest.mark.parametrize("colours", [RGB, COLOUR_DCT])
def test_colours_keep_energy(colours: np.ndarray, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 3, 4, 4)).astype(np.float32)
    assert (change_colours(colours, x) ** 2).sum() == pytest.approx((x**2).sum(), rel=1e-5)


def test_klt_decorrelates_colours_at_every_node(rng: np.random.Generator) -> None:
    errors = np.einsum("tkc,tnchw->tnkhw", rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 6, 3, 8, 8)))
    turned = change_colours(colour_klt(errors), errors)
    covariance = np.einsum("tnchw,tndhw->tcd", turned, turned)
    off_diagonal = covariance * (1 - np.eye(3))
    assert np.abs(off_diagonal).max() < 1e-9 * covariance.max()


@pytest.mark.parametrize(("scales", "sizes"), [(1, [256, 256, 256, 256]), (2, [64, 64, 64, 64, 256, 256, 256])])
def test_bands_of_wavelets(scales: int, sizes: list[int]) -> None:
    assert np.bincount(Wavelet(HAAR, scales).bands(SIDE, SIDE).reshape(-1)).tolist() == sizes


def test_long_wavelets_see_no_ramp() -> None:
    ramp = np.tile(np.arange(SIDE, dtype=np.float32), (SIDE, 1))
    high = Wavelet(DAUBECHIES_4, 1)(ramp)[: SIDE // 2, SIDE // 2 :]
    assert np.abs(high[:, :-1]).max() < 1e-4  # but for the border, where it jumps
    assert np.abs(Wavelet(HAAR, 1)(ramp)[: SIDE // 2, SIDE // 2 :]).min() > 0.5


def test_bits_are_the_divergence_of_two_gaussians(rng: np.random.Generator) -> None:
    gap, errors, variance = 3.0, rng.normal(size=(1, 4, 6)), rng.uniform(0.1, 2, (1, 1, 6))
    model = StepModel(errors**2, np.ones((1, 1, 6)), variance)
    # In units of q's standard deviation: q = N(sqrt(g) e, 1), p = N(0, 1 + g v).
    q = Normal(torch.tensor(math.sqrt(gap) * errors[0]), 1.0)
    p = Normal(0.0, torch.tensor(np.sqrt(1 + gap * variance[0])))
    expected = kl_divergence(q, p).sum(dim=1) / math.log(2)
    np.testing.assert_allclose(model.bits(0, gap), expected.numpy(), rtol=1e-9)


def test_the_mean_picture_costs_what_pictures_cost_on_average(rng: np.random.Generator) -> None:
    model = StepModel(
        rng.uniform(size=(1, 5, 4)), rng.integers(0, 9, (1, 5, 4)).astype(float), rng.uniform(size=(1, 1, 4))
    )
    assert model.mean_picture().bits(0, 2.0) == pytest.approx(model.bits(0, 2.0).mean())


@pytest.mark.parametrize("octaves", [-2.1, 0.125, 1.7])
def test_own_scale_is_told_by_the_length(octaves: float, rng: np.random.Generator) -> None:
    counts, variance = np.full((1, 1, 5), 100.0), rng.uniform(0.5, 2, (1, 1, 5))
    true = variance * 2**octaves
    model = StepModel(true * counts, counts, variance, own_scale=True)
    expected_bits = 0.5 * (counts * np.log2(1 + true)).sum()
    assert model.bits(0, 1.0) == pytest.approx(expected_bits, rel=2e-3)


def test_static_variances_are_best_on_their_own_pictures(rng: np.random.Generator) -> None:
    labels = picture_labels(BlockDct(8).bands(8, 8))
    squares = (rng.normal(size=(1, 16, 3, 8, 8)) * rng.uniform(0.2, 3, (3, 8, 8))) ** 2
    row = static_row("", squares, squares, labels)
    best = row.test.bits(0, 1.0).mean()
    for factor in (0.0, 0.8, 1.25):
        changed = row.with_variance("", row.calibration.variance, factor * row.test.variance)
        assert changed.test.bits(0, 1.0).mean() > best


def test_class_energy_divides_what_bands_hold(rng: np.random.Generator) -> None:
    squares, activity = rng.uniform(size=(2, 3, 3, 16, 16)), rng.normal(size=(2, 3, 2, 2))
    labels = picture_labels(BlockDct(8).bands(16, 16))
    energy, counts = class_energy(squares, activity, np.tile([-0.5, 0.5], (2, 1)), labels)
    by_class = energy.reshape(2, 3, 3, -1)
    np.testing.assert_allclose(by_class.sum(axis=2), group_energy(squares, labels), rtol=1e-5)
    assert (counts.sum(axis=2) == squares[0, 0].size).all()
    quiet = activity[1, 2] < -0.5
    np.testing.assert_allclose(
        by_class[1, 2, 0].sum(), squares[1, 2][:, np.kron(quiet, np.ones((8, 8))) > 0].sum(), rtol=1e-5
    )


def test_best_paths_are_those_of_an_exhaustive_search(rng: np.random.Generator) -> None:
    costs = np.where(np.triu(np.ones((7, 7)), 1) > 0, rng.uniform(1, 5, (7, 7)), np.inf)

    def cost(path: tuple[int, ...]) -> float:
        return float(sum(costs[step] for step in itertools.pairwise(path)))

    found = best_paths(costs, [1, 3, 6])
    for steps, path in found.items():
        candidates = [(0, *inner, 6) for inner in itertools.combinations(range(1, 6), steps - 1)]
        assert tuple(path) == min(candidates, key=cost)


def test_costs_add_up_along_a_path(rng: np.random.Generator) -> None:
    snr = np.array([0.0, 0.5, 2.0, 9.0])
    model = StepModel(rng.uniform(size=(4, 5, 2)), np.ones((1, 1, 2)), rng.uniform(size=(4, 1, 2)))
    costs = step_costs(model, snr)
    assert path_bits(model, snr, [0, 2, 3]).mean() == pytest.approx(costs[0, 2] + costs[2, 3])


def test_nodes_are_denser_where_bits_lie() -> None:
    nodes = node_log_snrs(9.0, bottom=-8.0, points=60)
    assert nodes[[0, 1, -1]].tolist() == [-math.inf, -8.0, 9.0]
    gaps = np.diff(nodes[1:])
    assert gaps[0] == pytest.approx(4 * gaps[-1])


def test_fine_steps_integrate_the_error() -> None:
    log_snr = node_log_snrs(3.0, bottom=-4.0, points=9)
    errors = np.full((len(log_snr), 2, 3, 8, 8), 0.1)
    bits = fine_step_bits(Measurement(log_snr, errors, np.zeros((10, 2, 1, 1)), {}))
    assert bits == pytest.approx(0.5 * 192 * 0.01 * math.exp(3) / math.log(2), rel=1e-6)


@pytest.mark.parametrize("loss", [step_rate, negative_log_likelihood])
def test_losses_are_least_at_the_true_variance(loss: Loss, rng: np.random.Generator) -> None:
    squares = torch.tensor(0.3 * rng.normal(size=(2, 3, 64, 64)) ** 2)
    log_snr = torch.zeros(2)

    def value(log_variance: float) -> float:
        torch.manual_seed(0)
        return float(loss(torch.full_like(squares, log_variance), squares, log_snr))

    true = math.log(float(squares.mean()))
    assert value(true) < min(value(true - 0.2), value(true + 0.2))


def test_step_rate_is_the_likelihood_of_long_steps(rng: np.random.Generator) -> None:
    squares = torch.tensor(rng.normal(size=(2, 3, 8, 8)) ** 2)
    log_variances = torch.tensor(rng.normal(size=(2, 2, 3, 8, 8)))
    differences = []
    for loss in (step_rate, negative_log_likelihood):
        torch.manual_seed(0)
        first = loss(log_variances[0], squares, torch.full((2,), 20.0))
        torch.manual_seed(0)
        differences.append(float(first - loss(log_variances[1], squares, torch.full((2,), 20.0))))
    assert differences[0] == pytest.approx(differences[1], abs=1e-6)


def test_training_teaches_the_head_how_far_off_the_network_is(
    denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # every batch takes a second, however busy the machine
    monkeypatch.setattr(head_module, "perf_counter", lambda: next(clock))
    losses: list[float] = []
    train_head(denoiser, pictures(8), seconds=40, batch_size=6, progress=lambda _, loss: losses.append(loss))
    assert len(losses) == 39
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


def test_saved_heads_are_loaded(denoiser: Denoiser, tmp_path: Path) -> None:
    head = make_head(denoiser, block=4, hidden=16)
    torch.nn.init.normal_(head.out.weight)
    torch.save(head.state_dict(), tmp_path / "head.pt")
    features, embedding = torch.randn(2, 8, 16, 16), torch.randn(2, 32)
    loaded = load_head(denoiser, tmp_path / "head.pt")
    assert torch.equal(loaded(features, embedding), head(features, embedding))


@pytest.mark.parametrize("content", [b"nothing of the kind", None])
def test_other_files_are_no_heads(content: bytes | None, denoiser: Denoiser, tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    if content is None:
        torch.save({"conv.weight": torch.zeros(16, 4, 8, 8)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="variance head"):
        load_head(denoiser, path)


@pytest.fixture
def arguments(tiny_model: Path, tmp_path: Path) -> list[str]:
    """For a small run of the benchmark."""
    for name, count, seed in (("training", 6, 10), ("test", 3, 0)):
        (tmp_path / name).mkdir()
        for image, picture in enumerate(pictures(count, seed)):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{image}.png")
    return [
        "--model",
        str(tiny_model),
        "--data",
        str(tmp_path / "test"),
        "--points",
        "12",
        "--steps",
        "3,6",
        "--tables-from",
        "4",
        "--out",
        str(tmp_path / "out.json"),
    ]


@pytest.mark.slow
def test_a_run(arguments: list[str], tmp_path: Path) -> None:
    head = tmp_path / "trained.pt"
    arguments += ["--calibration", str(tmp_path / "training")]
    first = CliRunner().invoke(variances.main, [*arguments, "--head-seconds", "1", "--save-head", str(head)])
    assert first.exit_code == 0, first.output
    result = json.loads((tmp_path / "out.json").read_text())
    rows = result["rows"]
    assert {
        *TRANSFORMS,
        "equal variances",
        "one variance a step",
        "8x8 DCT, own scale",
        "8x8 DCT, 8 classes",
        "head",
        "head, own scale",
        "head, band means",
    } <= set(rows)
    assert 0 < rows["equal variances"]["6"]["percent"] < rows["equal variances"]["3"]["percent"]
    for steps in ("3", "6"):
        assert rows["8x8 DCT"][steps]["percent"] < rows["one variance a step"][steps]["percent"]
        assert rows["one variance a step"][steps]["percent"] < rows["equal variances"][steps]["percent"]
    assert (result["images"], result["calibration_images"]) == (3, 4)
    again = CliRunner().invoke(variances.main, [*arguments, "--head", str(head)])
    assert again.exit_code == 0, again.output
    repeated = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert repeated["trained"] == rows["head"]
    assert "trained, own scale" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "other pictures than those of the test"),
        (["--calibration", "TRAINING", "--steps", "13"], "expected 1 to 12"),
        (["--calibration", "TRAINING", "--steps", "few"], "integers"),
        (["--calibration", "TRAINING", "--tables-from", "6"], "no calibration images are left"),
        (["--calibration", "TRAINING", "--data", "SINGLE"], "at least two pictures"),
    ],
)
def test_errors(options: list[str], message: str, arguments: list[str], tmp_path: Path) -> None:
    names = {"TRAINING": tmp_path / "training", "SINGLE": tmp_path / "test" / "0.png"}
    given = [str(names.get(option, option)) for option in options]
    result = CliRunner().invoke(variances.main, [*arguments, *given])
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "out.json").exists()
