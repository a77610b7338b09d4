"""`diffcodec train`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from diffcodec.errors import ConfigError


def parse_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time such as 90, 90s, 45m or 1.5h, in seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    if not match or float(match[1]) == 0:
        raise click.BadParameter(f"{value!r} is not a time such as 90s, 45m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


@click.command("train")
@click.option(
    "--data",
    default="cifar10",
    show_default=True,
    help="`cifar10` (torchvision's), a grid of tiles, or a folder of pictures; several joined by commas.",
)
@click.option("--root", default="data", show_default=True, help="Where torchvision keeps CIFAR-10.")
@click.option("--size", type=click.IntRange(4, 1024), default=32, show_default=True, help="Side of a training image.")
@click.option(
    "--model",
    "model_name",
    default="cifar10-small",
    show_default=True,
    help="A named configuration (cifar10-small, cifar10-ddpm) or a JSON file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the model, the log and the state.",
)
@click.option("--name", help="Name of the model in its card.  [default: that of the configuration]")
@click.option("--time-limit", metavar="TIME", callback=parse_duration, help="Stop after this time: 90s, 45m, 1.5h.")
@click.option("--images", type=click.IntRange(1), help="Stop after this many images, repetitions counted.")
@click.option("--resume", is_flag=True, help="Continue from the state in the folder.")
@click.option("--from", "start", metavar="NAME|FILE", help="Start from the weights of a trained model (fine-tuning).")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="bf16 autocast is several times as fast where the hardware has it.",
)
@click.option("--compile/--no-compile", "compile_network", default=False, help="Use torch.compile.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A training setting, such as batch_size=128 or optimizer=muon; repeatable.",
)
def command(
    data: str, root: str, size: int, model_name: str, out: Path, name: str | None, time_limit: float | None,
    images: int | None, resume: bool, start: str | None, device: str, precision: str, compile_network: bool,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Train a diffusion model.

    Several processes share the work when started by `torchrun --nproc-per-node N -m diffcodec train ...`.
    Writes OUT/model.safetensors (averaged weights), OUT/log.jsonl and OUT/state.pt, from which --resume goes on.
    """
    from tqdm import tqdm

    from diffcodec.checkpoint import Checkpoint, ModelCard, half_weights, load_checkpoint
    from diffcodec.config import ModelConfig, TrainingConfig, named_model
    from diffcodec.devices import check_device
    from diffcodec.files import atomic_write
    from diffcodec.training.data import load_images
    from diffcodec.training.loop import Progress, Trainer, append_log
    from diffcodec.training.parallel import Processes

    if model_name.endswith(".json"):
        model = ModelConfig.from_dict(read_json(Path(model_name)))
    else:
        model = named_model(model_name)
    training = TrainingConfig.from_dict(dict(parse_setting(setting) for setting in settings))
    check_device(device)
    processes = Processes.from_environment()
    state = out / "state.pt"
    if state.exists() and not resume:
        raise ConfigError(f"{state} exists: pass --resume to go on from it, or choose another --out")
    trainer = Trainer(
        model, training, load_images(data, size=size, root=root),
        device=device, precision=precision, compile_network=compile_network, processes=processes,
    )  # fmt: skip
    if resume:
        trainer.load_state(state)
    elif start is not None:
        trainer.load_weights(load_checkpoint(start).weights)
    out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        if not processes.is_first:
            return
        trainer.save_state(state)
        origin = {"from": start} if start is not None else {}
        recipe = json.dumps({"training": training.to_dict(), "precision": precision, **origin}, sort_keys=True)
        card = ModelCard(
            name or Path(model_name).stem, data=data if data == "cifar10" else "own pictures", recipe=recipe,
            time=f"{trainer.seconds / 60:.0f} minutes on {device}, {trainer.batches.drawn} images",
        )  # fmt: skip
        weights = half_weights(trainer.averaged_weights())
        with atomic_write(out / "model.safetensors", overwrite=True) as file:
            file.write(Checkpoint(model, card, weights).to_bytes())

    layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1000, bar_format=layout, disable=not processes.is_first) as bar:

        def report(progress: Progress) -> None:
            if not processes.is_first:
                return
            append_log(out / "log.jsonl", progress)
            bar.n = round(1000 * progress.fraction)
            bar.set_postfix(images=progress.images, loss=f"{progress.loss:.4f}", bpd=f"{progress.rate_bpd:.3f}")

        trainer.run(max_images=images, max_seconds=time_limit, report=report, save=save)
    click.echo(f"wrote {out / 'model.safetensors'}: run `diffcodec calibrate` on it before compressing", err=True)


def read_json(path: Path) -> object:
    """The content of a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error})") from error


def parse_setting(text: str) -> tuple[str, object]:
    """`key=value`, the value as JSON where it is JSON and as text elsewhere."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
