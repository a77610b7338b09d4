"""The loop learns, ends when it should, and goes on after an interruption as if there had been none."""

import errno
import io
import math
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import Tensor

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training import loop
from diffcodec.training.config import LossKind, OptimizerKind, TrainingConfig
from diffcodec.training.log import Progress
from diffcodec.training.loop import Trainer
from diffcodec.training.losses import training_loss
from diffcodec.training.parallel import Processes
from diffcodec.training.randomness import noise_like

MODEL = ModelConfig(
    network=UNetConfig(
        channels=16, multipliers=(1, 2), patch=2, full_resolution_channels=8, blocks=1, embedding_channels=32
    ),
    prediction="v",
    data_std=0.5,
)
TRAINING = TrainingConfig(batch_size=8, learning_rate=3e-3, warmup_images=0, ema_decay=0.9)


class PowerCutError(Exception):
    """Ends a run from outside."""


def pictures(count: int = 24) -> Tensor:
    """One-coloured squares: easy to learn."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 2, (count, 3, 1, 1), generator=generator) * 200 + 20
    return colours.to(torch.uint8).expand(count, 3, 8, 8).contiguous()


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.denoiser.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def run(trainer: Trainer, images: int) -> list[Progress]:
    lines: list[Progress] = []
    trainer.run(max_images=images, report=lines.append, report_every_s=0.0)
    return lines


@lru_cache
def late_loss(kind: LossKind, optimizer: OptimizerKind = "adamw", precision: str = "fp32", rate: float = 5e-3) -> float:
    """Sum of the losses of the last eight of 24 steps on two pictures, over the middle of the noise levels."""
    model = replace(MODEL, log_snr_min=-4.0, log_snr_max=2.0)
    config = replace(TRAINING, loss=kind, optimizer=optimizer, flips=False, final_learning_rate=1.0, learning_rate=rate)
    config = replace(config, muon_learning_rate=4 * rate)
    lines = run(Trainer(model, config, pictures(2), precision=precision), 24 * 8)
    assert [line.images for line in lines] == list(range(8, 200, 8))
    return sum(line.loss for line in lines[-8:])


@pytest.mark.parametrize(
    ("loss", "optimizer", "precision"),
    [
        ("vlb", "adamw", "fp32"),
        pytest.param("vlb", "adamw", "bf16", marks=pytest.mark.slow),  # slow kernels on processors without bfloat16
        ("vlb", "muon", "fp32"),
        ("simple", "adamw", "fp32"),
    ],
)
def test_the_loss_falls(loss: LossKind, optimizer: OptimizerKind, precision: str) -> None:
    """Below that of a network that stays as it is, with the same pictures, levels and noise."""
    assert late_loss(loss, optimizer, precision) < 0.75 * late_loss(loss, rate=1e-12)


def test_a_run_is_repeatable_and_depends_on_its_seed() -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        trainer = Trainer(MODEL, replace(TRAINING, seed=seed), pictures())
        run(trainer, 24)
        return weights(trainer)

    first = trained(0)
    assert_same(first, trained(0))
    other = trained(1)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("conv_in.weight"))


def draws(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """What the network is given in three steps of eight images, and what dropout would draw."""
    drawn: list[tuple[Tensor, Tensor, Tensor, float]] = []

    def recorded(denoiser: Denoiser, config: TrainingConfig, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        drawn.append((x_0.clone(), log_snr.clone(), eps.clone(), torch.randn(()).item()))
        return training_loss(denoiser, config, x_0, log_snr, eps)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_loss", recorded)
        patch.setattr(Processes, "joined", lambda self, module: module)
        patch.setattr(Processes, "agree", lambda self, value: value)
        patch.setattr(Processes, "mean", lambda self, value: value.item())
        Trainer(MODEL, TRAINING, pictures(), **options).run(max_images=24)
    return drawn


def test_an_image_s_noise_does_not_depend_on_who_trains_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, two, and two that take their shares in two parts each draw the same for every image."""
    whole = draws(monkeypatch)
    assert [len(x_0) for x_0, *_ in whole] == [8, 8, 8]
    for accumulate in (1, 2):
        shares = [draws(monkeypatch, processes=Processes(rank, 2), accumulate=accumulate) for rank in range(2)]
        for step in range(3):
            parts = [shares[part % 2][accumulate * step + part // 2] for part in range(2 * accumulate)]
            for kind, expected in enumerate(whole[step][:3]):
                joined = torch.stack([part[:3][kind] for part in parts], dim=1).flatten(0, 1)
                assert torch.equal(joined, expected)


def test_every_image_and_every_part_of_a_batch_draw_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part for rank in range(2) for part in draws(monkeypatch, processes=Processes(rank, 2), accumulate=2)]
    noise = torch.cat([eps for _, _, eps, _ in parts]).flatten(1)
    assert len(noise) == 24
    assert (torch.corrcoef(noise) - torch.eye(24)).abs().max() < 6 / noise.shape[1] ** 0.5
    assert len(set(torch.cat([log_snr for _, log_snr, _, _ in parts]).tolist())) == 24
    assert len({dropout for *_, dropout in parts}) == len(parts) == 12


def test_the_noise_is_normal() -> None:
    eps = noise_like(torch.empty(64, 3, 16, 16), torch.arange(64), 5)
    count = eps.numel()
    assert eps.mean().abs() < 4 / count**0.5
    assert abs(eps.var() - 1) < 4 * (2 / count) ** 0.5


def test_a_batch_in_parts_trains_as_a_whole_one() -> None:
    whole, parts = (Trainer(MODEL, TRAINING, pictures(), accumulate=count) for count in (1, 4))
    for line, expected in zip(run(parts, 40), run(whole, 40), strict=True):
        assert line.loss == pytest.approx(expected.loss, rel=1e-5)
    for name, value in weights(whole).items():
        assert torch.allclose(weights(parts)[name], value, atol=2e-6), name


def test_parts_are_equal() -> None:
    with pytest.raises(ConfigError, match="accumulate: 4 images per process cannot be divided into 3 equal parts"):
        Trainer(MODEL, TRAINING, pictures(), processes=Processes(1, 2), accumulate=3)


@pytest.mark.parametrize(
    ("change", "options"),
    [({}, {}), ({"dropout": 0.2}, {}), ({"dropout": 0.2}, {"accumulate": 2, "gradient_checkpointing": True})],
    ids=["plain", "dropout", "in parts"],
)
@pytest.mark.parametrize("training", [TRAINING, replace(TRAINING, optimizer="muon", loss="simple", warmup_images=40)])
def test_a_killed_run_goes_on_to_the_same_weights(
    training: TrainingConfig, change: dict[str, float], options: dict[str, Any], tmp_path: Path
) -> None:
    model = replace(MODEL, network=replace(MODEL.network, **change))  # type: ignore[arg-type]
    unbroken = Trainer(model, training, pictures(), **options)
    run(unbroken, 9 * 8)

    path = tmp_path / "state.pt"
    first = Trainer(model, training, pictures(), **options)

    def cut(progress: Progress) -> None:
        if progress.images == 5 * 8:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        first.run(
            max_images=9 * 8, report=cut, report_every_s=0.0, save=lambda: first.save_state(path), save_every_s=0.0
        )
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    resumed = Trainer(model, training, pictures(), **options)
    torch.manual_seed(99)
    resumed.load_state(path)
    assert resumed.batches.drawn == 4 * 8
    assert 0 < resumed.seconds <= first.seconds
    lines = run(resumed, 9 * 8)
    assert [line.images for line in lines] == [40, 48, 56, 64, 72]
    assert_same(weights(resumed), weights(unbroken))
    assert_same(resumed.averaged_weights(), unbroken.averaged_weights())
    assert resumed.ema.updates == unbroken.ema.updates == 9


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    trainer = Trainer(MODEL, TRAINING, pictures())
    trainer.run(max_images=16, save=lambda: trainer.save_state(path))
    resumed = Trainer(MODEL, TRAINING, pictures())
    resumed.load_state(path)
    saved: list[int] = []
    resumed.run(max_images=16, save=lambda: saved.append(resumed.batches.drawn))
    assert saved == [16]
    assert_same(weights(resumed), weights(trainer))


def test_the_averaged_weights_lag_behind() -> None:
    trainer = Trainer(MODEL, replace(TRAINING, ema_decay=0.99), pictures())
    start = {name: value.clone() for name, value in trainer.averaged_weights().items()}
    run(trainer, 40)
    now, average = weights(trainer), trainer.averaged_weights()
    assert average.keys() == {name for name, _ in trainer.denoiser.named_parameters()}
    name = "network.trunk_out.weight"
    assert 0 < (average[name] - start[name]).norm() < (now[name] - start[name]).norm()


def test_a_time_limit_ends_the_run() -> None:
    trainer = Trainer(MODEL, TRAINING, pictures())
    lines: list[Progress] = []
    trainer.run(max_s=0.2, report=lines.append)
    assert trainer.seconds >= 0.2
    assert trainer.batches.drawn >= 8
    assert lines[-1].fraction == 1
    assert lines[-1].seconds == trainer.seconds
    before = trainer.batches.drawn
    trainer.run(max_s=0.2)
    assert trainer.batches.drawn == before


def test_the_first_limit_reached_ends_the_run() -> None:
    trainer = Trainer(MODEL, TRAINING, pictures())
    trainer.run(max_images=20, max_s=3600)
    assert trainer.batches.drawn == 24  # whole batches
    trainer = Trainer(MODEL, TRAINING, pictures())
    trainer.run(max_images=1 << 40, max_s=1e-9)
    assert trainer.batches.drawn == 8


def test_a_run_without_an_end_is_an_error() -> None:
    with pytest.raises(ConfigError, match="training needs a number of images or a time limit"):
        Trainer(MODEL, TRAINING, pictures()).run()


def test_a_diverged_run_says_so_and_keeps_its_last_state(tmp_path: Path) -> None:
    trainer = Trainer(MODEL, TRAINING, pictures())
    torch.nn.init.constant_(trainer.denoiser.network.out.weight, math.nan)
    saved: list[int] = []
    with pytest.raises(ConfigError, match="training diverged after 8 images: lower the learning rate"):
        trainer.run(max_images=80, report_every_s=0.0, save=lambda: saved.append(1), save_every_s=0.0)
    assert not saved


def test_weights_that_are_not_finite_are_not_saved_whatever_the_loss_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step before saving may have had a finite loss, and gradients that were none."""
    trainer = Trainer(MODEL, TRAINING, pictures())
    saved: list[int] = []

    objective = trainer.objective.forward

    def forward(*arguments: Tensor) -> Any:
        loss = objective(*arguments)
        if trainer.batches.drawn == 16:
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(trainer.objective, "forward", forward)
    with pytest.raises(ConfigError, match="training diverged after 16 images"):
        trainer.run(max_images=80, save=lambda: saved.append(trainer.batches.drawn), save_every_s=0.0)
    assert saved == [8]


def test_bfloat16_trains_float32_weights() -> None:
    rough, exact = (Trainer(MODEL, TRAINING, pictures(), precision=precision) for precision in ("bf16", "fp32"))
    assert run(rough, 24)[-1].loss == pytest.approx(run(exact, 24)[-1].loss, rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(rough).values())
    name = "network.trunk_out.weight"
    assert not torch.equal(weights(rough)[name], weights(exact)[name])


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    config = replace(TRAINING, batch_size=4, warmup_images=16, final_learning_rate=0.1)
    trainer = Trainer(MODEL, config, pictures())
    lines = run(trainer, 64)
    for line in lines:  # of the next step
        warmup = min(1, (line.images + 1) / 16)
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * line.images / 64))
        assert line.learning_rate == pytest.approx(warmup * cosine)
        assert line.fraction == line.images / 64
    last = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 60 / 64))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(last * config.learning_rate)
    assert lines[-1].learning_rate == pytest.approx(0.1)


def test_the_loss_is_reported_as_a_rate() -> None:
    line = run(Trainer(MODEL, TRAINING, pictures()), 8)[0]
    assert line.rate_bpd == pytest.approx(0.5 * (9.6 + 8.5) * line.loss / math.log(2))
    assert math.isnan(run(Trainer(MODEL, replace(TRAINING, loss="simple"), pictures()), 8)[0].rate_bpd)


def test_a_weight_of_coarse_levels_changes_training_but_not_the_reported_loss() -> None:
    plain, weighted = (Trainer(MODEL, replace(TRAINING, coarse_weight=weight), pictures()) for weight in (1.0, 50.0))
    assert run(plain, 8)[0].loss == run(weighted, 8)[0].loss
    name = "network.out.weight"
    assert not torch.equal(weights(plain)[name], weights(weighted)[name])


def test_settings_that_do_not_fit_are_errors() -> None:
    with pytest.raises(ConfigError, match="precision: expected fp32 or bf16, found 'fp16'"):
        Trainer(MODEL, TRAINING, pictures(), precision="fp16")
    with pytest.raises(ConfigError, match="expected sides that are multiples of 4, found 8 x 6"):
        Trainer(MODEL, TRAINING, pictures()[:, :, :, :6])
    grey = replace(MODEL, network=replace(MODEL.network, image_channels=1))
    with pytest.raises(ConfigError, match="image_channels: expected 3, as in the training images, found 1"):
        Trainer(grey, TRAINING, pictures())
    with pytest.raises(ConfigError, match="batch_size: expected a multiple of 3, the number of processes, found 8"):
        Trainer(MODEL, TRAINING, pictures(), processes=Processes(0, 3))


def test_states_that_cannot_be_resumed_from_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    trainer = Trainer(MODEL, TRAINING, pictures())
    with pytest.raises(CheckpointError, match=r"state\.pt does not exist: there is no run to resume"):
        trainer.load_state(path)
    trainer.save_state(path)
    data = path.read_bytes()
    for content in (b"", b"not a state", b"\x80\x02garbage", data[:1000], data[:-100]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"state\.pt: cannot be resumed from"):
            trainer.load_state(path)
    for state in ([1, 2], torch.zeros(3), {"model": MODEL.to_dict()}, {"model": 3}):
        torch.save(state, path)
        with pytest.raises((CheckpointError, ConfigError)):
            trainer.load_state(path)


def test_the_state_of_another_model_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    Trainer(MODEL, TRAINING, pictures()).save_state(path)
    other = Trainer(replace(MODEL, data_std=0.25), TRAINING, pictures())
    with pytest.raises(CheckpointError, match="was saved by a run of another model configuration"):
        other.load_state(path)


def test_resuming_with_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    Trainer(MODEL, TRAINING, pictures()).save_state(tmp_path / "state.pt")
    other = Trainer(MODEL, replace(TRAINING, learning_rate=0.125), pictures())
    with pytest.raises(CheckpointError, match="learning_rate"):
        other.load_state(tmp_path / "state.pt")


def test_a_full_disk_is_one_line_and_the_old_state_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    trainer = Trainer(MODEL, TRAINING, pictures())
    trainer.save_state(path)
    before = path.read_bytes()
    make = os.fdopen

    def full(descriptor: int, mode: str) -> BinaryIO:
        file = make(descriptor, mode, buffering=0)

        class Full(io.BufferedWriter):
            def write(self, data: Any) -> int:
                if self.tell() + len(data) > 10_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write(data)

        return Full(file)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(
        ConfigError, match=r"state\.pt cannot be written \(.*No space left on device\): free some disk space"
    ):
        trainer.save_state(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_weights_to_start_from_mean_the_same_in_the_model() -> None:
    config = replace(TRAINING, time="discrete")
    other = Trainer(replace(MODEL, prediction="eps", variance="fixedlarge"), config, pictures())
    other.load_weights(replace(other.model, variance="fixedsmall"), weights(other))
    with pytest.raises(CheckpointError, match="predict v, but the model to train predicts eps: train the model"):
        other.load_weights(MODEL, weights(other))
