"""How good a model's estimate of x_0 is: PSNR at the noise of published denoisers, or error over the timesteps.

    python benchmarks/denoising.py --model photo-small-v3 --data CBSD68
    python benchmarks/denoising.py --model runs/photo/model.safetensors --data KODAK --mirrored --limit 6
    python benchmarks/denoising.py --run runs/photo --width 0.1 --data CBSD68    # while it trains, with any average
    python benchmarks/denoising.py --model cifar10-small-v3 --timesteps     # 32 x 32, beside Table 4 of the paper

Noise of sigma grey levels is added to clean pixels, and the sum scaled as the model wants it: x_t = alpha (x_0 + s eps)
with s = sigma / 127.5, at log SNR -2 ln s. The estimate is clipped, and not rounded.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from photo_folder import read_photos
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from diffcodec.coding.restoring import mean_of_mirrored
from diffcodec.config import GREY_LEVELS_PER_UNIT
from diffcodec.devices import check_device, device_of
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.units import to_grey_levels, to_unit
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.evaluation.reference import measure_reference
from diffcodec.images.error import psnr_db
from diffcodec.model.loading import load_checkpoint
from diffcodec.training.averages import Snapshot, combine
from diffcodec.training.data import load_images

ROOT = Path(__file__).resolve().parents[1]
REPORTED = ROOT / "benchmarks" / "reported"


@dataclass(frozen=True)
class Model:
    """A network to measure.

    Args:
        name: for people.
        denoiser: the network.
        precision: `fp32` or `bf16`.
    """

    name: str
    denoiser: Denoiser
    precision: str

    @torch.no_grad()
    def estimate(self, x_t: Tensor, log_snr: float, *, mirrored: bool) -> Tensor:
        """x_0 estimates (B, 3, H, W) of images of any size; the mean over four mirrored inputs if `mirrored`."""
        height, width = x_t.shape[2:]
        stride = self.denoiser.config.network.stride
        padded = functional.pad(x_t, (0, -width % stride, 0, -height % stride), mode="reflect")
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            x_0 = predict_x_0(self.denoiser, padded, log_snr)
            if mirrored:
                x_0 = mean_of_mirrored(lambda state: predict_x_0(self.denoiser, state, log_snr), padded, x_0)
        return x_0[:, :, :height, :width].clamp(-1, 1)

    def kmac_per_pixel(self) -> float:
        """Thousands of multiplications with an addition for a pixel."""
        side = 16 * self.denoiser.config.network.stride
        counter = FlopCounterMode(display=False)
        # Training mode keeps to operations that the counter knows.
        with counter, torch.enable_grad():
            self.denoiser.network(torch.zeros(1, 3, side, side, device=device_of(self.denoiser)), torch.zeros(1))
        return float(counter.get_total_flops() / 2 / side**2 / 1e3)

    def seconds_per_megapixel(self) -> float:
        """Of one evaluation of 384 x 256 pixels, the best of four."""
        x = torch.zeros(1, 3, 256, 384, device=device_of(self.denoiser))
        best = math.inf
        for _ in range(4):
            start = time.perf_counter()
            self.estimate(x, 3.0, mirrored=False)
            best = min(best, time.perf_counter() - start)
        return best / (256 * 384) * 1e6


def load_run(folder: Path, width: float | None, device: torch.device) -> Denoiser:
    """The network of a training that may not have ended: its moving average, or an average of another width."""
    checkpoint = load_checkpoint(folder / "model.safetensors")
    denoiser = checkpoint.denoiser(device)
    if width is not None:
        snapshots = []
        for path in sorted((folder / "averages").glob("*.safetensors")):
            images, profile = path.stem.split("-")
            snapshots.append(Snapshot(int(images), float(profile), load_file(path)))
        denoiser.load_state_dict(combine(snapshots, snapshots[-1].images, width))
    return denoiser


def psnrs(model: Model, pictures: Sequence[Tensor], sigma: float, *, mirrored: bool) -> list[float]:
    """PSNR of the estimate for every picture (3, H, W), uint8; the noise is that of the picture's number."""
    s = sigma / GREY_LEVELS_PER_UNIT
    level = NoiseLevel(-2 * math.log(s))
    found = []
    for number, picture in enumerate(pictures):
        x_0 = to_unit(picture[None])
        eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(number))
        x_t = (level.alpha * (x_0 + s * eps)).to(device_of(model.denoiser))
        estimate = model.estimate(x_t, level.log_snr, mirrored=mirrored).cpu()
        error = to_grey_levels(estimate).double() - picture[None]
        found.append(psnr_db(float((error**2).mean())))
    return found


def pictures_of(folder: Path, limit: int | None, crop: int | None) -> list[Tensor]:
    """Pictures of a folder, (3, H, W), uint8, or their middles."""
    return [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in read_photos(folder, limit, crop)]


def print_denoising(models: Sequence[Model], data: Path, sigmas: Sequence[float], options: dict[str, object]) -> None:
    """PSNR of every model at every sigma, with published numbers where the data are CBSD68."""
    pictures = pictures_of(data, options["limit"], options["crop"])  # type: ignore[arg-type]
    click.echo(f"{data.name}: {len(pictures)} pictures, PSNR in dB at sigma " + ", ".join(f"{s:g}" for s in sigmas))
    reported = json.loads((ROOT / "benchmarks" / "data" / "denoising-published.json").read_text(encoding="utf-8"))
    if "cbsd68" in str(data).lower():
        for method in reported["methods"]:
            by_sigma = dict(zip(reported["sigma"], method["psnr_db"], strict=True))
            values = "".join(f"{by_sigma[s]:8.2f}" if s in by_sigma else f"{'':8}" for s in sigmas)
            cost = method["mflop_per_pixel"]
            click.echo(
                f"{method['name']:<32}{values}" + (f"   {500 * cost:.0f} kMAC/pixel, as reported" if cost else "")
            )
    for model in models:
        kmac, seconds = model.kmac_per_pixel(), model.seconds_per_megapixel()
        for mirrored in (False, True) if options["mirrored"] else (False,):
            means = [float(np.mean(psnrs(model, pictures, sigma, mirrored=mirrored))) for sigma in sigmas]
            name = model.name + (", mirrored" if mirrored else "")
            values = "".join(f"{value:8.2f}" for value in means)
            click.echo(f"{name:<32}{values}   {kmac:.0f} kMAC/pixel, {seconds:.2f} s/megapixel ({model.precision})")


def print_timesteps(model: Model, images: int, levels: int) -> None:
    """Rate in fine steps and RMSE of the estimate, beside Table 4 of Ho et al. (2020)."""
    reported = json.loads((REPORTED / "ddpm-table4.json").read_text(encoding="utf-8"))
    pixels = load_images(str(ROOT / "benchmarks" / "data" / "cifar10-test-100.webp"))[:images]
    schedule = model.denoiser.schedule
    points = sorted(reported["points"], key=lambda point: -point["timestep"])
    log_snrs = [float(schedule.log_snr[point["timestep"]]) for point in points]
    found = measure_reference(model.denoiser, pixels, log_snrs, levels=levels)
    click.echo(f"{model.name}: {len(pixels)} test images, {levels} levels; in brackets: the paper's 35.7 M parameters")
    for point, bits, mse in zip(points, found.bits, found.mse, strict=True):
        bpd = float(bits.mean()) / pixels[0].numel()
        click.echo(
            f"t = {point['timestep']:4}: {bpd:8.5f} bits/dim ({point['rate_bpd']:.5f}), RMSE "
            f"{math.sqrt(float(mse.mean())):7.3f} ({point['rmse']:.3f})"
        )


@click.command()
@click.option("--model", "names", multiple=True, help="Bundled model or model file; repeatable.")
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path, exists=True), help="Folder of a training."
)
@click.option("--width", type=float, help="Of the average over a run, relative to it.  [default: the moving one]")
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of pictures.")
@click.option("--sigma", "sigmas", default="5,15,25,50,75", show_default=True, help="In grey levels.")
@click.option("--mirrored", is_flag=True, help="Also the mean over four mirrored inputs.")
@click.option("--limit", type=click.IntRange(1), help="Take so many pictures.")
@click.option("--crop", type=click.IntRange(16), help="Take the middle of every picture, of this side.")
@click.option("--timesteps", is_flag=True, help="Rate and error over the timesteps of 32 x 32 images.")
@click.option("--images", type=click.IntRange(1, 100), default=100, show_default=True, help="For --timesteps.")
@click.option("--levels", type=click.IntRange(10), default=500, show_default=True, help="For --timesteps.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Of torch.")
@click.option("--device", default="cpu", show_default=True)
def main(
    names: tuple[str, ...],
    runs: tuple[Path, ...],
    width: float | None,
    data: Path | None,
    sigmas: str,
    mirrored: bool,
    limit: int | None,
    crop: int | None,
    timesteps: bool,
    images: int,
    levels: int,
    precision: str,
    threads: int | None,
    device: str,
) -> None:
    """Measure the estimates of models."""
    if threads is not None:
        torch.set_num_threads(threads)
    where = check_device(device)
    models = [Model(name, load_checkpoint(name).denoiser(where), precision) for name in names]
    label = "" if width is None else f", width {width:g}"
    models += [Model(f"{run.name}{label}", load_run(run, width, where), precision) for run in runs]
    if data is not None:
        options: dict[str, object] = {"limit": limit, "crop": crop, "mirrored": mirrored}
        print_denoising(models, data, [float(part) for part in sigmas.split(",")], options)
    if timesteps:
        for model in models:
            print_timesteps(model, images, levels)


if __name__ == "__main__":
    main()
