"""A small latent diffusion model of our own, trained on a CPU, to show the whole way on real photographs.

    python benchmarks/latent.py autoencoder --data TILES.npy --out RUN --time-limit 90m
    python benchmarks/latent.py encode --data TILES.npy --out RUN
    diffcodec train --model benchmarks/data/latent_small.json --data RUN/latents.npy --size 32 --tile-size 48 \\
        --set flips=false --set batch_size=16 --set loss=simple --set optimizer=muon --set muon_weight_decay=0.1 \\
        --precision bf16 --time-limit 75m --out RUN/network
    python benchmarks/latent.py assemble --out RUN
    diffcodec calibrate RUN/pipeline --data TILES.npy --size 192 --limit 64
    python benchmarks/latent.py curve --data PICTURES --out RUN --limit 12 --figure docs/images/latent.png

TILES.npy is an array of photographs, uint8 (N, side, side, 3); PICTURES is a folder of others. The result is an
ordinary pipeline folder: `diffcodec compress photo.png --model RUN/pipeline`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from photo_folder import read_photos
from torch import Tensor
from torch.nn import functional

from diffcodec import DiffusionCodec, Reconstruction, load_checkpoint
from diffcodec.diffusers_format.writing import write_pipeline
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.training.optimizers import Muon

KL_WEIGHT = 1e-6
"""Weight of the encoder's KL divergence beside the squared error; only keeps the latents from growing."""

FLOW = Reconstruction("flow", steps=25)

TIMESTEPS = (600, 400, 250, 150, 100, 50, 20, 10, 5, 1)
"""At which files end."""


def new_autoencoder() -> AutoencoderKL:
    """Four pixels per latent, four channels; 0.4 million weights."""
    model = AutoencoderKL(
        block_out_channels=(24, 40, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        model.quant_conv.bias[4:] = -6.0  # log variance: latents without noise to begin with
    return model


def optimizers_of(model: AutoencoderKL) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between hidden layers, AdamW for the rest."""
    kernels = [
        value
        for name, value in model.named_parameters()
        if value.ndim == 4 and not name.endswith(("encoder.conv_in.weight", "decoder.conv_out.weight"))
    ]
    chosen = {id(value) for value in kernels}
    rest = [value for value in model.parameters() if id(value) not in chosen]
    adamw = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    return [adamw, Muon(kernels, lr=0.02, weight_decay=0.3)]


def crops(tiles: NDArray[np.uint8], size: int, batch: int) -> Iterator[Tensor]:
    """Endless random crops, mirrored at random: (batch, 3, size, size) in [-1, 1]."""
    rng = np.random.default_rng(0)
    most = tiles.shape[1] - size
    while True:
        chosen = []
        for index in rng.integers(len(tiles), size=batch):
            y, x = rng.integers(most + 1, size=2)
            crop = tiles[index, y : y + size, x : x + size]
            chosen.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        yield torch.from_numpy(np.stack(chosen).transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1


@click.group(help=__doc__)
def main() -> None:
    """Commands in their order."""


data_option = click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
out_option = click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)


@main.command()
@data_option
@out_option
@click.option("--time-limit", default="60m", show_default=True, help="Minutes, as 60m.")
@click.option("--size", default=64, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def autoencoder(data: Path, out: Path, time_limit: str, size: int, batch: int, precision: str) -> None:
    """Train the autoencoder; its state is saved every five minutes, and a stopped run is continued."""
    tiles = np.load(data, mmap_mode="r")
    torch.manual_seed(0)
    model = new_autoencoder()
    optimizers = optimizers_of(model)
    limit, spent, step = 60.0 * float(time_limit.removesuffix("m")), 0.0, 0
    state_file = out / "autoencoder.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        spent, step = state["spent"], state["step"]
    last = saved = time.monotonic()
    errors: list[float] = []
    for x in crops(tiles[:], size, batch):
        factor = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, spent / limit)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            posterior = model.encode(x).latent_dist
            restored = model.decode(posterior.sample()).sample
        error = functional.mse_loss(restored.float(), x)
        loss = error + KL_WEIGHT * posterior.kl().mean() / x[0].numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        errors.append(error.item())
        now = time.monotonic()
        spent, last = spent + now - last, now
        if now - saved > 300 or spent >= limit:
            saved = now
            psnr = psnr_db(127.5**2 * float(np.mean(errors)))
            click.echo(f"{spent / 60:.0f} min, {step} steps, PSNR {psnr:.2f} dB", err=True)
            errors.clear()
            out.mkdir(parents=True, exist_ok=True)
            states = [optimizer.state_dict() for optimizer in optimizers]
            torch.save({"model": model.state_dict(), "optimizers": states, "spent": spent, "step": step}, state_file)
        if spent >= limit:
            break
    model.save_pretrained(out / "vae")


@main.command()
@data_option
@out_option
@click.option("--limit", default=2000, show_default=True, help="Number of photographs.")
@torch.no_grad()
def encode(data: Path, out: Path, limit: int) -> None:
    """Encode the photographs, and set the latents' scale to unit variance."""
    model = AutoencoderKL.from_pretrained(out / "vae").eval()
    every = np.load(data, mmap_mode="r")
    tiles = every[:: max(1, len(every) // limit)][:limit]
    latents = []
    for start in range(0, len(tiles), 16):
        pictures = torch.from_numpy(tiles[start : start + 16].transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1
        latents.append(model.encode(pictures).latent_dist.mode().permute(0, 2, 3, 1).half().numpy())
    everything = np.concatenate(latents)
    centred = everything.astype(np.float32)
    scale = float(1 / np.sqrt(np.mean(centred**2)))
    np.save(out / "latents.npy", (centred * scale).astype(np.float16))
    model.register_to_config(scaling_factor=scale)
    model.save_pretrained(out / "vae")
    click.echo(f"{everything.shape} latents, scaling factor {scale:.4f}")


@main.command()
@out_option
def assemble(out: Path) -> None:
    """Put network and autoencoder into a pipeline folder."""
    trained, folder = load_checkpoint(out / "network" / "model.safetensors"), out / "pipeline"
    write_pipeline(
        folder,
        trained.config,
        trained.weights,
        name="a small latent diffusion model",
        licence="MIT",
        sample_size=48,
        overwrite=True,
    )
    AutoencoderKL.from_pretrained(out / "vae").save_pretrained(folder / "vae")
    index = folder / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    content |= {"_class_name": "DiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    index.write_text(json.dumps(content, indent=2), encoding="utf-8")


@main.command()
@data_option
@out_option
@click.option("--limit", default=12, show_default=True, help="Number of pictures.")
@click.option("--crop", default=256, show_default=True, help="Side of the centre that is compressed.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it, too (matplotlib).")
def curve(data: Path, out: Path, limit: int, crop: int, figure: Path | None) -> None:
    """Bits a pixel against PSNR on other photographs, with the autoencoder's own PSNR."""
    codec = DiffusionCodec.from_pretrained(out / "pipeline")
    pictures = read_photos(data, limit=limit, crop=crop)
    rows, ceilings = [], [0.0]
    for timestep in TIMESTEPS:
        reports, flows = [], []
        for pixels in pictures:
            stream = codec.compress(Picture(pixels), timestep=timestep)
            reports.append(stream.report)
            flows.append(squared_error(pixels, codec.decompress(stream, reconstruction=FLOW).pixels))
        paid = sum(each.path_bits + each.side_bits for each in reports)
        delivered = sum(each.delivered_bits for each in reports)
        dims = sum(each.width * each.height / 16 * 4 for each in reports)
        ceilings = [each.ceiling_psnr_db or math.nan for each in reports]
        rows.append(
            {
                "t": timestep,
                "bpp": float(np.mean([each.bpp for each in reports])),
                "psnr_mean": float(np.mean([each.psnr_db for each in reports])),
                "psnr_flow": float(np.mean([psnr_db(each) for each in flows])),
                "bits_per_dim": delivered / dims,
                "paid_per_delivered": paid / delivered,
            }
        )
        click.echo(json.dumps(rows[-1]), err=True)
    ceiling = float(np.mean(ceilings))
    found = {"ceiling_psnr_db": ceiling, "rows": rows}
    (out / "curve.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    if figure is not None:
        from figures.latent import draw  # matplotlib is needed for nothing else here

        draw(found, figure)
    table = [["t", "bits/pixel", "PSNR of mean", "of flow", "bits a latent dim", "paid / delivered"]]
    table += [
        [
            str(row["t"]),
            f"{row['bpp']:.3f}",
            f"{row['psnr_mean']:.2f}",
            f"{row['psnr_flow']:.2f}",
            f"{row['bits_per_dim']:.3f}",
            f"{row['paid_per_delivered']:.3f}",
        ]
        for row in rows
    ]
    click.echo(aligned(table))
    click.echo(f"The autoencoder alone reaches {ceiling:.2f} dB ({len(pictures)} pictures).")


if __name__ == "__main__":
    main()
