"""The paper's measurement, against closed forms of Gaussian data and against divergences worked out one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffcodec.config import ScheduleConfig
from diffcodec.diffusion.denoiser import alpha_sigma
from diffcodec.diffusion.schedule import NoiseSchedule
from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.bound import evaluation_levels, measure_bound
from diffcodec.evaluation.bound_measurement import BoundMeasurement
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

PAPER = NoiseSchedule(ScheduleConfig())
SHORT = NoiseSchedule(ScheduleConfig(4, 0.1, 0.4))
COUNT, SIDE = 16, 24


class GaussianModel:
    """E[eps | x_t] for pixels N(mean, std^2), with one mean and one std for each channel.

    Args:
        mean, std: (3,), in [-1, 1] units.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr)
        return sigma * (x_t - alpha * self.mean) / ((alpha * self.std) ** 2 + sigma**2)

    def images(self) -> Tensor:
        """Quantiles of the distribution in random places: samples of which one knows mean and variance."""
        rng = np.random.default_rng(5)
        quantiles = stats.norm.ppf((np.arange(COUNT * SIDE**2) + 0.5) / (COUNT * SIDE**2))
        normal = np.stack([rng.permutation(quantiles).reshape(COUNT, SIDE, SIDE) for _ in range(3)], axis=1)
        grey = (self.mean.numpy() + self.std.numpy() * normal + 1) * 127.5
        assert grey.min() > 0
        assert grey.max() < 255
        return torch.from_numpy(grey.round().astype(np.uint8))


MODEL = GaussianModel(torch.tensor([0.25, -0.1, 0.0]), torch.tensor([0.1, 0.14, 0.18]))


@pytest.fixture(scope="module")
def gaussian() -> BoundMeasurement:
    """Gaussian data, their optimal predictor, the paper's schedule."""
    return measure_bound(MODEL, PAPER, MODEL.images(), seed=1, clip_denoised=False)


def bpd(nats: np.ndarray) -> float:
    return float(np.mean(nats) / math.log(2))


def mmse(snr: np.ndarray) -> np.ndarray:
    """Error of the best estimate, for each SNR and channel."""
    variance = MODEL.std.numpy().ravel() ** 2
    return np.asarray(variance / (1 + np.asarray(snr)[..., None] * variance))


SNR = np.concatenate([[math.inf], np.exp(PAPER.log_snr[1:])])


def test_prior_term_is_its_closed_form(gaussian: BoundMeasurement) -> None:
    a = PAPER.alphas_cumprod[-1]
    square = (MODEL.mean**2 + MODEL.std**2).numpy()
    expected = bpd(0.5 * (a * (square - 1) - np.log(1 - a)))
    for terms in (gaussian.terms_fixedsmall, gaussian.terms_fixedlarge):
        assert terms[-1].mean() == pytest.approx(expected, rel=0.01)


def test_terms_of_equal_variances_sum_to_their_closed_form(gaussian: BoundMeasurement) -> None:
    expected = 0.5 * (SNR[1:-1] - SNR[2:])[:, None] * mmse(SNR[2:])
    found = gaussian.terms_fixedsmall[1:-1].mean(axis=1)
    assert found.sum() == pytest.approx(bpd(expected) * 999, rel=0.01)
    assert np.allclose(found, expected.mean(axis=1) / math.log(2), rtol=0.1)


def test_terms_of_the_larger_variance_sum_to_their_closed_form(gaussian: BoundMeasurement) -> None:
    a = PAPER.alphas_cumprod
    ratio = ((1 - a[1:-1]) / (1 - a[2:]))[:, None]  # beta_tilde over beta
    equal = 0.5 * (SNR[1:-1] - SNR[2:])[:, None] * mmse(SNR[2:])
    expected = ratio * equal + 0.5 * (ratio - 1 - np.log(ratio))
    assert gaussian.terms_fixedlarge[1:-1].mean(axis=1).sum() == pytest.approx(bpd(expected) * 999, rel=0.01)
    # What the variance alone costs is known of the paper's schedule.
    assert 0.5 * (ratio - 1 - np.log(ratio)).sum() / math.log(2) == pytest.approx(0.486, abs=0.001)


@pytest.mark.parametrize("t", [1, 20, 101, 501])
def test_fine_limit_is_the_mutual_information(gaussian: BoundMeasurement, t: int) -> None:
    """1/2 log(1 + SNR std^2): the information of x_t about x_0 (Guo, Shamai, Verdu 2005)."""
    expected = bpd(0.5 * np.log1p(SNR[t] * MODEL.std.numpy() ** 2))
    assert gaussian.rates("fine")[t].mean() == pytest.approx(expected, rel=0.01)


def decoder_cost(schedule: NoiseSchedule, std: float) -> float:
    """L_0 of the Gaussian data in bits/dim, by integrating over the noise of x_1 at each of the 256 grey levels."""
    level = schedule.level(1)
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 127.5 - 1, [np.inf]])
    noise = np.linspace(-8, 8, 801)
    costs = []
    for mean, tau in zip(MODEL.mean.numpy().ravel(), MODEL.std.numpy().ravel(), strict=True):
        cost = 0.0
        for grey, weight in enumerate(np.diff(stats.norm.cdf(edges, mean, tau))):
            if weight < 1e-9:
                continue
            x_1 = level.alpha * (grey / 127.5 - 1) + level.sigma * noise
            gain = level.alpha * tau**2 / ((level.alpha * tau) ** 2 + level.sigma**2)
            estimate = mean + gain * (x_1 - level.alpha * mean)
            inside = stats.norm.cdf(edges[grey + 1], estimate, std) - stats.norm.cdf(edges[grey], estimate, std)
            cost -= weight * integrate.trapezoid(stats.norm.pdf(noise) * np.log2(np.maximum(inside, 1e-12)), noise)
        costs.append(cost)
    return float(np.mean(costs))


def test_last_term_is_its_integral() -> None:
    """A chain of two steps, drawn many times: one draw alone scatters by 0.4 %."""
    schedule = NoiseSchedule(ScheduleConfig(2, 1e-4, 1.2e-4))
    images = MODEL.images()
    draws = [measure_bound(MODEL, schedule, images, seed=seed, clip_denoised=False) for seed in range(20)]
    a, b = schedule.alphas_cumprod, schedule.betas
    small = np.mean([draw.terms_fixedsmall[0] for draw in draws])
    large = np.mean([draw.terms_fixedlarge[0] for draw in draws])
    expected = decoder_cost(schedule, math.sqrt((1 - a[1]) / (1 - a[2]) * b[2]))
    assert small == pytest.approx(expected, rel=0.005)
    assert large == pytest.approx(decoder_cost(schedule, math.sqrt(b[1])), rel=0.005)


def test_distortion_is_the_optimal_one(gaussian: BoundMeasurement) -> None:
    expected = mmse(SNR[1:]).mean(axis=1)
    assert np.allclose(gaussian.mse[1:].mean(axis=1), expected, rtol=0.1)
    assert np.allclose(gaussian.grey_mse, gaussian.mse * 127.5**2)
    # Rounding to grey levels adds 1/12 to an error that spreads over several of them.
    assert gaussian.grey_mse_rounded[300:].mean() == pytest.approx(gaussian.grey_mse[300:].mean() + 1 / 12, rel=1e-3)
    assert not gaussian.mse[0].any()
    assert not gaussian.grey_mse_rounded[0].any()


def test_fine_limit_is_below_the_steps_of_the_schedule(gaussian: BoundMeasurement) -> None:
    fine, small = gaussian.rates("fine"), gaussian.rates("fixedsmall")
    assert np.all(fine[:900].mean(axis=1) < small[:900].mean(axis=1))
    assert np.all(fine[1] < small[1])  # of every image


def test_totals_are_sums_of_their_parts(gaussian: BoundMeasurement) -> None:
    for row in gaussian.bound_rows():
        parts = {name: value for name, value in row.items() if value is not None}
        for kind in ("fixedsmall", "fixedlarge"):
            total = parts["L_T"] + parts[f"L_{kind}"] + parts[f"L_0_{kind}"]
            assert parts[f"total_{kind}"] == pytest.approx(total, rel=1e-12)
        assert parts["total_fine"] == pytest.approx(parts["rate_fine"] + parts["L_0_fixedsmall"], rel=1e-12)
        paper = parts["L_T"] + parts["L_fixedlarge"] + parts["L_0_fixedsmall"]
        assert parts["total_paper"] == pytest.approx(paper, rel=1e-12)
    # The entropy of the data bounds every total from below.
    entropy = bpd(0.5 * np.log(2 * np.pi * np.e * (127.5 * MODEL.std.numpy()) ** 2))
    for kind in ("fine", "fixedsmall", "fixedlarge"):
        assert entropy < gaussian.rates(kind)[0].mean() < 1.25 * entropy  # type: ignore[arg-type]


def poor_predictor(x_t: Tensor, log_snr: Tensor) -> Tensor:
    return 0.6 * x_t + 0.1 * torch.tanh(log_snr)[:, None, None, None].to(x_t.dtype)


def random_images(count: int = 3, side: int = 6) -> Tensor:
    images = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 0, 255
    return images.to(torch.uint8)


def test_short_chain_by_explicit_divergences() -> None:
    """Every step's KL between two normal distributions whose moments come from eqs. 6, 7 and 11."""
    seen: list[tuple[Tensor, float]] = []

    def recording(x_t: Tensor, log_snr: Tensor) -> Tensor:
        seen.append((x_t.double(), float(log_snr[0])))
        return poor_predictor(x_t, log_snr)

    images = random_images()
    found = measure_bound(recording, SHORT, images, clip_denoised=False, batch_size=len(images))
    x_0 = images.double() / 127.5 - 1
    a, b = SHORT.alphas_cumprod, SHORT.betas
    expected = {"fixedsmall": np.zeros((5, 3)), "fixedlarge": np.zeros((5, 3))}
    for t in (4, 3, 2):
        x_t = next(x for x, log_snr in seen if log_snr == pytest.approx(SHORT.log_snr[t], abs=1e-6))
        q_mean = (math.sqrt(a[t - 1]) * b[t] * x_0 + math.sqrt(1 - b[t]) * (1 - a[t - 1]) * x_t) / (1 - a[t])
        eps = poor_predictor(x_t, torch.full((3,), SHORT.log_snr[t]))
        p_mean = (x_t - b[t] / math.sqrt(1 - a[t]) * eps) / math.sqrt(1 - b[t])
        tilde = (1 - a[t - 1]) / (1 - a[t]) * b[t]
        for kind, variance in (("fixedsmall", tilde), ("fixedlarge", b[t])):
            kl = kl_divergence(Normal(q_mean, math.sqrt(tilde)), Normal(p_mean, math.sqrt(variance)))
            expected[kind][t - 1] = kl.mean(dim=(1, 2, 3)).numpy() / math.log(2)
    prior = kl_divergence(Normal(math.sqrt(a[4]) * x_0, math.sqrt(1 - a[4])), Normal(0.0, 1.0))
    x_1 = next(x for x, log_snr in seen if log_snr == pytest.approx(SHORT.log_snr[1], abs=1e-6))
    mean = (x_1 - math.sqrt(b[1]) * poor_predictor(x_1, torch.full((3,), SHORT.log_snr[1]))) / math.sqrt(a[1])
    for kind, variance in (("fixedsmall", (1 - a[1]) / (1 - a[2]) * b[2]), ("fixedlarge", b[1])):
        expected[kind][4] = prior.mean(dim=(1, 2, 3)).numpy() / math.log(2)
        upper = np.where(images == 255, 1, stats.norm.cdf(x_0 + 1 / 255, mean, math.sqrt(variance)))
        lower = np.where(images == 0, 0, stats.norm.cdf(x_0 - 1 / 255, mean, math.sqrt(variance)))
        expected[kind][0] = -np.log2(np.maximum(upper - lower, 1e-12)).mean(axis=(1, 2, 3))
    assert np.allclose(found.terms_fixedsmall, expected["fixedsmall"], rtol=1e-5)
    assert np.allclose(found.terms_fixedlarge, expected["fixedlarge"], rtol=1e-5)
    for kind in ("fixedsmall", "fixedlarge"):
        for t in range(5):
            assert np.allclose(found.rates(kind)[t], expected[kind][t:].sum(axis=0), rtol=1e-5)  # type: ignore[arg-type]
    assert np.allclose(found.mse[1], ((x_0 - mean) ** 2).mean(dim=(1, 2, 3)).numpy(), rtol=1e-5)
    rounded = ((mean + 1) * 127.5).clamp(0, 255).round() - images
    assert np.allclose(found.grey_mse_rounded[1], (rounded**2).mean(dim=(1, 2, 3)).numpy(), rtol=1e-3)


def test_fine_limit_is_the_trapezoid_over_snr() -> None:
    levels = evaluation_levels(SHORT)
    errors: list[np.ndarray] = []
    images = random_images()
    x_0 = images.double() / 127.5 - 1

    def recording(x_t: Tensor, log_snr: Tensor) -> Tensor:
        eps = poor_predictor(x_t, log_snr)
        alpha, sigma = alpha_sigma(log_snr.double())
        estimate = ((x_t - sigma * eps) / alpha).clamp(-1, 1)
        errors.append(((x_0 - estimate) ** 2).mean(dim=(1, 2, 3)).numpy())
        return eps

    found = measure_bound(recording, SHORT, images, batch_size=len(images))
    assert len(errors) == len(levels)
    snr = [0.0, *(level.snr for level, _ in levels)]
    heights = np.stack([errors[0], *errors])
    for place, (_, t) in enumerate(levels, start=1):
        if t is not None:
            area = integrate.trapezoid(heights[: place + 1], snr[: place + 1], axis=0)
            assert np.allclose(found.rate_fine[t], 0.5 * area / math.log(2), rtol=1e-5)


def test_levels_are_the_timesteps_and_fill_the_wide_gaps() -> None:
    levels = evaluation_levels(PAPER)
    assert [t for _, t in levels if t is not None] == list(range(1000, 0, -1))
    assert len(levels) == 1034
    log_snrs = np.array([level.log_snr for level, _ in levels])
    assert np.all(np.diff(log_snrs) > 0)
    assert np.diff(log_snrs).max() <= math.log(1.1) + 1e-9
    assert len(evaluation_levels(PAPER, ratio=3.0)) == 1000
    with pytest.raises(ConfigError, match="more than 1"):
        evaluation_levels(PAPER, ratio=1.0)


def test_same_seed_same_numbers_in_any_batches(tiny_checkpoint: Checkpoint) -> None:
    denoiser = tiny_checkpoint.denoiser()
    images = torch.from_numpy(np.stack([smooth_pixels(8, 8, seed) for seed in range(5)]).transpose(0, 3, 1, 2).copy())
    ticks: list[int] = []
    first = measure_bound(denoiser, SHORT, images, seed=7, batch_size=5, progress=ticks.append)
    again = measure_bound(denoiser, SHORT, images, seed=7, batch_size=2)
    other = measure_bound(denoiser, SHORT, images, seed=8)
    assert ticks == list(range(1, len(evaluation_levels(SHORT)) + 1))
    assert np.allclose(first.rate_fine, again.rate_fine, rtol=1e-4)
    assert np.allclose(first.terms_fixedlarge, again.terms_fixedlarge, rtol=1e-4)
    assert not np.allclose(first.rate_fine, other.rate_fine, rtol=1e-3)
    assert np.all(first.mse <= 4)  # clipped: no pixel is further off than 2


def test_each_image_is_evaluated_once_at_each_level() -> None:
    calls: list[int] = []

    def counting(x_t: Tensor, log_snr: Tensor) -> Tensor:
        assert x_t.dtype == torch.float32
        assert len(log_snr) == len(x_t)
        calls.append(len(x_t))
        return torch.zeros_like(x_t)

    measure_bound(counting, SHORT, random_images(5), batch_size=2)
    assert calls == [2, 2, 1] * len(evaluation_levels(SHORT))


def test_rows_are_those_of_table_4(gaussian: BoundMeasurement) -> None:
    assert [gaussian.timestep_after(steps) for steps in (1, 100, 900, 1000)] == [1000, 901, 101, 1]
    # The first row knows x_T alone, and has paid L_T alone; the last one has not paid L_0.
    first, last = gaussian.rows(1000)[3], gaussian.rows(1)[3]
    assert first["rate_fixedlarge"] == gaussian.terms_fixedlarge[1000, 3]
    total = gaussian.rates("fixedlarge")[0, 3]
    assert last["ideal_bpd"] == pytest.approx(total - gaussian.terms_fixedlarge[0, 3], rel=1e-12)
    assert last["ideal_bits"] == pytest.approx(gaussian.dims * gaussian.rates("fixedlarge")[1, 3], rel=1e-12)
    assert last["rmse"] == pytest.approx(127.5 * math.sqrt(gaussian.mse[1, 3]), rel=1e-12)
    assert last["psnr_db"] == pytest.approx(20 * math.log10(255 / 127.5 / math.sqrt(gaussian.mse[1, 3])), rel=1e-9)
    for steps in (0, 1001):
        with pytest.raises(ConfigError, match="expected 1 to 1000"):
            gaussian.timestep_after(steps)


def test_json_has_terms_bound_and_points(gaussian: BoundMeasurement) -> None:
    document = json.loads(json.dumps(gaussian.to_json(), allow_nan=False))
    assert len(document["terms"]) == 1000
    last = document["terms"][-1]
    assert (last["timestep"], last["steps_done"]) == (1, 1000)
    assert last["rmse_of_mean"] == pytest.approx(127.5 * math.sqrt(last["mse"]))
    assert last["mean_of_rmse"] <= last["rmse_of_mean"]
    assert last["bpd_fixedsmall"] == pytest.approx(gaussian.terms_fixedsmall[0].mean())
    assert document["terms"][0]["rate_fixedsmall"] == pytest.approx(gaussian.terms_fixedsmall[-1].mean())
    assert [point["parameter"] for point in document["points"]] == list(range(100, 1001, 100))
    point = document["points"][-1]
    assert (point["setting"], point["parameter"], point["timestep"]) == ("1000 steps done", 1000.0, 1)
    assert point["summary"]["ideal_bpd"]["mean"] == pytest.approx(last["rate_fixedlarge"])
    assert point["summary"]["rmse_of_mean"]["mean"] == pytest.approx(last["rmse_of_mean"])
    bound = document["bound"]
    assert len(bound["rows"]) == COUNT
    for name in ("L_T", "L_fixedsmall", "L_0_fixedlarge", "total_fixedsmall", "total_fine", "total_paper"):
        assert bound[name]["low"] <= bound[name]["mean"] <= bound[name]["high"]
    assert len(gaussian.to_json([10, 20])["points"]) == 2


def test_published_numbers_settle_where_table_4_ends() -> None:
    """Its last rate is Table 1's L_1 + ... + L_T, which leaves L_0 of the bound to be spent."""
    folder = Path(__file__).parents[2] / "benchmarks" / "reported"
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    last = records["ddpm-table4"]["points"][-1]
    simple = next(row for row in records["ddpm-table1"]["points"] if row["objective"] == "L_simple")
    assert (last["steps_done"], last["timestep"]) == (1000, 1)
    assert last["rate_bpd"] == pytest.approx(simple["rate_bpd"], abs=0.005)
    assert last["rate_bpd"] + simple["distortion_bpd"] == pytest.approx(simple["bpd_test"], abs=0.01)
    assert all(record["source"] and record["how"] for record in records.values())


def test_what_is_not_images_is_refused() -> None:
    for wrong in (torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), random_images(0)):
        with pytest.raises(ImageError, match="expected uint8 images"):
            measure_bound(poor_predictor, SHORT, wrong)
    with pytest.raises(ConfigError, match="batch size"):
        measure_bound(poor_predictor, SHORT, random_images(), batch_size=0)
