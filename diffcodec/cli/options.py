"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from diffcodec.bitstream.container import DEFAULT_MAX_PIXELS

Function = TypeVar("Function", bound=Callable[..., Any])


def together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several options as one decorator; --help shows them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def complete_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leaves it to the shell to complete the name of a file."""
    return [CompletionItem(incomplete, type="file")]


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The bundled models that begin so; if there is none, files."""
    models = resources.files("diffcodec") / "models"
    names = sorted(file.name.removesuffix(".safetensors") for file in models.iterdir() if "safetensors" in file.name)
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or complete_file(context, parameter, incomplete)


allow_pickle_option = click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read the weights of a pipeline folder that has them only as a Python pickle (.bin).",
)
channel_option = click.option(
    "--channel",
    type=click.Choice(["trellis", "poisson"]),
    default="trellis",
    show_default=True,
    help="Channel simulation.",
)
effort_option = click.option(
    "--effort",
    type=click.IntRange(8, 16),
    default=12,
    show_default=True,
    help="Search effort: each step doubles the coding time and saves about 1 %.",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=DEFAULT_MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures.",
)
device_option = click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu or cuda.")


recursive_option = click.option(
    "-r", "--recursive", is_flag=True, help="Also what is in folders inside folders; results keep the tree."
)
folder_options = together(
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(0),
        default=1,
        show_default=True,
        metavar="N",
        help="Processes, which share the cores; 0 for one on each core.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with a run that was stopped: skip inputs whose results are there."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input instead of lines."),
    click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only."),
    click.option(
        "--progress/--no-progress", default=None, help="A progress bar.  [default: for several inputs on a terminal]"
    ),
)


def sampler_option(name: str, explanation: str) -> Callable[[Function], Function]:
    """--sampler, which names a way to draw samples.

    Args:
        name: of the command's argument.
        explanation: for --help.
    """
    return click.option(
        "--sampler",
        name,
        type=click.Choice(["ancestral", "flow", "langevin"]),
        default="ancestral",
        show_default=True,
        help=explanation,
    )


def model_option(default: str) -> Callable[[Function], Function]:
    """--model, which names any model.

    Args:
        default: says which it is where none is named.
    """
    return click.option(
        "--model",
        shell_complete=complete_model,
        help="Bundled model, model file, diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.  "
        f"[default: {default}]",
    )
