"""Options shared by several commands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from diffcodec.coding.reconstruction import RECONSTRUCTIONS
from diffcodec.coding.speed import DEFAULT_SPEED, SPEEDS
from diffcodec.config import DEFAULT_MAX_PIXEL_EVALUATIONS, DEFAULT_MAX_PIXELS, MAX_EFFORT, MIN_EFFORT, PRECISIONS

Function = TypeVar("Function", bound=Callable[..., Any])


def together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several options as one decorator; --help shows them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def complete_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lets the shell complete a file name."""
    return [CompletionItem(incomplete, type="file")]


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes names of bundled models; files if none matches."""
    models = resources.files("diffcodec") / "models"
    names = sorted(file.name.removesuffix(".safetensors") for file in models.iterdir() if "safetensors" in file.name)
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or complete_file(context, parameter, incomplete)


class Timestep(click.IntRange):
    """A timestep t, from 0.

    Args:
        instead: what to do instead of passing a number between two timesteps, for the message about it.
    """

    def __init__(self, instead: str = "") -> None:
        super().__init__(0)
        self.instead = instead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The timestep."""
        try:
            number = int(value)
        except ValueError:
            near = nearest_integers(value)
            hint = f": pass {' or '.join(map(str, near))}{self.instead}" if near else ""
            self.fail(f"t is an integer, found {value}{hint}.", param, ctx)
        return int(super().convert(number, param, ctx))


def nearest_integers(text: str) -> list[int]:
    """The nearest non-negative integers around the number in a text; empty if the text is not a number."""
    try:
        return sorted({max(0, rounded(float(text))) for rounded in (math.floor, math.ceil)})
    except (ValueError, OverflowError):
        return []


allow_pickle_option = click.option(
    "--allow-pickle", is_flag=True, help="Allow pipeline folders whose weights exist only as a Python pickle (.bin)."
)


class OptionOfModel(click.Option):
    """An option that means nothing unless a model is named."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Refuse it without --model."""
        if opts.get(self.name or "") is not None and opts.get("model") is None:
            raise click.UsageError(f"{self.opts[0]} needs --model, the latent model that it belongs to.", ctx)
        return super().handle_parse_result(ctx, opts, args)


tables_option = click.option(
    "--tables",
    cls=OptionOfModel,
    type=click.Path(dir_okay=False),
    shell_complete=complete_file,
    help="Tables of a latent model, from `diffcodec calibrate`.  [default: those in the model's folder]",
)
channel_option = click.option(
    "--channel",
    type=click.Choice(["trellis", "poisson"]),
    default="trellis",
    show_default=True,
    help="Channel simulation.",
)
speed_option = click.option(
    "--speed",
    type=click.IntRange(0, len(SPEEDS) - 1),
    default=DEFAULT_SPEED,
    show_default=True,
    help="0: smallest files, 10: fastest. Stands for an effort and a number of steps.",
)
effort_option = click.option(
    "--effort",
    type=click.IntRange(MIN_EFFORT, MAX_EFFORT),
    help="Search effort: each step doubles the coding time and saves about 1 %.  [default: that of the speed]",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=DEFAULT_MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures.",
)
max_pixel_evaluations_option = click.option(
    "--max-pixel-evaluations",
    type=click.IntRange(1),
    default=DEFAULT_MAX_PIXEL_EVALUATIONS,
    show_default=True,
    help="Refuse files whose steps take more evaluations of the network times pixels; `diffcodec info` shows them.",
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where the network runs: cpu, or cuda (experimental)."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of the network: bf16 takes half the time where the hardware has it; auto uses it where the "
    "difference does not show. Any file can be restored with either.",
)
results_recursive_option = click.option(
    "-r", "--recursive", is_flag=True, help="Include subfolders; results keep the folder tree."
)
FOLDER_PARAMETERS = ("recursive", "jobs", "resume", "as_json", "quiet", "progress")
"""Names of the parameters of `results_recursive_option` and `folder_options`, for sections of help texts."""

folder_options = together(
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(0),
        metavar="N",
        help="Number of processes, which share the cores; 0 for one per core.  [default: one per core if there is "
        "enough to do and enough memory]",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue a stopped run: skip inputs whose results are up to date. A note names given options that "
        "results do not record.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input instead of lines."),
    click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only."),
    click.option(
        "--progress/--no-progress",
        default=None,
        help="Show a progress bar.  [default: on a terminal, if it takes longer than 2 s]",
    ),
)


def sampler_option(name: str, explanation: str) -> Callable[[Function], Function]:
    """The option --sampler.

    Args:
        name: of the command's parameter.
        explanation: help text.
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
    """The option --model.

    Args:
        default: describes the default in the help text.
    """
    return click.option(
        "--model",
        shell_complete=complete_model,
        help="Bundled model, model file, diffusers pipeline folder, or hf:NAME of one on the Hugging Face Hub.  "
        f"[default: {default}]",
    )


restoring_options = together(
    model_option("the bundled one that made the file"),
    allow_pickle_option,
    tables_option,
    max_pixels_option,
    max_pixel_evaluations_option,
    device_option,
    precision_option,
)
"""The options of all commands that restore .dfc files."""

RECONSTRUCTION_PARAMETERS = ("timestep", "decoder", "decoder_steps", "decoder_seed")
"""Names of the parameters of `reconstruction_options`."""

reconstruction_options = together(
    click.option(
        "-t",
        "--timestep",
        type=Timestep(),
        help="Restore a coarser version: the last level of the file that is not finer than this.",
    ),
    click.option(
        "--decoder",
        type=click.Choice(RECONSTRUCTIONS),
        default="auto",
        show_default=True,
        help="How to make a picture from the noisy state at the file's end: mean has the least error of one evaluation "
        "of the network, mirrored takes four and errs a little less; short-flow takes three and leaves smooth areas "
        "less mottled; flow and ancestral look more natural, with invented detail. auto chooses flow for latent "
        "models, short-flow for coarse photographs, mirrored for fine files with 32 or more steps to t = 1 if "
        "calibration found a gain, else mean.",
    ),
    click.option(
        "--decoder-steps",
        type=click.IntRange(1),
        metavar="K",
        help="Noise levels of flow and ancestral from pure noise to t = 1; those below the file's end are visited.  "
        "[default: 100 for flow, 250 for ancestral]",
    ),
    click.option(
        "--decoder-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the decoder ancestral."
    ),
)
partial_option = click.option(
    "--partial", is_flag=True, help="Restore cut or damaged files up to the last intact step."
)
