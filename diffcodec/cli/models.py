"""`diffcodec models`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("models")
@click.argument("model", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
def command(model: tuple[str, ...], as_json: bool) -> None:
    """Show the bundled models, or model files: what they were trained on, and how well they do."""
    from diffcodec.checkpoint import DEFAULT_MODEL, bundled_models, find_model, load_checkpoint

    bundled = bundled_models()
    for name in model or tuple(bundled):
        path = find_model(name)
        checkpoint = load_checkpoint(path)
        values = {
            **checkpoint.card.to_dict(),
            "fingerprint": checkpoint.fingerprint.hex(),
            "parameters": sum(value.numel() for value in checkpoint.weights.values()),
            "bytes": Path(path).stat().st_size,
            "levels": [len(levels.levels) for levels in checkpoint.tables.lists] if checkpoint.tables else [],
            "default_steps": (checkpoint.tables.default_steps or None) if checkpoint.tables else None,
            "default": name == DEFAULT_MODEL,
        }
        if as_json:
            click.echo(json.dumps(values))
            continue
        click.echo(click.style(str(values.pop("name")), bold=True))
        for key, value in values.items():
            click.echo(f"  {key:<13} {value}")
