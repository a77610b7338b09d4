"""PSNR against bits a pixel of a latent model, below what its autoencoder reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures.style import PNG_DPI, Look, new_figure

LOOKS = {"psnr_mean": ("mean", Look("#D55E00", "o", width=2.0)), "psnr_flow": ("flow", Look("#0072B2", "s", "--"))}


def draw(curve: dict[str, Any], path: Path) -> None:
    """Draw what `latent.py curve` measured."""
    figure, (axes,) = new_figure(3.6, columns=1)
    rates = [row["bpp"] for row in curve["rows"]]
    for key, (label, look) in LOOKS.items():
        axes.plot(rates, [row[key] for row in curve["rows"]], label=label, **look.options())
    ceiling = curve["ceiling_psnr_db"]
    axes.axhline(ceiling, color="#666666", linewidth=0.8)
    axes.annotate(
        "the autoencoder alone", (rates[0], ceiling), (0, 3), textcoords="offset points", fontsize=8, color="#666666"
    )
    axes.set_xscale("log")
    axes.set_xlabel("bits a pixel")
    axes.set_ylabel("mean PSNR (dB)")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=PNG_DPI, metadata={"Software": None})
