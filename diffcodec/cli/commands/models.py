"""`diffcodec models`."""

from __future__ import annotations

import json

import click

from diffcodec.cli.options import allow_pickle_option


@click.command("models")
@click.argument("model", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
@allow_pickle_option
def command(model: tuple[str, ...], as_json: bool, allow_pickle: bool) -> None:
    """Show the bundled models, or others: their training data, method and measured figures.

    MODEL is a model file, a diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.
    """
    from diffcodec.model.checkpoint import load_checkpoint
    from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL, SMALL_SIDE, bundled_models, find_model

    bundled = bundled_models()
    defaults = {DEFAULT_MODEL: f"pictures up to {SMALL_SIDE} x {SMALL_SIDE}", PHOTO_MODEL: "larger pictures"}
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
            continue
        click.echo(click.style(str(values.pop("name")), bold=True))
        for key, value in values.items():
            if value is not None:
                click.echo(f"  {key:<13} {value}")
