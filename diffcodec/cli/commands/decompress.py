"""`diffcodec decompress`."""

from __future__ import annotations

from typing import Any

import click

from diffcodec.cli.batch.inputs import expand
from diffcodec.cli.batch.outputs import outputs
from diffcodec.cli.batch.restorer import DecompressJob
from diffcodec.cli.batch.run import RunOptions, run_batch
from diffcodec.cli.help import FILES, FOLDERS, MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    FOLDER_PARAMETERS,
    Timestep,
    complete_file,
    folder_options,
    restoring_options,
    results_recursive_option,
)
from diffcodec.coding.reconstruction import RECONSTRUCTIONS, Reconstruction, ReconstructionKind
from diffcodec.config import Precision


@click.command(
    "decompress",
    cls=SectionedCommand,
    sections={
        FILES: ("out", "force", "partial", "max_pixels", "max_pixel_evaluations"),
        QUALITY: ("timestep", "decoder", "decoder_steps", "decoder_seed"),
        MODEL: ("model", "allow_pickle", "tables"),
        SPEED: ("device", "precision"),
        FOLDERS: FOLDER_PARAMETERS,
    },
)
@click.argument("files", nargs=-1, required=True, shell_complete=complete_file)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="Output picture, its format by its name; a folder for several inputs; - for standard "
    "output (PNG).  [default: beside the input, as .png]",
)
@click.option(
    "-t",
    "--timestep",
    type=Timestep(),
    help="Restore a coarser version: the last level of the file that is not finer than this.",
)
@click.option(
    "--decoder",
    type=click.Choice(RECONSTRUCTIONS),
    default="auto",
    show_default=True,
    help="How to make a picture from the noisy state at the file's end: mean has the least error of one evaluation of "
    "the network, mirrored takes four and errs a little less; short-flow takes three and mottles smooth areas less; "
    "flow and ancestral look more natural, with invented detail. auto is mean, short-flow for coarse files of "
    "photographs, and flow for latent models.",
)
@click.option(
    "--decoder-steps",
    type=click.IntRange(1),
    metavar="K",
    help="Noise levels of flow and ancestral from pure noise to t = 1; those below the file's end are visited.  "
    "[default: 100 for flow, 250 for ancestral]",
)
@click.option(
    "--decoder-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the decoder ancestral."
)
@click.option("--partial", is_flag=True, help="Restore cut or damaged files up to the last intact step.")
@restoring_options
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@results_recursive_option
@folder_options
def command(
    files: tuple[str, ...],
    out: str | None,
    timestep: int | None,
    decoder: ReconstructionKind,
    decoder_steps: int | None,
    decoder_seed: int,
    partial: bool,
    model: str | None,
    allow_pickle: bool,
    tables: str | None,
    max_pixels: int,
    max_pixel_evaluations: int,
    device: str,
    precision: Precision,
    force: bool,
    recursive: bool,
    **run: Any,
) -> None:
    """Restore pictures from .dfc files.

    FILES are .dfc files, folders of them, patterns such as 'photos/**/*.dfc', or - for standard input. Lossless files
    (t = 0) restore the exact pixels with any decoder.
    """
    options = RunOptions(**run)
    inputs = expand(files, [".dfc"], recursive=recursive)
    targets = outputs(inputs.files, out, ".png", inputs.many)

    job = DecompressJob(
        timestep=timestep,
        reconstruction=Reconstruction(decoder, decoder_steps, decoder_seed),
        partial=partial,
        model=model,
        allow_pickle=allow_pickle,
        tables=tables,
        max_pixels=max_pixels,
        max_pixel_evaluations=max_pixel_evaluations,
        device=device,
        precision=precision,
        force=force,
        resume=options.resume,
        named_output=out,
    )
    run_batch(job, inputs, targets, options)
