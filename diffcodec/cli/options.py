"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

allow_pickle_option = click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read the weights of a pipeline folder that has them only as a Python pickle (.bin).",
)


def model_option(default: str) -> Callable[[Function], Function]:
    """--model, which names any model.

    Args:
        default: says which it is where none is named.
    """
    return click.option(
        "--model",
        help="Bundled model, model file, diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.  "
        f"[default: {default}]",
    )
