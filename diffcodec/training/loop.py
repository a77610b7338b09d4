"""The training loop: resumable, bounded by images or by time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from diffcodec.config import ModelConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training.averages import PowerAverage
from diffcodec.training.checks import check_settings, load_initial_weights
from diffcodec.training.config import TrainingConfig
from diffcodec.training.data import Batches
from diffcodec.training.ema import ExponentialMovingAverage
from diffcodec.training.learning_rate import learning_rate_factor
from diffcodec.training.log import Progress
from diffcodec.training.losses import bits_per_loss, draw_log_snr, training_loss
from diffcodec.training.memory import StepMemory, advice_when_full, check_memory, recompute_activations, step_memory
from diffcodec.training.optimizers import make_optimizers
from diffcodec.training.parallel import Processes
from diffcodec.training.photographs import Photographs
from diffcodec.training.randomness import Purpose, noise_like, place_seed
from diffcodec.training.state import opened_state, write_state
from diffcodec.training.weighting import LevelBalance


class Objective(nn.Module):
    """The loss as a module around the network, so that DistributedDataParallel can wrap it."""

    def __init__(self, denoiser: Denoiser, training: TrainingConfig) -> None:
        super().__init__()
        self.denoiser, self.training_config = denoiser, training

    def forward(self, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        """Losses (B,) of images (B, C, H, W) at log SNRs (B,) with noise (B, C, H, W)."""
        return training_loss(self.denoiser, self.training_config, x_0, log_snr, eps)


class Trainer:
    """Trains a denoiser.

    Args:
        model: configuration of the model.
        training: settings.
        images: (N, C, H, W), uint8 or, for latents, floats; or photographs.
        device: `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for autocast (three to four times as fast where the hardware supports it).
        compile_network: use torch.compile.
        processes: identifies this process; the batch is divided among all.
        accumulate: number of parts over which every process accumulates the gradients of its share of a batch.
        gradient_checkpointing: compute activations twice instead of keeping them.
        workers: number of processes that prepare images for this one.
        size: side of random crops of the images; None: whole images.

    Raises:
        ConfigError: if settings are incompatible.
    """

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        images: Tensor | Photographs,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        compile_network: bool = False,
        processes: Processes | None = None,
        accumulate: int = 1,
        gradient_checkpointing: bool = False,
        workers: int = 0,
        size: int | None = None,
    ) -> None:
        processes = processes or Processes()
        channels, *sides = images.shape[1:]
        self.image_shape = (channels, *([size, size] if size else sides))
        check_settings(model, training, self.image_shape, precision, processes.count, accumulate)
        torch.manual_seed(training.seed)
        self.processes, self.accumulate = processes, accumulate
        self.model, self.training = model, training
        self.device, self.precision = processes.device(device), precision
        self.gradient_checkpointing = gradient_checkpointing
        self.denoiser = Denoiser(model).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ExponentialMovingAverage(self.denoiser, training.ema_decay)
        self.power_averages = [PowerAverage(self.denoiser, width) for width in training.average_widths]
        self.balance = LevelBalance(model.network_log_snr_min, model.log_snr_max)
        self.optimizers = make_optimizers(self.denoiser, training)
        self.batches = Batches(
            images,
            training.batch_size,
            flips=training.flips,
            rotations=training.rotations,
            size=size,
            seed=training.seed,
            share=slice(processes.rank, None, processes.count),
            workers=workers,
        )
        self.seconds = 0.0
        if gradient_checkpointing:
            recompute_activations(self.denoiser)
        if compile_network:
            # Compiled at the first step, inside DistributedDataParallel's forward pass: torch then splits the network
            # at gradient buckets, and sends gradients while it computes others.
            self.denoiser.network.compile()
        self.objective = processes.joined(Objective(self.denoiser, training))

    def run(
        self,
        *,
        max_images: int | None = None,
        max_s: float | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
        report_every_s: float = 5.0,
        save: Callable[[], None] = lambda: None,
        save_every_s: float = 300.0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train until `max_images` or `max_s` (resumed parts included), whichever comes first; returns whether it did.

        The learning rate depends on the end of the run, unless `decay_share` is 0. `should_stop` is called after every
        step; if true, the run ends early, with a saved state.

        Raises:
            ConfigError: if the run has no end.
        """
        if max_images is None and max_s is None:
            raise ConfigError("training needs a number of images or a time limit")

        def fraction() -> float:
            by_images = self.batches.drawn / max_images if max_images else 0.0
            return max(by_images, self.seconds / max_s if max_s else 0.0)

        losses: list[Tensor] = []
        now = time.perf_counter()
        reported = saved = self.seconds
        stopped = False
        while fraction() < 1 and not stopped:
            losses.append(self.step(fraction()))
            before, now = now, time.perf_counter()
            self.seconds += self.processes.agree(now - before)
            if self.seconds - reported >= report_every_s or fraction() >= 1:
                reported = self.seconds
                report(self._progress(fraction(), losses))
                losses.clear()
            if self.seconds - saved >= save_every_s and fraction() < 1:
                saved = self.seconds
                self._check_weights()
                save()
            stopped = bool(self.processes.agree(should_stop()))
        self._check_weights()
        save()
        return not stopped

    def step(self, fraction: float) -> Tensor:
        """One update of the weights; `fraction` is the completed part of the run, 0 to 1.

        Returns:
            The mean loss of this process's images, ().

        Raises:
            ConfigError: if memory is insufficient.
        """
        with advice_when_full():
            loss = self._compute_gradients()
            torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.training.gradient_clip)
            factor = learning_rate_factor(self.training, self.batches.drawn, fraction)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
                optimizer.step()
        self.ema.update(self.denoiser)
        for average in self.power_averages:
            average.update(self.denoiser, self.batches.drawn, self.training.batch_size)
        return loss

    def _compute_gradients(self) -> Tensor:
        """Gradients of the next batch, averaged over all processes; returns the mean loss of this process's images."""
        self.objective.zero_grad(set_to_none=True)
        config, first, share = self.training, self.batches.drawn, self.processes.share
        # Levels are stratified over the whole batch, so every process draws all of them.
        torch.manual_seed(place_seed(config.seed, first, Purpose.LEVELS))
        log_snr, weight = draw_log_snr(config, config.batch_size, self.denoiser)
        log_snr, weight = share(log_snr).to(self.device), share(weight).to(self.device)
        x_0 = next(self.batches).to(self.device, memory_format=torch.channels_last)
        eps = noise_like(x_0, share(torch.arange(first, first + config.batch_size)), config.seed)
        losses = []
        for part in range(self.accumulate):
            own = slice(part, None, self.accumulate)
            number = self.processes.rank + self.processes.count * part
            torch.manual_seed(place_seed(config.seed, first, Purpose.DROPOUT + number))
            is_last = part == self.accumulate - 1
            with nullcontext() if is_last else self.processes.without_exchange(self.objective):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                    loss = self.objective(x_0[own], log_snr[own], eps[own])
                factors = weight[own]
                if config.weighting == "balanced":
                    factors = factors * self.balance.weights(loss, log_snr[own])
                ((loss * factors).mean() / self.accumulate).backward()
            losses.append(loss.detach().mean())
        return torch.stack(losses).mean()

    def _check_weights(self) -> None:
        """Raise if the run has diverged, so that it does not overwrite its last good state."""
        # A finite loss can have infinite gradients; the weights contain those of all processes.
        self._check(all(bool(parameter.isfinite().all()) for parameter in self.denoiser.parameters()))

    def _check(self, is_finite: bool) -> None:
        if not is_finite:
            raise ConfigError(f"training diverged after {self.batches.drawn} images: lower the learning rate")

    def _progress(self, fraction: float, losses: list[Tensor]) -> Progress:
        loss = self.processes.mean(torch.stack(losses).mean())
        self._check(math.isfinite(loss))
        return Progress(
            self.batches.drawn,
            self.seconds,
            min(1.0, fraction),
            loss,
            bits_per_loss(self.model, self.training) * loss,
            learning_rate_factor(self.training, self.batches.drawn, fraction),
        )

    def step_memory(self) -> StepMemory:
        """Memory of a step in each process, estimated before the first one."""
        images = self.training.batch_size // (self.processes.count * self.accumulate)
        return step_memory(
            self.model,
            self.training,
            (images, *self.image_shape),
            device=self.device,
            precision=self.precision,
            gradient_checkpointing=self.gradient_checkpointing,
            adds_gradients=self.accumulate * self.processes.count > 1,
        )

    def check_memory(self) -> None:
        """Raises a ConfigError if a step needs more memory than is free."""
        memory = self.step_memory()
        sharing = self.processes.local_count if self.device.type == "cpu" else 1
        check_memory(sharing * (memory.total - memory.weights - memory.average), self.device)  # already allocated

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, float32 on the CPU, by parameter name."""
        return {name: value.cpu().contiguous() for name, value in self.ema.average.items()}

    def load_weights(self, model: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        """Start from the weights of a trained model instead of random ones.

        Args:
            model: configuration that they were trained with; schedule and fixed variances may differ now.
            weights: by parameter name.

        Raises:
            CheckpointError: if they do not fit the model, or predict another quantity.
        """
        load_initial_weights(self.denoiser, self.training, model, weights)
        self.ema = ExponentialMovingAverage(self.denoiser, self.training.ema_decay)

    def save_state(self, path: Path) -> None:
        """Write everything that a resumed run needs, atomically."""
        content = {
            "weights": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "averages": [average.average for average in self.power_averages],
            "balance": self.balance.means,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "drawn": self.batches.drawn,
            "seconds": self.seconds,
        }
        write_state(path, self.model, self.training, content)

    def load_state(self, path: Path) -> None:
        """Continue from `save_state`.

        Raises:
            CheckpointError: if the file is damaged, of another model or settings, or not that of the first process.
        """
        with opened_state(path, self.model, self.training) as state:
            self.denoiser.load_state_dict(state["weights"])
            self.ema.load_state_dict(state["ema"])
            for average, saved in zip(self.power_averages, state["averages"], strict=True):
                average.average = saved
            self.balance.means = state["balance"]
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.batches.resume_at(state["drawn"])
            self.seconds = state["seconds"]
        if (first := self.processes.agree(self.batches.drawn)) != self.batches.drawn:
            raise CheckpointError(
                f"{path}: process {self.processes.rank} found a state after {self.batches.drawn} images, process 0 "
                f"after {first:.0f}: all machines must see the same folder"
            )
