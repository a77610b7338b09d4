"""The folder that `diffcodec train` writes into."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffcodec.training.log import Progress
    from diffcodec.training.loop import Trainer


class RunFolder:
    """The files of a training run, written by its first process.

    Args:
        folder: created if it does not exist.
        trainer: of the run.
        name, data: of the model, for its card.
        precision, start: for the recipe on the card.
    """

    def __init__(
        self, folder: Path, trainer: Trainer, *, name: str, data: str, precision: str, start: str | None
    ) -> None:
        from diffcodec.files import remove_unfinished
        from diffcodec.training.log import cut_log

        self.trainer, self.name, self.data = trainer, name, data
        self.recipe = {"training": trainer.training.to_dict(), "precision": precision}
        if start is not None:
            self.recipe["from"] = start
        self.state, self.model, self.log = (folder / file for file in ("state.pt", "model.safetensors", "log.jsonl"))
        self.averages, self._next_snapshot = folder / "averages", 0
        if trainer.processes.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            cut_log(self.log, trainer.batches.drawn)

    def save(self) -> None:
        """Write the state for resuming, and the current model."""
        from diffcodec.files import atomic_write
        from diffcodec.model.checkpoint import Checkpoint, half_weights
        from diffcodec.model.model_file import ModelCard

        trainer = self.trainer
        if not trainer.processes.is_first:
            return
        trainer.save_state(self.state)
        card = ModelCard(
            self.name,
            data=self.data,
            recipe=json.dumps(self.recipe, sort_keys=True),
            time=f"{trainer.seconds / 60:.0f} minutes on {trainer.device.type}, {trainer.batches.drawn} images",
        )
        with atomic_write(self.model, overwrite=True) as file:
            file.write(Checkpoint(trainer.model, card, half_weights(trainer.averaged_weights())).to_bytes())
        self._save_averages()

    def _save_averages(self) -> None:
        """Write a snapshot of every average over the run, about ten for each doubling of its length."""
        from safetensors.torch import save

        from diffcodec.files import atomic_write

        images = self.trainer.batches.drawn
        if not self.trainer.power_averages or images < self._next_snapshot:
            return
        self._next_snapshot = images + max(images // 14, 1)
        self.averages.mkdir(exist_ok=True)
        for average in self.trainer.power_averages:
            content = save({name: value.cpu().contiguous() for name, value in average.average.items()})
            with atomic_write(self.averages / f"{images:010}-{average.width:g}.safetensors", overwrite=True) as file:
                file.write(content)

    @contextmanager
    def progress_bar(self) -> Iterator[Callable[[Progress], None]]:
        """A function that appends a line to the log and shows it."""
        from tqdm import tqdm

        from diffcodec.training.log import append_log

        is_first = self.trainer.processes.is_first
        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        with tqdm(total=1000, bar_format=layout, disable=not is_first) as bar:

            def report(progress: Progress) -> None:
                if is_first:
                    append_log(self.log, progress)
                    bar.n = round(1000 * progress.fraction)
                    # Counts the parts of the run before it was resumed, so that the time left is right.
                    bar.start_t = time.time() - progress.seconds
                    rate = {} if math.isnan(progress.rate_bpd) else {"bpd": f"{progress.rate_bpd:.3f}"}
                    bar.set_postfix(images=progress.images, loss=f"{progress.loss:.4f}", **rate)

            yield report
