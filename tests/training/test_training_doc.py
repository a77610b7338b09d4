"""The commands of docs/training.md are commands, its numbers those of the configurations."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from diffcodec.cli import main
from diffcodec.training.config import TrainingConfig
from diffcodec.training.recipes import named_recipe

DOCUMENT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
CONSOLE = "".join(re.findall(r"^```console\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE))
COMMANDS = [line.removeprefix("$ ") for line in CONSOLE.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line: str) -> None:
    words = line.split("diffcodec train ")[1].split()
    command = main.get_command(None, "train")  # type: ignore[arg-type]
    assert command is not None
    context = command.make_context("train", words)
    if context.params["model_name"] != "tiny.json":
        named_recipe(context.params["model_name"])
    assert {text.split("=")[0] for text in context.params["settings"]} <= {
        field.name for field in fields(TrainingConfig)
    }


def test_the_table_of_recipes_is_right() -> None:
    rows = re.findall(r"^\| `(\S+)` \| [\d.]+ M \| (\d+) x \d+ \| (\d+) \| ([\de-]+), .* \| (0\.9+) \|", DOCUMENT, re.M)
    assert [row[0] for row in rows] == ["cifar10-small", "cifar10-ddpm", "lsun256-ddpm"]
    for name, size, batch_size, learning_rate, average in rows:
        recipe = named_recipe(name)
        assert recipe.size == int(size)
        assert recipe.training.batch_size == int(batch_size)
        assert recipe.training.learning_rate == float(learning_rate)
        assert recipe.training.ema_decay == float(average)
