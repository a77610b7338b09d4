"""Multiply-adds a pixel of CompressAI's networks, as in data/kodak-published.json. Needs `pip install compressai`.

    python benchmarks/compressai_costs.py

Counted by torch's FlopCounterMode in one forward pass of encoder and decoder, without weights being loaded.
"""

from __future__ import annotations

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

HEIGHT, WIDTH = 512, 768
QUALITIES = {"bmshj2018-hyperprior": (1, 8), "mbt2018": (1, 8), "cheng2020-attn": (1, 6)}
"""Least and largest quality of each architecture."""


def kmac_per_pixel(network: torch.nn.Module) -> float:
    """Thousands of multiply-adds a pixel of encoder and decoder."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.rand(1, 3, HEIGHT, WIDTH))
    return int(counter.get_total_flops()) / 2 / (HEIGHT * WIDTH) / 1000


@click.command(help=__doc__)
def main() -> None:
    """Print a line for each network."""
    try:
        from compressai.models.sensetime import Elic2022Official  # type: ignore[import-not-found]
        from compressai.zoo import image_models  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install compressai") from error
    for name, qualities in QUALITIES.items():
        for quality in qualities:
            cost = kmac_per_pixel(image_models[name](quality=quality, pretrained=False))
            click.echo(f"{name}, quality {quality}: {cost:.0f} kMAC a pixel")
    click.echo(f"elic2022: {kmac_per_pixel(Elic2022Official()):.0f} kMAC a pixel")


if __name__ == "__main__":
    main()
