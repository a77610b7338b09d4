"""The training loop: resumable, bounded by images or by time, logged as JSON lines."""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcodec.config import ModelConfig, TrainingConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training.data import Batches
from diffcodec.training.ema import ExponentialMovingAverage
from diffcodec.training.losses import bits_per_loss, check_objective, draw_log_snr, training_loss
from diffcodec.training.optimizers import make_optimizers
from diffcodec.training.parallel import Processes


@dataclass(frozen=True)
class Progress:
    """One line of the log.

    Args:
        images: training images seen, repetitions counted.
        seconds: spent training, over all resumed parts.
        fraction: of the run that is done, 0 to 1; the learning rate follows it.
        loss: mean since the last line.
        rate_bpd: the loss as a rate in bits per subpixel (`vlb` only, else NaN); see `bits_per_loss`.
        learning_rate: present factor of the peak learning rate.
    """

    images: int
    seconds: float
    fraction: float
    loss: float
    rate_bpd: float
    learning_rate: float


class Trainer:
    """Trains a denoiser.

    Args:
        model: what to train.
        training: how.
        images: (N, 3, H, W), uint8.
        device: `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for autocast (three to four times as fast where the hardware has it).
        compile_network: pass the network through torch.compile.
        processes: which of several processes this is; the batch is shared out among them.
    """

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        images: Tensor,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        compile_network: bool = False,
        processes: Processes | None = None,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision: expected fp32 or bf16, found {precision!r}")
        stride = model.network.stride
        if images.shape[2] % stride or images.shape[3] % stride:
            raise ConfigError(f"training images: sides must be multiples of {stride}, found {tuple(images.shape[2:])}")
        check_objective(model, training)
        processes = processes or Processes()
        if training.batch_size % processes.count:
            raise ConfigError(f"batch_size: {training.batch_size} cannot be shared by {processes.count} processes")
        torch.manual_seed(training.seed)
        self.processes = processes
        self.model, self.training = model, training
        self.device, self.precision = torch.device(device), precision
        self.denoiser = Denoiser(model).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ExponentialMovingAverage(self.denoiser, training.ema_decay)
        self.optimizers = make_optimizers(self.denoiser, training)
        self.batches = Batches(images, training.batch_size, flips=training.flips, seed=training.seed)
        self.seconds = 0.0
        if compile_network:
            self.denoiser.network.compile()

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
            losses.append(self._step(fraction()))
            before, now = now, time.perf_counter()
            self.seconds += self.processes.agree(now - before)
            if self.seconds - reported >= report_every_s or fraction() >= 1:
                reported = self.seconds
                report(self._progress(fraction(), losses))
                losses.clear()
            if self.seconds - saved >= save_every_s and fraction() < 1:
                saved = self.seconds
                self._check_finite(losses)
                save()
        save()

    def _step(self, fraction: float) -> Tensor:
        config = self.training
        # Seeded by the place in the run, so that a resumed run draws what an unbroken one would have.
        torch.manual_seed(config.seed * 1_000_003 + self.batches.drawn)
        log_snr, weight = draw_log_snr(config, config.batch_size, self.denoiser)
        log_snr, weight = self.processes.share(log_snr), self.processes.share(weight)
        x_0 = self.processes.share(next(self.batches)).to(self.device, memory_format=torch.channels_last)
        torch.manual_seed((config.seed * 1_000_003 + self.batches.drawn) * 1009 + self.processes.rank + 1)
        factor = self._learning_rate_factor(fraction)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = training_loss(self.denoiser, config, x_0, log_snr.to(self.device), torch.randn_like(x_0))
        (loss * weight.to(self.device)).mean().backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.denoiser)
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.ema.update(self.denoiser)
        return loss.detach().mean()

    def _learning_rate_factor(self, fraction: float) -> float:
        """Linear warm-up, then half a cosine from 1 to `final_learning_rate`."""
        warmup = min(1.0, (self.batches.drawn + 1) / max(1, self.training.warmup_images))
        final = self.training.final_learning_rate
        return warmup * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))

    def _check_finite(self, losses: list[Tensor]) -> None:
        """A run that has diverged must not overwrite the last good state."""
        if not all(bool(torch.isfinite(loss)) for loss in losses):
            raise ConfigError(f"training diverged after {self.batches.drawn} images: lower the learning rate")

    def _progress(self, fraction: float, losses: list[Tensor]) -> Progress:
        self._check_finite(losses)
        loss = torch.stack(losses).mean().item()
        return Progress(
            self.batches.drawn,
            self.seconds,
            min(1.0, fraction),
            loss,
            bits_per_loss(self.model, self.training) * loss,
            self._learning_rate_factor(fraction),
        )

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, float32 on the CPU, by parameter name."""
        return {name: value.cpu().contiguous() for name, value in self.ema.average.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the weights of a trained model, by parameter name, instead of random ones.

        Raises:
            CheckpointError: if they do not fit the model.
        """
        try:
            self.denoiser.load_state_dict({name: value.float() for name, value in weights.items()})
        except RuntimeError as error:
            raise CheckpointError(
                "the weights to start from do not fit the model that is trained: pass the --model that they are of"
            ) from error
        self.ema = ExponentialMovingAverage(self.denoiser, self.training.ema_decay)

    def save_state(self, path: Path) -> None:
        """Write all that a resumed run needs; the old file stays until the new one is complete."""
        state: dict[str, Any] = {
            "model": self.model.to_dict(),
            "training": self.training.to_dict(),
            "weights": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "drawn": self.batches.drawn,
            "seconds": self.seconds,
        }
        temporary = path.with_name(path.name + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load_state(self, path: Path) -> None:
        """Continue from `save_state`.

        Raises:
            CheckpointError: if the file is damaged or belongs to another model.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if ModelConfig.from_dict(state["model"]) != self.model:
                raise CheckpointError(f"{path}: was saved by a run of another model configuration")
            saved_training = TrainingConfig.from_dict(state["training"])
            if saved_training != self.training:
                raise CheckpointError(
                    f"{path}: was saved by a run with other settings: "
                    + ", ".join(
                        f"{key}={value}"
                        for key, value in saved_training.to_dict().items()
                        if value != getattr(self.training, key)
                    )
                    + "; pass the same ones with --set"
                )
            self.denoiser.load_state_dict(state["weights"])
            self.ema.load_state_dict(state["ema"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.batches.drawn, self.seconds = state["drawn"], state["seconds"]
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{path}: cannot be resumed from (damaged, or no training state)") from error
        except (OSError, KeyError, ValueError, RuntimeError, EOFError, TypeError) as error:
            raise CheckpointError(f"{path}: cannot be resumed from ({error})") from error


def append_log(path: Path, progress: Progress) -> None:
    """Add one JSON line to a training log."""
    with path.open("a", encoding="utf-8") as file:
        values = {k: v if math.isfinite(v) else None for k, v in progress.__dict__.items()}  # JSON has no NaN
        file.write(json.dumps(values) + "\n")
