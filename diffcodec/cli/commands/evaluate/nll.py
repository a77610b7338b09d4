"""`diffcodec evaluate nll`."""

from __future__ import annotations

import click

from diffcodec.cli.commands.evaluate.options import check_report, data_options, report, report_options, seed_option
from diffcodec.cli.failures import note
from diffcodec.cli.options import allow_pickle_option, device_option, model_option


@click.command("nll")
@data_options
@model_option("cifar10-small-v3")
@allow_pickle_option
@click.option(
    "--terms",
    type=click.IntRange(1),
    metavar="N",
    help="Estimate without bias from N random terms of every picture's bound; 50 is usually enough.  "
    "[default: all terms]",
)
@seed_option
@device_option
@click.option(
    "--batch-size", type=click.IntRange(1), help="Batch size of the network.  [default: 24 on the CPU, else 256]"
)
@report_options
def command(
    data: str,
    root: str,
    limit: int | None,
    model: str | None,
    allow_pickle: bool,
    terms: int | None,
    seed: int,
    device: str,
    batch_size: int | None,
    json_file: str | None,
    force: bool,
) -> None:
    """Bound of the negative log-likelihood: the bits for lossless pictures, term by term."""
    check_report(json_file, force)

    from tqdm import tqdm

    from diffcodec.devices import device_of
    from diffcodec.evaluation.datasets import load_dataset
    from diffcodec.evaluation.nll import evaluations_per_picture, measure_nll
    from diffcodec.evaluation.provenance import conditions
    from diffcodec.evaluation.summary_table import bound_table, mean_and_error
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.locations import DEFAULT_MODEL

    checkpoint = load_checkpoint(model or DEFAULT_MODEL, allow_pickle=allow_pickle)
    denoiser = checkpoint.denoiser(device)
    dataset = load_dataset(data, root=root, limit=limit)
    each = evaluations_per_picture(denoiser.schedule, terms)
    total = each * len(dataset)
    for sentence in dataset.notes:
        note(sentence)
    click.echo(f"{len(dataset)} pictures of {dataset.name}, {each} network evaluations each: {total} in all", err=True)
    with tqdm(total=total, unit=" evaluations", disable=None) as bar:
        rows = measure_nll(
            denoiser,
            dataset.pictures,
            terms=terms,
            seed=seed,
            progress=lambda done: bar.update(done - bar.n),
            batch_size=batch_size or (24 if device_of(denoiser).type == "cpu" else 256),
        )
    settings = conditions(
        "ddpm-bound", "DDPM bound, ideal", "bound", dataset, seed=seed, model=checkpoint.description, evaluations=each
    )
    paper = f"As the paper's code counts, fixedlarge with the L_0 of fixedsmall: {mean_and_error(rows, 'total_paper')}"
    report(json_file, force, {**settings, "rows": rows}, f"{bound_table(rows)}\n\n{paper} bits/dim")
