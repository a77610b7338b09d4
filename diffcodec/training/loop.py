"""The training loop: resumable, bounded by images or by time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from diffcodec.config import ModelConfig, TrainingConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training.data import Batches
from diffcodec.training.ema import ExponentialMovingAverage
from diffcodec.training.log import Progress
from diffcodec.training.losses import bits_per_loss, check_objective, draw_log_snr, training_loss
from diffcodec.training.memory import StepMemory, advice_when_full, check_memory, recompute_activations, step_memory
from diffcodec.training.optimizers import make_optimizers
from diffcodec.training.parallel import Processes
from diffcodec.training.photographs import Photographs
from diffcodec.training.randomness import Purpose, noise_like, place_seed
from diffcodec.training.state import opened_state, write_state


class Objective(nn.Module):
    """The loss as a module, whose forward pass is that of the network: this is what several processes share."""

    def __init__(self, denoiser: Denoiser, training: TrainingConfig) -> None:
        super().__init__()
        self.denoiser, self.training_config = denoiser, training

    def forward(self, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        """Losses (B,) of images (B, C, H, W) at log SNRs (B,) with that noise."""
        return training_loss(self.denoiser, self.training_config, x_0, log_snr, eps)


class Trainer:
    """Trains a denoiser.

    Args:
        model: what to train.
        training: how.
        images: (N, 3, H, W), uint8, or photographs.
        device: `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for autocast (three to four times as fast where the hardware has it).
        compile_network: pass the network through torch.compile.
        processes: which of several processes this is; the batch is shared out among them.
        accumulate: how many parts every process takes its share of a batch in, one after the other.
        gradient_checkpointing: compute activations twice instead of keeping them.
        workers: processes that prepare images for this one.

    Raises:
        ConfigError: if these do not fit together.
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
    ) -> None:
        processes = processes or Processes()
        self.image_shape = tuple(images.shape[1:])
        self._check_settings(model, training, precision, processes.count, accumulate)
        torch.manual_seed(training.seed)
        self.processes, self.accumulate = processes, accumulate
        self.model, self.training = model, training
        self.device, self.precision = processes.device(device), precision
        self.gradient_checkpointing = gradient_checkpointing
        self.denoiser = Denoiser(model).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ExponentialMovingAverage(self.denoiser, training.ema_decay)
        self.optimizers = make_optimizers(self.denoiser, training)
        self.batches = Batches(
            images,
            training.batch_size,
            flips=training.flips,
            seed=training.seed,
            share=slice(processes.rank, None, processes.count),
            workers=workers,
        )
        self.seconds = 0.0
        if gradient_checkpointing:
            recompute_activations(self.denoiser)
        if compile_network:
            # Compiled at the first step, inside DistributedDataParallel's forward pass: torch then cuts the network
            # where gradients are sent, and sends them while it computes others.
            self.denoiser.network.compile()
        self.objective = processes.joined(Objective(self.denoiser, training))

    def _check_settings(
        self, model: ModelConfig, training: TrainingConfig, precision: str, processes: int, accumulate: int
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision: expected fp32 or bf16, found {precision!r}")
        stride, (channels, *sides) = model.network.stride, self.image_shape
        if model.network.image_channels != channels:
            raise ConfigError(f"image_channels: training images have {channels}, found {model.network.image_channels}")
        if any(side % stride for side in sides):
            raise ConfigError(
                f"training images: sides must be multiples of {stride}, found {sides[0]} x {sides[1]}: pass another "
                "--size"
            )
        check_objective(model, training)
        if training.batch_size % processes:
            raise ConfigError(f"batch_size: {training.batch_size} cannot be shared by {processes} processes")
        if training.batch_size % (processes * accumulate):
            share = training.batch_size // processes
            raise ConfigError(f"accumulate: {share} images a process cannot be taken in {accumulate} equal parts")

    def run(
        self,
        *,
        max_images: int | None = None,
        max_seconds: float | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
        report_every_s: float = 5.0,
        save: Callable[[], None] = lambda: None,
        save_every_s: float = 300.0,
    ) -> None:
        """Train until `max_images` or `max_seconds` (resumed parts included), whichever comes first.

        The learning rate falls along a cosine that ends with the run, so a longer run is another run and
        not the same run continued.

        Raises:
            ConfigError: if the run has no end.
        """
        if max_images is None and max_seconds is None:
            raise ConfigError("training needs an end: a number of images or a time limit")

        def fraction() -> float:
            by_images = self.batches.drawn / max_images if max_images else 0.0
            return max(by_images, self.seconds / max_seconds if max_seconds else 0.0)

        losses: list[Tensor] = []
        now = time.perf_counter()
        reported = saved = self.seconds
        while fraction() < 1:
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
        self._check_weights()
        save()

    def step(self, fraction: float) -> Tensor:
        """One update of the weights, at a place in the run from 0 to 1.

        Returns:
            The mean loss of this process's images, ().

        Raises:
            ConfigError: if the memory does not suffice.
        """
        with advice_when_full():
            loss = self._compute_gradients()
            torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.training.gradient_clip)
            factor = self._learning_rate_factor(fraction)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
                optimizer.step()
        self.ema.update(self.denoiser)
        return loss

    def _compute_gradients(self) -> Tensor:
        """Gradients of the next batch, as a mean over all processes; returns the mean loss of this process's images."""
        self.objective.zero_grad(set_to_none=True)
        config, first, share = self.training, self.batches.drawn, self.processes.share
        # Levels are spread over the whole batch, so every process draws all of them.
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
                ((loss * weight[own]).mean() / self.accumulate).backward()
            losses.append(loss.detach().mean())
        return torch.stack(losses).mean()

    def _learning_rate_factor(self, fraction: float) -> float:
        """Linear warm-up, then half a cosine from 1 to `final_learning_rate`."""
        warmup = min(1.0, (self.batches.drawn + 1) / max(1, self.training.warmup_images))
        final = self.training.final_learning_rate
        return warmup * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))

    def _check_weights(self) -> None:
        """A run that has diverged must not overwrite its last good state."""
        # A step with a finite loss can have other gradients; those of all processes are in everybody's weights.
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
            self._learning_rate_factor(fraction),
        )

    def step_memory(self) -> StepMemory:
        """What a step will take in each process, known before the first one."""
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
        """Raises a ConfigError if a step takes more memory than is free."""
        memory = self.step_memory()
        sharing = self.processes.local_count if self.device.type == "cpu" else 1
        check_memory(sharing * (memory.total - memory.weights - memory.average), self.device)  # these are there already

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, float32 on the CPU, by parameter name."""
        return {name: value.cpu().contiguous() for name, value in self.ema.average.items()}

    def load_weights(self, model: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        """Start from the weights of a trained model instead of random ones.

        Args:
            model: what they were trained as; schedule and fixed variances may be others now.
            weights: by parameter name.

        Raises:
            CheckpointError: if they do not fit the model, or mean something else in it.
        """
        try:
            self.denoiser.load_state_dict({name: value.float() for name, value in weights.items()})
        except RuntimeError as error:
            raise CheckpointError(
                "the weights to start from do not fit the model that is trained: pass the --model that they are of"
            ) from error
        if model.prediction != self.model.prediction:
            raise CheckpointError(
                f"the weights to start from predict {model.prediction}, and the model that is trained "
                f"{self.model.prediction}: pass the --model that they are of"
            )
        self.ema = ExponentialMovingAverage(self.denoiser, self.training.ema_decay)

    def save_state(self, path: Path) -> None:
        """Write all that a resumed run needs; the old file stays until the new one is complete."""
        content = {
            "weights": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "drawn": self.batches.drawn,
            "seconds": self.seconds,
        }
        write_state(path, self.model, self.training, content)

    def load_state(self, path: Path) -> None:
        """Continue from `save_state`.

        Raises:
            CheckpointError: if the file is damaged, or belongs to another model, to other settings or to another place
                in the run than that of the first process.
        """
        with opened_state(path, self.model, self.training) as state:
            self.denoiser.load_state_dict(state["weights"])
            self.ema.load_state_dict(state["ema"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.batches.resume_at(state["drawn"])
            self.seconds = state["seconds"]
        if (first := self.processes.agree(self.batches.drawn)) != self.batches.drawn:
            raise CheckpointError(
                f"{path}: is of a run after {self.batches.drawn} images in process {self.processes.rank} and after "
                f"{first:.0f} in process 0: all machines must see the same folder"
            )
