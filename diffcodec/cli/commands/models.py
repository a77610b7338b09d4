"""`diffcodec models`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffcodec.cli.failures import painted
from diffcodec.cli.options import allow_pickle_option

if TYPE_CHECKING:
    from diffcodec.model.tables import CodecTables


@click.command("models", short_help="Show the bundled models, or others.")
@click.argument("model", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
@allow_pickle_option
def command(model: tuple[str, ...], as_json: bool, allow_pickle: bool) -> None:
    """Show the bundled models, or others: their training data, method and measured figures.

    MODEL is a model file, a diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.
    """
    from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL, SMALL_SIDE, bundled_models, find_model

    bundled = bundled_models()
    defaults = {DEFAULT_MODEL: f"pictures up to {SMALL_SIDE} x {SMALL_SIDE}", PHOTO_MODEL: "larger pictures"}
    found = []
    for name in model or tuple(bundled):
        path = find_model(name, allow_pickle=allow_pickle)
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        values = {
            **(described_folder(name, allow_pickle) if path.is_dir() else described_file(path)),
            "bytes": sum(file.stat().st_size for file in files),
            "default_for": defaults.get(name),
        }
        if as_json:
            click.echo(json.dumps(values))
        found.append(values)
    if as_json:
        return
    click.echo(table(found))
    for values in found:
        click.echo(f"\n{card(values)}", nl=False)


def described_file(path: Path) -> dict[str, Any]:
    """What a model file says of itself; without torch, which takes seconds to import."""
    from diffcodec.model.description import describe
    from diffcodec.model.model_file import read_model_file

    file = read_model_file(path)
    parameters = sum(math.prod(tensor.shape) for tensor in file.tensors)
    return {
        **file.card.to_dict(),
        "fingerprint": describe(file).fingerprint.hex(),
        "parameters": parameters,
        **_steps(file.tables),
    }


def described_folder(name: str, allow_pickle: bool) -> dict[str, Any]:
    """The same for a pipeline's folder."""
    from diffcodec.model.loading import load_checkpoint

    checkpoint = load_checkpoint(name, allow_pickle=allow_pickle)
    return {
        **checkpoint.card.to_dict(),
        "fingerprint": checkpoint.ready().fingerprint.hex(),
        "parameters": sum(value.numel() for value in checkpoint.weights.values()),
        **_steps(checkpoint.tables),
    }


def _steps(tables: CodecTables | None) -> dict[str, Any]:
    return {
        "levels": [len(levels.levels) for levels in tables.lists] if tables else [],
        "default_steps": (tables.default_steps or None) if tables else None,
    }


def table(models: Sequence[Mapping[str, Any]]) -> str:
    """A line for each model."""
    from diffcodec.evaluation.summary_table import aligned

    lines = [("model", "default for", "fingerprint", "parameters", "file", "steps", "default steps")]
    for values in models:
        levels = sorted(set(values["levels"]))
        steps = "-" if not levels else str(levels[0]) if len(levels) == 1 else f"{levels[0]} to {levels[-1]}"
        lines.append(
            (
                values["name"],
                values["default_for"] or "-",
                values["fingerprint"],
                f"{values['parameters'] / 1e6:.1f} M",
                f"{values['bytes'] / 1e6:.1f} MB",
                steps,
                str(values["default_steps"] or "-"),
            )
        )
    return aligned(lines, left=3)


def card(values: Mapping[str, Any]) -> str:
    """What a model's card says, wrapped to the terminal."""
    formatter = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, 120) - 2)
    levels = ", ".join(map(str, sorted(set(values["levels"]))))
    texts = {key: values.get(key) for key in ("data", "recipe", "time", "numbers", "licence")} | {"steps": levels}
    with formatter.indentation():
        formatter.write_dl([(key, str(text)) for key, text in texts.items() if text])
    return f"{painted(str(values['name']))}\n{formatter.getvalue()}"
