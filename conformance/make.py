"""Makes the conformance suite in the package, anew.

    python -m conformance.make [--out FOLDER] [--models]

Run it when the format, a channel or a bundled model changes. The suite's own models stay as they are unless --models
asks for new ones: their weights, like all float arithmetic, may come out differently on another machine. With the same
models, one machine always makes the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click
import torch

from conformance.features import Feature, features
from conformance.models import make_models
from diffcodec import DiffusionCodec, write_picture
from diffcodec.config import Precision
from diffcodec.conformance.cases import EXACT, Expectation, Suite, Tolerance
from diffcodec.conformance.checking import differences, digest_of, metadata_digest_of
from diffcodec.errors import StreamError
from diffcodec.images.metadata import Metadata
from diffcodec.model.loading import load_checkpoint

ROUNDED_SHARE = 0.0225
"""Share of the samples that may be rounded to the next grey level on another machine; at least 4 samples may."""


def make_suite(suite: Suite, chosen: Iterable[Feature]) -> None:
    """Write cases with the suite's models, which must be there. Earlier cases are removed."""
    shutil.rmtree(suite.folder / "cases", ignore_errors=True)
    codecs: dict[tuple[str | None, str], DiffusionCodec] = {}

    def codec_of(feature: Feature, precision: Precision) -> DiffusionCodec:
        key = (feature.model or f"bundled for {feature.picture.width} x {feature.picture.height}", precision)
        if key not in codecs:
            if feature.model is None:
                made = DiffusionCodec.for_size(feature.picture.width, feature.picture.height, precision=precision)
            else:
                made = DiffusionCodec(load_checkpoint(suite.model(feature.model)), precision=precision)
            codecs[key] = made
        return codecs[key]

    for feature in chosen:
        keep(suite, feature, codec_of(feature, "fp32"), codec_of(feature, "bf16"))


def keep(suite: Suite, feature: Feature, codec: DiffusionCodec, rounded: DiffusionCodec) -> None:
    """Write one case.

    Args:
        suite: that it belongs to.
        feature: the case.
        codec: in float32.
        rounded: in bfloat16, whose differences set the tolerance.
    """
    folder = suite.folder / "cases" / feature.name
    folder.mkdir(parents=True)
    data = feature.change(codec, codec.compress(feature.picture, **feature.compress).data)
    (folder / "file.dfc").write_bytes(data)
    wanted = Expectation(feature.text, feature.model, **feature.restore)
    try:
        restored = codec.decompress(data, **wanted.options)
    except StreamError as error:
        if type(error).__name__ != wanted.error:
            raise
    else:
        picture = restored.picture
        other = rounded.decompress(data, **wanted.options).picture
        peak, rms = differences(other, picture)
        exact = restored.reconstruction == "exact"
        noise = round(min(1.0, math.sqrt(max(ROUNDED_SHARE, 4 / picture.pixels.size))), 3)
        wanted = replace(
            wanted,
            reached=restored.timestep,
            fp32=EXACT if exact else Tolerance(1, noise),
            # Other hardware rounds differently, but errs as much.
            bf16=EXACT if exact else Tolerance(2 * peak + 1, round(1.5 * rms + noise, 3)),
            digest=digest_of(picture) if exact else None,
            metadata_digest=metadata_digest_of(picture.metadata),
        )
        write_picture(replace(picture, metadata=Metadata()), folder / "picture.png")
    (folder / "case.json").write_text(json.dumps(wanted.essence(), indent=1) + "\n", encoding="utf-8")
    click.echo(f"{feature.name}: {len(data)} bytes")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the suite.  [default: that in the package]")
@click.option("--models", is_flag=True, help="Make the suite's models anew, too.")
def main(out: Path | None, models: bool) -> None:
    """Make the conformance suite."""
    torch.set_num_threads(1)
    suite = Suite.bundled() if out is None else Suite(out)
    if models:
        (suite.folder / "models").mkdir(parents=True, exist_ok=True)
        for name, checkpoint in make_models().items():
            suite.model(name).write_bytes(checkpoint.to_bytes())
    elif out is not None:
        shutil.copytree(Suite.bundled().folder / "models", out / "models", dirs_exist_ok=True)
    make_suite(suite, features())


if __name__ == "__main__":
    main()
