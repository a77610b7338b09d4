"""`diffcodec decompress`."""

from __future__ import annotations

from typing import Any

import click

from diffcodec.cli.batch.inputs import expand
from diffcodec.cli.batch.outputs import outputs
from diffcodec.cli.help import FILES, FOLDERS, MODEL, QUALITY, SPEED, SectionedCommand
from diffcodec.cli.options import (
    FOLDER_PARAMETERS,
    RECONSTRUCTION_PARAMETERS,
    complete_file,
    folder_options,
    partial_option,
    reconstruction_options,
    restoring_options,
    results_recursive_option,
)
from diffcodec.coding.reconstruction import Reconstruction, ReconstructionKind
from diffcodec.config import Precision


@click.command(
    "decompress",
    cls=SectionedCommand,
    sections={
        FILES: ("out", "force", "partial", "max_pixels", "max_pixel_evaluations"),
        QUALITY: RECONSTRUCTION_PARAMETERS,
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
@reconstruction_options
@partial_option
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
    # Imported late, so that --help is fast.
    from diffcodec.cli.batch.restorer import DecompressJob
    from diffcodec.cli.batch.run import RunOptions, run_batch

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
