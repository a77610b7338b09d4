"""A worker without a model for other processes: it copies files, and does what their contents say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffcodec.cli.batch.work import Done, ExistingOutput, Item, Task
from diffcodec.coding.progress import ProgressCallback
from diffcodec.errors import ConfigError
from diffcodec.files import atomic_write


@dataclass(frozen=True)
class CopyJob:
    """Copies `a...` together with its likes."""

    named_output: str | None = None
    runs_on_cpu: bool = True
    unrecorded: str = ""

    def load(self) -> Copier:
        return Copier()

    def peek(self, source: str) -> tuple[Hashable, int]:
        return Path(source).name[0], 1


@dataclass(frozen=True)
class Copier:
    """Contents are `die`, `leave`, `defect`, `bad`, `slow` (half a second), `hang` (halfway), or more."""

    warning: str = ""
    when_full: str = "copy less"

    def existing_output(self, task: Task) -> ExistingOutput:
        return ExistingOutput.FINISHED if os.path.exists(task.target) else ExistingOutput.MISSING

    def read(self, task: Task) -> Item[str]:
        content = Path(task.source).read_text()
        if content == "bad":
            raise ConfigError(f"{task.source} is bad")
        return Item(task, content, task.batch_key, 1)

    def work(self, items: Sequence[Item[str]], progress: ProgressCallback) -> list[str]:
        contents = [item.content for item in items]
        if "die" in contents:
            os.kill(os.getpid(), signal.SIGKILL)
        if "leave" in contents:
            os._exit(7)
        if "defect" in contents:
            raise RuntimeError("shapes differ")
        if "slow" in contents:
            time.sleep(0.5)
        return contents

    def write(self, item: Item[str], result: str, overwrite: bool) -> Done:
        with atomic_write(item.task.target, overwrite=overwrite) as file:
            file.write(result.encode())
            file.flush()
            if result == "hang":
                time.sleep(60)
        return Done(f"{item.task.source} -> {os.getpid()}", {"process": os.getpid()}, 1, 1, 1, 1.0)
