"""`diffcodec models`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import click

from diffcodec.cli.failures import painted
from diffcodec.cli.options import allow_pickle_option


@click.command("models")
@click.argument("model", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
@allow_pickle_option
def command(model: tuple[str, ...], as_json: bool, allow_pickle: bool) -> None:
    """Show the bundled models, or others: their training data, method and measured figures.

    MODEL is a model file, a diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.
    """
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL, SMALL_SIDE, bundled_models, find_model

    bundled = bundled_models()
    defaults = {DEFAULT_MODEL: f"pictures up to {SMALL_SIDE} x {SMALL_SIDE}", PHOTO_MODEL: "larger pictures"}
    found = []
    for name in model or tuple(bundled):
        path = find_model(name, allow_pickle=allow_pickle)
        checkpoint = load_checkpoint(name, allow_pickle=allow_pickle)
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        values = {
            **checkpoint.card.to_dict(),
            "fingerprint": checkpoint.ready().fingerprint.hex(),
            "parameters": sum(value.numel() for value in checkpoint.weights.values()),
            "bytes": sum(file.stat().st_size for file in files),
            "levels": [len(levels.levels) for levels in checkpoint.tables.lists] if checkpoint.tables else [],
            "default_steps": (checkpoint.tables.default_steps or None) if checkpoint.tables else None,
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
