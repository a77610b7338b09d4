"""`diffcodec train`."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from diffcodec.cli.run_folder import RunFolder
from diffcodec.config import ModelConfig
from diffcodec.errors import ConfigError
from diffcodec.training.recipes import RECIPES, Recipe, named_recipe

OTHER_SIZES = "".join(f"{recipe.size} for {name}, " for name, recipe in RECIPES.items() if recipe.size != Recipe.size)


def recipe_lines() -> str:
    """A line for each recipe, for the help text."""
    width = max(map(len, RECIPES))
    lines = [
        f"  {name:<{width}}  images of {recipe.size} x {recipe.size}, batches of {recipe.training.batch_size}, "
        f"{recipe.training.optimizer}"
        for name, recipe in RECIPES.items()
    ]
    return "\n".join(["\b", "Recipes for --model:", *lines])


def parse_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time such as 90, 90s, 45m or 1.5h, in seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    if not match or float(match[1]) == 0:
        raise click.BadParameter(f"{value!r} is not a time such as 90s, 45m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


@click.command("train", epilog=recipe_lines())
@click.option(
    "--data",
    default="cifar10",
    show_default=True,
    help="`cifar10` (torchvision's), a grid of tiles, or a folder of pictures; several separated by commas.",
)
@click.option("--root", default="data", show_default=True, help="Where torchvision keeps CIFAR-10.")
@click.option(
    "--size",
    type=click.IntRange(4, 1024),
    help=f"Side of a training image.  [default: {OTHER_SIZES}else {Recipe.size}]",
)
@click.option(
    "--tile-size",
    type=click.IntRange(4, 4096),
    metavar="SIDE",
    help="Keep tiles of this size in memory, and take a random crop of --size from each in every epoch.",
)
@click.option(
    "--crop",
    type=click.Choice(["tiles", "random", "centre"]),
    default="tiles",
    show_default=True,
    help="Cut pictures into tiles kept in memory, or read pictures when needed and take one crop of each per epoch.",
)
@click.option(
    "--resize",
    type=click.IntRange(1),
    metavar="SIDE",
    help="Resize the shorter side of pictures to this before cropping.  [default: with --crop centre, the size]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Number of processes that read pictures for --crop.",
)
@click.option(
    "--model",
    "model_name",
    default="cifar10-small",
    show_default=True,
    help=f"A named configuration ({', '.join(RECIPES)}) or a JSON file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder for the model, the log and the state.",
)
@click.option("--name", help="Name of the model in its card.  [default: that of the configuration]")
@click.option("--time-limit", metavar="TIME", callback=parse_duration, help="Stop after this time: 90s, 45m, 1.5h.")
@click.option("--images", type=click.IntRange(1), help="Stop after this many images, counting repetitions.")
@click.option(
    "--save-every",
    metavar="TIME",
    callback=parse_duration,
    default="5m",
    show_default=True,
    help="Time between saved states, from which a killed run can be resumed.",
)
@click.option("--resume", is_flag=True, help="Continue from the state in the folder.")
@click.option(
    "--from", "start", metavar="NAME|FILE", help="Start from the weights of a trained model, perhaps a smaller one."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda (experimental).")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="bf16 autocast is several times as fast where the hardware supports it.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Save memory by computing activations twice.")
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Accumulate gradients over N parts of each batch.",
)
@click.option("--compile/--no-compile", "compile_network", default=False, help="Use torch.compile.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A training setting, such as batch_size=128 or optimizer=muon; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Run two steps, print their memory and time, and write nothing.")
def command(
    data: str,
    root: str,
    size: int | None,
    tile_size: int | None,
    crop: Literal["tiles", "random", "centre"],
    resize: int | None,
    workers: int,
    model_name: str,
    out: Path | None,
    name: str | None,
    time_limit: float | None,
    images: int | None,
    save_every: float,
    resume: bool,
    start: str | None,
    device: str,
    precision: str,
    gradient_checkpointing: bool,
    accumulate: int,
    compile_network: bool,
    settings: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train a diffusion model.

    To share the work among processes, start them with `torchrun --nproc-per-node N -m diffcodec train ...`.
    Writes OUT/model.safetensors (averaged weights), OUT/log.jsonl and OUT/state.pt (for --resume).
    """
    from diffcodec.devices import check_device
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.training.config import TrainingConfig
    from diffcodec.training.data import open_images
    from diffcodec.training.dry_run import measure_steps
    from diffcodec.training.loop import Trainer
    from diffcodec.training.parallel import Processes

    if out is None and (resume or not dry_run):
        raise click.UsageError("Missing option '--out'.")
    if images is None and time_limit is None and not dry_run:
        raise click.UsageError("Training needs an end: pass --images, --time-limit or both.")
    recipe = read_recipe(Path(model_name)) if model_name.endswith(".json") else named_recipe(model_name)
    training = TrainingConfig.from_dict(recipe.training.to_dict() | dict(parse_setting(text) for text in settings))
    check_device(device)
    if out is not None and (out / "state.pt").exists() and not (resume or dry_run):
        raise ConfigError(f"{out / 'state.pt'} exists: pass --resume to continue from it, or choose another --out")
    with Processes.from_environment() as processes:
        pictures = open_images(data, size=size or recipe.size, root=root, crop=crop, resize=resize, tile_size=tile_size)
        trainer = Trainer(
            recipe.model,
            training,
            pictures,
            device=device,
            precision=precision,
            compile_network=compile_network,
            processes=processes,
            accumulate=accumulate,
            gradient_checkpointing=gradient_checkpointing,
            workers=0 if crop == "tiles" else workers,
            size=None if tile_size is None else size or recipe.size,
        )
        trainer.check_memory()
        if out is not None and resume:
            trainer.load_state(out / "state.pt")
        elif start is not None:
            trained = load_checkpoint(start)
            trainer.load_weights(trained.config, trained.weights)
        if out is None or dry_run:
            cost = measure_steps(trainer)
            if processes.is_first:
                click.echo("\n".join(cost.lines()))
            return
        run = RunFolder(
            out,
            trainer,
            name=name or Path(model_name).stem,
            data=data if data == "cifar10" else "own pictures",
            precision=precision,
            start=start,
        )
        with run.progress_bar() as report, signals_caught() as caught:
            finished = trainer.run(
                max_images=images,
                max_s=time_limit,
                report=report,
                save=run.save,
                save_every_s=save_every,
                should_stop=lambda: bool(caught),
            )
        if not finished:
            if processes.is_first:
                click.echo(f"Stopped after {trainer.batches.drawn} images: repeat the command with --resume", err=True)
            raise SystemExit(128 + caught[0] if caught else 1)
        if processes.is_first:
            click.echo(f"wrote {run.model}: run `diffcodec calibrate` on it before compressing", err=True)


@contextmanager
def signals_caught() -> Iterator[list[int]]:
    """Numbers of the signals that asked the program to end: a run stops after its step, with a saved state."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {
        number: signal.signal(number, lambda number, frame: caught.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_recipe(path: Path) -> Recipe:
    """The model configuration in a JSON file, with the default training settings.

    Raises:
        ConfigError: if it cannot be read, or is invalid.
    """
    data = read_json(path)
    try:
        return Recipe(ModelConfig.from_dict(data))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", parameters=error.parameters) from error


def read_json(path: Path) -> object:
    """The content of a JSON file.

    Raises:
        ConfigError: if it does not exist, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error})") from error


def parse_setting(text: str) -> tuple[str, object]:
    """`key=value`, with the value parsed as JSON if it is valid JSON, else as text."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
