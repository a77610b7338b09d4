"""`diffcodec evaluate rd`."""

from __future__ import annotations

import os

import click

from diffcodec.cli.batch.inputs import STANDARD
from diffcodec.cli.commands.evaluate.options import check_report, data_options, report, report_options
from diffcodec.cli.failures import note
from diffcodec.cli.options import (
    allow_pickle_option,
    channel_option,
    device_option,
    effort_option,
    model_option,
    speed_option,
)


@click.command("rd")
@data_options
@click.option(
    "-t",
    "--timesteps",
    default="500,300,200,100,50,20,10,5,1",
    show_default=True,
    help="Noise levels at which files end, separated by commas; 0 is lossless.",
)
@model_option("cifar10-small-v3")
@channel_option
@speed_option
@effort_option
@click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Seed of the shared randomness."
)
@allow_pickle_option
@device_option
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    help="Number of processes, of one thread each; affects only the times.",
)
@click.option(
    "--format",
    type=click.Choice(["diffcodec", "compressai"]),
    default="diffcodec",
    show_default=True,
    help="Form of the JSON: compressai is that of CompressAI's result files, which its plotting tool draws; it implies "
    "--json.",
)
@report_options
def command(
    data: str,
    root: str,
    limit: int | None,
    timesteps: str,
    model: str | None,
    channel: str,
    speed: int,
    effort: int | None,
    seed: int,
    allow_pickle: bool,
    device: str,
    jobs: int,
    format: str,
    json_file: str | None,
    force: bool,
) -> None:
    """Rate and distortion of real files: pictures are compressed, restored from the files, and compared.

    `benchmarks/rate_distortion.py` also measures ideal rates and other codecs.
    """
    if format == "compressai" and json_file is None:
        json_file = STANDARD
    check_report(json_file, force)

    from tqdm import tqdm

    from diffcodec.evaluation.compressai import to_compressai
    from diffcodec.evaluation.datasets import load_dataset
    from diffcodec.evaluation.file_curve import measure_curve
    from diffcodec.evaluation.points import ModelSource, timesteps_from
    from diffcodec.evaluation.summary_table import codec_table

    source = ModelSource(model, device, allow_pickle)
    codec = source.load()
    chosen = timesteps_from(timesteps, codec, lossless=True)
    dataset = load_dataset(data, root=root, limit=limit)
    for sentence in dataset.notes:
        note(sentence)
    with tqdm(total=1.0, bar_format="{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left", disable=None) as bar:
        results = measure_curve(
            codec,
            dataset,
            chosen,
            channel=channel,
            speed=speed,
            effort=effort,
            seed=seed,
            source=source,
            processes=jobs,
            progress=bar.update,
        ).document
    table = codec_table([results])
    report(json_file, force, to_compressai(results) if format == "compressai" else results, table)
